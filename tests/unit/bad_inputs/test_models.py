"""Model folders that cannot be used."""

from __future__ import annotations

import math
import pickle
import shutil
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from spoiling import (
    PRETRAINED,
    RAN,
    WEIGHTS,
    BadInput,
    assert_refused,
    cut,
    edited,
    folder_at,
    removed,
    run_stage,
    set_params,
    text,
    written,
)

START: dict[str, Any] = {"pretrain__start": "inputs/models/mine"}
MINE = "inputs/models/mine/model.safetensors"
BUILD_AGAIN = "run `make repro` to build it again"
UNREADABLE = (
    r"models/pretrained/model\.safetensors is not a readable safetensors file \({}.*\): it may be cut short or in "
    rf"another format \(pickles are never read\); {BUILD_AGAIN}"
)
UNUSABLE = rf"model\.safetensors cannot be used:\n  - transformer\.{{}} holds NaN or infinity\n{BUILD_AGAIN}"
CONFIGURATION = r"models/pretrained/config\.json is not a GPT-2 configuration that can be used:\n  - {}"
DIFFERENCE = (
    r"models/pretrained/model\.safetensors does not fit the model described by its config\.json: 1 difference\n"
    rf"  - {{}}\n{BUILD_AGAIN}"
)


def tensors(
    change: Callable[[dict[str, torch.Tensor]], object], path: str = "models/pretrained"
) -> Callable[[], object]:
    def make() -> None:
        found = load_file(f"{path}/model.safetensors")
        change(found)
        save_file(found, f"{path}/model.safetensors", metadata={"format": "pt"})

    return make


class Trap:
    """An object whose pickle runs a program when it is read."""

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (RAN,)


def torch_checkpoint() -> None:
    torch.save({"weight": torch.zeros(1), "trap": Trap()}, "models/pretrained/model.safetensors")


def header(size: int, content: bytes = b"{}") -> bytes:
    """Return the beginning of a safetensors file: the stated length of its header, then the header."""
    return struct.pack("<Q", size) + content


def model(name: str, make: Callable[[], object], message: str, process: bool = False) -> BadInput:
    return BadInput(f"model: {name}", make, "download_weights", message, process)


BAD_INPUTS = [
    model(
        "missing",
        removed(PRETRAINED),
        rf"models/pretrained holds no model \(config\.json is missing\); {BUILD_AGAIN}",
    ),
    model(
        "config: no JSON",
        written(f"{PRETRAINED}/config.json", "{"),
        rf"models/pretrained/config\.json is not valid JSON \(.*\), wanted the description of a model; {BUILD_AGAIN}",
    ),
    model(
        "config: nested without end",
        written(f"{PRETRAINED}/config.json", "[" * 100_000),
        rf"models/pretrained/config\.json is not valid JSON \(nested too deeply\), wanted .*; {BUILD_AGAIN}",
    ),
    model(
        "config: a list",
        written(f"{PRETRAINED}/config.json", "[]"),
        rf"models/pretrained/config\.json holds a list, wanted the description of a model; {BUILD_AGAIN}",
    ),
    model(
        "config: another kind of model",
        edited(f"{PRETRAINED}/config.json", model_type="mistral"),
        r"models/pretrained/config\.json describes another kind of model: model_type is 'mistral', "
        "supported: 'gpt2' or 'llama'",
    ),
    model(
        "config: a million layers",
        edited(f"{PRETRAINED}/config.json", n_layer=10**6),
        CONFIGURATION.format("n_layer is 1000000, expected a whole number from 1 to 1,000"),
    ),
    model(
        "config: dropout in words",
        edited(f"{PRETRAINED}/config.json", resid_pdrop="none"),
        CONFIGURATION.format("resid_pdrop is 'none', expected a number from 0 to below 1"),
    ),
    model(
        "config: a vocabulary beyond memory",
        edited(f"{PRETRAINED}/config.json", vocab_size=10**9),
        r"the model in models/pretrained has 1000000000 tokens, the tokenizer 280: a model can only be used .*",
    ),
    model(
        "weights: missing",
        removed(WEIGHTS),
        rf"models/pretrained/model\.safetensors is missing; {BUILD_AGAIN}",
    ),
    model(
        "weights: a tensor is missing",
        tensors(lambda found: found.pop("transformer.ln_f.bias")),
        DIFFERENCE.format(r"ln_f\.bias is missing, expected \[8\]"),
    ),
    model(
        "weights: another shape",
        tensors(lambda found: found.update({"transformer.ln_f.bias": torch.zeros(9)})),
        DIFFERENCE.format(r"transformer\.ln_f\.bias has shape \[9\], expected \[8\]"),
    ),
    model(
        "weights: whole numbers",
        tensors(lambda found: found.update({"transformer.ln_f.bias": torch.zeros(8, dtype=torch.int64)})),
        DIFFERENCE.format(r"transformer\.ln_f\.bias has dtype I64, expected one of F32, F16, BF16"),
    ),
    model(
        "weights: a stranger",
        tensors(lambda found: found.update({"score.weight": torch.zeros(8)})),
        DIFFERENCE.format(r"score\.weight is not a tensor of this model"),
    ),
    model("weights: a pickle", torch_checkpoint, UNREADABLE.format(""), process=True),
    model("weights: a bare pickle", lambda: text(WEIGHTS, pickle.dumps(Trap())), UNREADABLE.format("")),
    model("weights: cut short", cut(WEIGHTS, 100), UNREADABLE.format("")),
    model("weights: empty", written(WEIGHTS, ""), UNREADABLE.format("")),
    model(
        "weights: a web page",
        written(WEIGHTS, "<!doctype html><title>Sign in</title>"),
        UNREADABLE.format(r"a header of [\d,]+ bytes, at most 8,388,608 are read"),
    ),
    model(
        "weights: a header of 2^63 bytes",
        written(WEIGHTS, header(2**63)),
        UNREADABLE.format("a header of 9,223,372,036,854,775,808 bytes, at most 8,388,608 are read"),
    ),
    model(
        "weights: a header of 99 MB",
        written(WEIGHTS, header(99_000_000)),
        UNREADABLE.format("a header of 99,000,000 bytes, at most 8,388,608 are read"),
    ),
    model("weights: a header longer than the file", written(WEIGHTS, header(1000)), UNREADABLE.format("")),
    model(
        "weights: more numbers than bytes",
        written(WEIGHTS, header(64, b'{"a":{"dtype":"F32","shape":[999999],"data_offsets":[0,3999996]}}'[:64])),
        UNREADABLE.format(""),
    ),
    model("weights: a folder", folder_at(WEIGHTS), UNREADABLE.format("")),
    model(
        "tokenizer: missing",
        removed(f"{PRETRAINED}/tokenizer.json"),
        rf"models/pretrained/tokenizer\.json is missing, wanted a tokenizer; {BUILD_AGAIN}",
    ),
    model(
        "of another vocabulary",
        lambda: (
            text("own.txt", "xy xyz xyzz " * 100),
            set_params(tokenizer__vocab_size=270),
            run_stage("download_corpus"),
            run_stage("build_tokenizer"),
            run_stage("tokenize_corpus"),
        ),
        r"the model in models/pretrained has 280 tokens, the tokenizer 26\d: a model can only be used "
        r"with the tokenizer it was trained with .*",
    ),
    BadInput(
        "model: a start that is not there",
        lambda: set_params(pretrain__start="inputs/models/mine"),
        "pretrain",
        r"pretrain\.start: inputs/models/mine is no folder, wanted `random` or a model folder, .*",
    ),
    BadInput(
        "model: a start of another shape",
        lambda: (shutil.copytree(PRETRAINED, "inputs/models/mine"), set_params(**START, model__n_layers=2)),
        "pretrain",
        r"pretrain\.start: inputs/models/mine differs from the model of params\.yaml .*\n  - n_layers is 1, wanted 2",
    ),
    BadInput(
        "model: a start without weights",
        lambda: (shutil.copytree(PRETRAINED, "inputs/models/mine"), removed(MINE)(), set_params(**START)),
        "pretrain",
        r"pretrain\.start: .*/inputs/models/mine/model\.safetensors is missing\nName a complete model folder, .*",
    ),
    BadInput(
        "model: not a number",
        tensors(lambda found: found["transformer.ln_f.bias"].fill_(math.nan), "models/bases/pretrained"),
        "finetune_classifier",
        r"models/bases/pretrained/" + UNUSABLE.format(r"ln_f\.bias"),
    ),
    BadInput(
        "model: infinity",
        tensors(lambda found: found["transformer.wte.weight"][0].fill_(math.inf), "models/assistant"),
        "generate_responses",
        r"models/assistant/" + UNUSABLE.format(r"wte\.weight"),
    ),
]


@pytest.mark.parametrize("row", BAD_INPUTS, ids=lambda row: row.name)
def test_a_bad_model_folder_ends_in_one_message_and_nothing_half_written(row: BadInput, project: Path) -> None:
    assert_refused(row)
