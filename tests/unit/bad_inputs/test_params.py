"""A params.yaml that cannot be used."""

from __future__ import annotations

import itertools
import math
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from spoiling import BadInput, assert_refused, param, removed, text

PROFILE = "copy a profile with `make profile P=sample`"
PARAM = r"params\.yaml has 1 problem:\n  - {}"


def params(content: str | bytes) -> Callable[[], object]:
    return lambda: text("params.yaml", content)


def aliases(last: str) -> str:
    """Return YAML whose few lines expand to 9 to the power of 14 values, and then the given line."""
    names = [*"abcdefghijklm", "last"]
    lines = [f"{name}: &{name} [{', '.join([f'*{before}'] * 9)}]" for before, name in itertools.pairwise(names)]
    return "\n".join([f"a: &a [{', '.join('x' * 9)}]", *lines, last])


def yaml(name: str, make: Callable[[], object], message: str, stage: str = "download_corpus") -> BadInput:
    return BadInput(f"params: {name}", make, stage, message, process=name == "nested without end")


BAD_INPUTS = [
    yaml("missing", removed("params.yaml"), rf"params\.yaml is missing: {PROFILE}"),
    yaml(
        "a folder",
        lambda: (Path("params.yaml").unlink(), Path("params.yaml").mkdir()),
        rf"params\.yaml is not a file: move it elsewhere, then {PROFILE}",
    ),
    yaml("no text", params(b"\xff\xfe\x00\xd8\x01"), rf"params\.yaml is not valid YAML: .*; correct it, or {PROFILE}"),
    yaml("empty", params(""), rf"params\.yaml holds null, expected sections such as `corpus:` .*; {PROFILE}"),
    yaml("a pipe", lambda: (Path("params.yaml").unlink(), os.mkfifo("params.yaml")), r"params\.yaml is not a file: .*"),
    yaml("a list", params("- a"), rf"params\.yaml holds \['a'\], expected sections .*; {PROFILE}"),
    yaml("a tab", params("seed:\n\t1"), rf"params\.yaml is not valid YAML: line 2: .*; correct it, or {PROFILE}"),
    yaml(
        "nested without end",
        params("[" * 5000),
        rf"params\.yaml is not valid YAML: .*recursion.*; correct it, or {PROFILE}",
    ),
    yaml(
        "a number too long",
        params(f"seed: {'1' * 5000}"),
        r"params\.yaml is not valid YAML: .*5000 digits; correct it.*",
    ),
    yaml(
        "a day that is none",
        params("seed: 2024-13-45"),
        r"params\.yaml is not valid YAML: month must be .*; correct it.*",
    ),
    yaml(
        "a program",
        params("!!python/object/apply:os.mkdir [pickle-ran]"),
        r"params\.yaml is not valid YAML: line 1: could not determine a constructor.*",
    ),
    yaml("a key twice", params("seed: 1\nseed: 2"), r"params\.yaml is not valid YAML: line 2: .*duplicate key.*"),
    yaml(
        "an unknown key", param(pretrain__epoch=1), PARAM.format(r"pretrain\.epoch: unknown key; did you mean epochs\?")
    ),
    yaml("text for a number", param(seed="one"), PARAM.format(r"seed: got 'one', allowed: a valid integer")),
    yaml(
        "not a number",
        param(pretrain__learning_rate=math.nan),
        PARAM.format(r"pretrain\.learning_rate: got nan, allowed: .*"),
    ),
    yaml(
        "a number beyond writing",
        params(f"seed: 0x{'f' * 5000}"),
        r"params\.yaml has \d+ problems:.*\n  - seed: got a number that is too long to show, allowed: less than "
        r"4294967296\n.*",
    ),
    yaml(
        "aliases that stand for more than memory holds",
        params(aliases("weights: {bases: *last}")),
        r"params\.yaml has \d+ problems:.*\n  - weights\.bases: got \[\[.*\.\.\., allowed: a list of .*",
    ),
    yaml(
        "two lines in a path",
        param(sms__source="a\nb"),
        PARAM.format(r"sms\.source: got 'a\\nb', allowed: a path or URL without control characters .*"),
    ),
    yaml(
        "half a character in a model's name",
        params('judge: {judges: ["ollama:\\ud800"]}'),
        r"params\.yaml has \d+ problems:.*\n  - judge\.judges: got \['ollama:\\ud800'\], allowed: overlap, .*",
    ),
    yaml(
        "a batch beyond counting",
        param(generate__batch_size=10**30),
        PARAM.format(r"generate\.batch_size: got 10*, allowed: less than or equal to 2147483647"),
    ),
    yaml(
        "a million layers",
        param(model__n_layers=10**6),
        PARAM.format(r"model\.n_layers: got 1000000, allowed: less than or equal to 1000"),
    ),
    yaml(
        "heads that do not divide",
        param(model__n_heads=3),
        PARAM.format(r"model\.emb_dim: got 8, allowed: a multiple of model\.n_heads \(3\)"),
    ),
    yaml(
        "half a character",
        params('seed: 1\ncorpus: {source: "\\ud800"}'),
        r"params\.yaml has \d+ problems:.*\n  - corpus\.source: got '\\ud800', allowed: a path or URL .* "
        r"without lone surrogates.*",
    ),
    yaml(
        "a zero byte in a path",
        param(sms__source="a\0b"),
        PARAM.format(r"sms\.source: got 'a\\x00b', allowed: a path or URL without control characters .*"),
    ),
    yaml(
        "a password in a URL",
        param(corpus__source="https://me:secret@host/a"),
        PARAM.format(
            r"corpus\.source: got 'https://\.\.\.@host/a', allowed: a URL without name and password, which would "
            r"be copied to dvc\.lock: put them into ~/\.netrc"
        ),
    ),
    yaml(
        "a model larger than memory",
        param(model__emb_dim=10**6),
        r"a model of 12,\d{3},\d{3},\d{3},\d{3} parameters takes 44,\d{3} GiB, this machine has \d+ GiB: make "
        r"model\.emb_dim, model\.n_layers or model\.context_length smaller",
        "pretrain",
    ),
    yaml(
        "a warmup without end",
        param(finetune_classifier__warmup_steps=99),
        r"finetune_classifier\.warmup_steps is 99, but the training has 3 steps: .*; warm up for fewer "
        r"steps or train for longer",
        "finetune_classifier",
    ),
]


@pytest.mark.parametrize("row", BAD_INPUTS, ids=lambda row: row.name)
def test_a_bad_params_yaml_ends_in_one_message_and_nothing_half_written(row: BadInput, project: Path) -> None:
    assert_refused(row)
