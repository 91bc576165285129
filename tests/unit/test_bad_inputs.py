"""Whatever a user gives: one clear message that says what, where and what to do, and nothing half-written."""

from __future__ import annotations

import importlib.util
import itertools
import json
import math
import os
import pickle
import re
import shutil
import struct
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from ruamel.yaml import YAML
from safetensors.torch import load_file, save_file

from scratchlm.errors import InputError
from scratchlm.params.file import load_params

REPOSITORY = Path(__file__).parents[2]
STAGES = YAML(typ="safe", pure=True).load(REPOSITORY / "dvc.yaml")["stages"]
RAN = Path("pickle-ran")

# --- a project whose stages all end well --------------------------------------------------------------------

SETTINGS: dict[str, Any] = {
    "corpus.source": ["own.txt"],
    "tokenizer.vocab_size": 280,
    "windows.max_length": 16,
    "windows.stride": 16,
    **{f"model.{key}": value for key, value in (("context_length", 160), ("emb_dim", 8), ("n_heads", 2))},
    "model.n_layers": 1,
    "sms.source": "own.csv",
    "sms.train_fraction": 0.5,
    "sms.validation_fraction": 0.25,
    "instructions.source": "own.json",
    "instructions.train_fraction": 0.5,
    "instructions.test_fraction": 0.25,
    "finetune_instructions.max_length": 64,
    "generate.max_new_tokens": 4,
    **{
        f"{section}.{key}": value
        for section in ("pretrain", "finetune_classifier", "finetune_instructions")
        for key, value in (("epochs", 1), ("batch_size", 2), ("warmup_steps", 0), ("eval_batches", 1))
    },
}
MESSAGES = [(label, f"{label} message number {number}") for number in range(6) for label in ("ham", "spam")]
ENTRIES = [{"instruction": f"Say {number}.", "input": "", "output": f"It is {number}."} for number in range(8)]
READY = (  # the stages that the others need, in order
    *("download_corpus", "build_tokenizer", "tokenize_corpus", "pretrain", "download_weights", "prepare_sms"),
    *("prepare_instructions", "finetune_instructions"),
)


@cache
def stage_main(stage: str) -> Callable[[Any], None]:
    """Import a stage's script and return its `main`."""
    spec = importlib.util.spec_from_file_location(stage, REPOSITORY / "stages" / f"{stage}.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    main: Callable[[Any], None] = module.main
    return main


def run_stage(stage: str) -> None:
    """Do in this process what the stage's script does in its own."""
    stage_main(stage)(load_params(Path("params.yaml")))


def set_params(**changes: Any) -> None:
    """Change keys of params.yaml; two underscores stand for the point."""
    yaml = YAML()
    params = yaml.load(Path("params.yaml"))
    for key, value in changes.items():
        *sections, name = key.replace("__", ".").split(".")
        (params[sections[0]] if sections else params)[name] = value
    yaml.dump(params, Path("params.yaml"))


@contextmanager
def inside(folder: Path) -> Iterator[None]:
    before = Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)


@pytest.fixture(scope="module")
def ready(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny project of the user's own data, in which every stage has run."""
    folder = tmp_path_factory.mktemp("ready")
    for name in ("src", "stages", "dvc.yaml"):
        (folder / name).symlink_to(REPOSITORY / name)
    shutil.copy(REPOSITORY / "profiles" / "sample.yaml", folder / "params.yaml")
    with inside(folder), pytest.MonkeyPatch.context() as patch:
        patch.setenv("SCRATCHLM_DEVICE", "cpu")
        set_params(**SETTINGS)
        text("own.txt", "the cat sat on the mat and the dog ran to the house by the sea\n" * 30)
        text("own.csv", csv_of(MESSAGES))
        text("own.json", json.dumps(ENTRIES))
        for stage in READY:
            run_stage(stage)
    return folder


@pytest.fixture
def project(ready: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A copy of that project to spoil, which is also the current folder."""
    for name in ("SCRATCHLM_MIRROR", "DVC_ROOT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("SCRATCHLM_DEVICE", "cpu")
    monkeypatch.setenv("SCRATCHLM_CACHE", str(tmp_path / "cache"))
    folder = tmp_path / "project"
    shutil.copytree(ready, folder, symlinks=True)
    with inside(folder):
        yield folder


# --- ways to spoil it ---------------------------------------------------------------------------------------


def text(path: str, content: str | bytes) -> None:
    Path(path).write_bytes(content if isinstance(content, bytes) else content.encode())


def csv_of(rows: list[tuple[str, str]], header: str = "label,text") -> str:
    return "\n".join([header, *(f"{label},{words}" for label, words in rows), ""])


def params(content: str | bytes) -> Callable[[], object]:
    return lambda: text("params.yaml", content)


def aliases(last: str) -> str:
    """YAML whose few lines stand for 9 to the power of 14 values, and then a line of its own."""
    names = [*"abcdefghijklm", "last"]
    lines = [f"{name}: &{name} [{', '.join([f'*{before}'] * 9)}]" for before, name in itertools.pairwise(names)]
    return "\n".join([f"a: &a [{', '.join('x' * 9)}]", *lines, last])


def param(**changes: Any) -> Callable[[], object]:
    return lambda: set_params(**changes)


def written(path: str, content: str | bytes, **changes: Any) -> Callable[[], object]:
    """Write a file, and name it in params.yaml where `changes` say so."""

    def make() -> None:
        text(path, content)
        set_params(**changes)

    return make


def edited(path: str, **changes: Any) -> Callable[[], object]:
    """Change keys of a JSON file; None takes a key out."""

    def make() -> None:
        found = {**json.loads(Path(path).read_text()), **changes}
        text(path, json.dumps({key: value for key, value in found.items() if value is not None}))

    return make


def removed(path: str) -> Callable[[], object]:
    return lambda: shutil.rmtree(path) if Path(path).is_dir() else Path(path).unlink()


def cut(path: str, n_bytes: int) -> Callable[[], object]:
    return lambda: text(path, Path(path).read_bytes()[:-n_bytes])


def folder_at(path: str, **changes: Any) -> Callable[[], object]:
    def make() -> None:
        Path(path).unlink(missing_ok=True)
        Path(path).mkdir()
        set_params(**changes)

    return make


def pipe_at(path: str, **changes: Any) -> Callable[[], object]:
    """A pipe that nobody writes to: reading it never ends."""

    def make() -> None:
        os.mkfifo(path)
        set_params(**changes)

    return make


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
    """The beginning of a safetensors file: the length of its header, and what is there of it."""
    return struct.pack("<Q", size) + content


def zipped(member: str, **changes: Any) -> Callable[[], object]:
    def make() -> None:
        with zipfile.ZipFile("own.zip", "w") as archive:
            archive.writestr(member, csv_of(MESSAGES))
        set_params(**changes)

    return make


def entries(*changed: Any) -> Callable[[], object]:
    """The user's instructions with further ones at the end, the first of them number 8."""
    return written("own.json", json.dumps([*ENTRIES, *changed]))


def messages(*changed: tuple[str, str], header: str = "label,text") -> Callable[[], object]:
    """The user's messages with further ones at the end, the first of them on line 14."""
    return written("own.csv", csv_of([*MESSAGES, *changed], header))


# --- the table ----------------------------------------------------------------------------------------------


class BadInput(NamedTuple):
    """What is wrong, how it is made so, the stage that meets it, and a pattern for all of its message."""

    name: str
    make: Callable[[], object]
    stage: str
    message: str
    process: bool = False  # also as a process of its own


PRETRAINED = "models/pretrained"
WEIGHTS = f"{PRETRAINED}/model.safetensors"
BUILD_AGAIN = "run `make repro` to build it again"
UNUSABLE = rf"cannot be used; {BUILD_AGAIN}:\n"
PROFILE = "copy a profile with `make profile P=sample`"
LABELS = r"wanted 'ham' or 'spam': correct it or leave it out"
UNREADABLE = (
    r"models/pretrained/model\.safetensors is not a readable safetensors file \({}.*\): it may be cut short or in "
    rf"another format \(pickles are never read\); {BUILD_AGAIN}"
)
CONFIGURATION = r"models/pretrained/config\.json is not a GPT-2 configuration that can be used:\n  - {}"
PARAM = r"params\.yaml has 1 problem:\n  - {}"
INSTRUCTION = (
    r".*/own\.json has 1 entries or fields that cannot be used; correct them or leave the entries out:\n  - {}"
)
MANIFEST = rf"data/tokens/manifest\.json is damaged \({{}}\): {BUILD_AGAIN}"
DIFFERENCE = (
    r"models/pretrained/model\.safetensors does not fit the model described by its config\.json; "
    rf"{BUILD_AGAIN}: 1 difference\n  - {{}}"
)


def corpus(name: str, make: Callable[[], object], message: str, process: bool = False) -> BadInput:
    return BadInput(f"corpus: {name}", make, "download_corpus", message, process)


def sms(name: str, make: Callable[[], object], message: str, process: bool = False) -> BadInput:
    return BadInput(f"sms: {name}", make, "prepare_sms", message, process)


def instructions(name: str, make: Callable[[], object], message: str) -> BadInput:
    return BadInput(f"instructions: {name}", make, "prepare_instructions", message, process=name == "a dict")


def model(name: str, make: Callable[[], object], message: str, process: bool = False) -> BadInput:
    return BadInput(f"model: {name}", make, "download_weights", message, process)


def tokens(name: str, make: Callable[[], object], message: str, process: bool = False) -> BadInput:
    return BadInput(f"tokens: {name}", make, "pretrain", message, process)


def yaml(name: str, make: Callable[[], object], message: str, stage: str = "download_corpus") -> BadInput:
    return BadInput(f"params: {name}", make, stage, message, process=name == "nested without end")


BAD_INPUTS = [
    # params.yaml
    yaml("missing", removed("params.yaml"), rf"params\.yaml is missing: {PROFILE}"),
    yaml(
        "a folder",
        lambda: (Path("params.yaml").unlink(), Path("params.yaml").mkdir()),
        rf"params\.yaml is no file: move it elsewhere, then {PROFILE}",
    ),
    yaml("no text", params(b"\xff\xfe\x00\xd8\x01"), rf"params\.yaml is not valid YAML: .*; correct it, or {PROFILE}"),
    yaml("empty", params(""), rf"params\.yaml holds None, expected sections such as `corpus:` .*; {PROFILE}"),
    yaml("a pipe", lambda: (Path("params.yaml").unlink(), os.mkfifo("params.yaml")), r"params\.yaml is no file: .*"),
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
        r"params\.yaml has 14 problems:.*\n  - seed: got a number too long to show, allowed: less than 4294967296\n.*",
    ),
    yaml(
        "aliases that stand for more than memory holds",
        params(aliases("gpt2: {sizes: *last}")),
        r"params\.yaml has \d+ problems:.*\n  - gpt2\.sizes: got \[\[.*\.\.\., allowed: a list of .*",
    ),
    yaml(
        "two lines in a path",
        param(sms__source="a\nb"),
        PARAM.format(r"sms\.source: got 'a\\nb', allowed: a path or URL, which has no control characters .*"),
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
        r"params\.yaml has 13 problems:\n  - corpus\.source: got '\\ud800', allowed: a path or URL, .* no half "
        r"characters.*",
    ),
    yaml(
        "a zero byte in a path",
        param(sms__source="a\0b"),
        PARAM.format(r"sms\.source: got 'a\\x00b', allowed: a path or URL, which has no control characters .*"),
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
        r"finetune_classifier\.warmup_steps is 99, but the training has 3 steps in all: .*; warm up for fewer "
        r"steps or train for longer",
        "finetune_classifier",
    ),
    # corpora
    corpus(
        "missing",
        param(corpus__source=["none.txt"]),
        r"corpus\.source: none\.txt is neither a file nor a folder nor a URL; paths are relative to the project's "
        r"folder; `sample` and `the-verdict` are built in",
    ),
    corpus("empty", written("own.txt", ""), r"corpus\.source: .*/own\.txt is empty: give a text, or leave it out"),
    corpus("blank", written("own.txt", " \n\t\n"), r"corpus\.source: .*/own\.txt is empty: .*"),
    corpus(
        "binary",
        written("own.txt", b"\x7fELF\0\1"),
        r"corpus\.source: .*/own\.txt holds zero bytes, so it is binary or UTF-16: give UTF-8 text",
    ),
    corpus(
        "UTF-16",
        written("own.txt", "the cat".encode("utf-16")),
        r"corpus\.source: .*/own\.txt (holds zero bytes|is not UTF-8).*",
    ),
    corpus(
        "Latin-1",
        written("own.txt", "plain\nna\xefve ".encode("latin-1")),
        r"corpus\.source: .*/own\.txt is not UTF-8 text \(line 2, byte 0xef\): convert it first, for example with "
        r"`iconv -f latin1 -t utf-8`",
    ),
    corpus(
        "a folder without texts",
        folder_at("own", corpus__source=["own"]),
        r"corpus\.source: the folder own holds no \.txt, \.md, \.text file",
    ),
    corpus(
        "a pipe", pipe_at("pipe", corpus__source=["pipe"]), r"corpus\.source: pipe is neither a file .*", process=True
    ),
    corpus(
        "a name too long",
        param(corpus__source=["a" * 5000]),
        r"a{60}\.\.\. cannot be a path \(too long\): give another",
    ),
    corpus(
        "no web address",
        param(corpus__source=["ftp://host/a.txt"]),
        r"'ftp://host/a\.txt' is no URL that can be downloaded; wanted https://host/path",
    ),
    corpus(
        "another's home",
        param(corpus__source=["~nobody-here/a"]),
        r"~nobody-here/a: there is no such user's home folder; give the path from / on",
    ),
    corpus(
        "a file where data/ should be",
        lambda: (shutil.rmtree("data"), text("data", "")),
        r"data is in the way: data/corpus is to be written in it; move it elsewhere",
    ),
    BadInput(
        "corpus: shorter than a window",
        written("data/corpus/00001-own.txt", "the cat"),
        "tokenize_corpus",
        r"the train part of the corpus has \d tokens, a window needs windows\.max_length \+ 1 = 17: use a longer "
        r"corpus, a smaller windows\.max_length or another windows\.train_fraction",
    ),
    BadInput(
        "corpus: no documents",
        removed("data/corpus/00001-own.txt"),
        "build_tokenizer",
        r"data/corpus holds no documents: run `make repro` to collect them again",
    ),
    BadInput(
        "corpus: spoilt between two stages",
        written("data/corpus/00001-own.txt", b"caf\xe9 "),
        "build_tokenizer",
        r"00001-own\.txt is not UTF-8 text any more \(byte 0xe9\): run `make repro` to collect it again",
    ),
    # tokenizer files
    BadInput(
        "tokenizer: a file is missing",
        removed("data/tokenizer/vocab.bpe"),
        "tokenize_corpus",
        r"data/tokenizer/vocab\.bpe is missing: run `make repro` to build it",
    ),
    BadInput(
        "tokenizer: no JSON",
        written("data/tokenizer/encoder.json", "{"),
        "tokenize_corpus",
        rf"data/tokenizer/encoder\.json or data/tokenizer/vocab\.bpe is damaged \(.*\): {BUILD_AGAIN}",
    ),
    BadInput(
        "tokenizer: nested without end",
        written("data/tokenizer/encoder.json", "[" * 100_000),
        "tokenize_corpus",
        r"data/tokenizer/encoder\.json or .* is damaged \(nested too deeply\): run `make repro` to build it again",
    ),
    BadInput(
        "tokenizer: a list",
        written("data/tokenizer/encoder.json", "[]"),
        "tokenize_corpus",
        r"data/tokenizer/encoder\.json and .* do not belong together: .*; run `make repro` to build both again",
    ),
    BadInput(
        "tokenizer: merges of what is no byte",
        written("data/tokenizer/vocab.bpe", "t \u2603\n"),
        "tokenize_corpus",
        r".* do not belong together: .*; run `make repro` to build both again",
    ),
    BadInput(
        "tokenizer: words without ids",
        written("data/tokenizer/vocabulary.json", '{"the": 5}'),
        "tokenize_corpus",
        r"data/tokenizer/vocabulary\.json is no vocabulary of words: expected .*; run `make repro` to build it again",
    ),
    # tokens
    tokens(
        "no manifest",
        removed("data/tokens/manifest.json"),
        r"data/tokens/manifest\.json cannot be read \(No such file or directory\): run `make repro` to build it",
    ),
    tokens("no JSON", written("data/tokens/manifest.json", "{"), MANIFEST.format("Invalid JSON: .*"), process=True),
    tokens(
        "nested without end", written("data/tokens/manifest.json", "[" * 100_000), MANIFEST.format("Invalid JSON: .*")
    ),
    tokens("a list", written("data/tokens/manifest.json", "[]"), MANIFEST.format(".*")),
    tokens(
        "a count is missing",
        edited("data/tokens/manifest.json", stride=None),
        MANIFEST.format("stride: Field required"),
    ),
    tokens(
        "text for a count",
        edited("data/tokens/manifest.json", train_tokens="5"),
        MANIFEST.format("train_tokens: Input should be a valid integer"),
    ),
    tokens(
        "an unknown kind of number",
        edited("data/tokens/manifest.json", dtype="O"),
        MANIFEST.format("dtype is 'O', expected <u2 or <u4"),
    ),
    tokens(
        "a stride of zero",
        edited("data/tokens/manifest.json", stride=0),
        MANIFEST.format("max_length 16 and stride 0, expected at least 1"),
    ),
    tokens(
        "windows that cannot be",
        edited("data/tokens/manifest.json", max_length=10**9),
        MANIFEST.format(r"train_windows is \d+, but \d+ tokens make 0, and one is needed"),
    ),
    tokens(
        "of another vocabulary",
        edited("data/tokens/manifest.json", vocab_size=7),
        r"data/tokens was made with 7 tokens, the tokenizer has 280: run `make repro` to tokenize again",
    ),
    tokens(
        "cut short",
        cut("data/tokens/train.bin", 2),
        rf"data/tokens/train\.bin has 1,348 bytes, expected 1,350: {BUILD_AGAIN}",
    ),
    tokens(
        "missing",
        removed("data/tokens/train.bin"),
        rf"data/tokens/train\.bin has 0 bytes, expected 1,350: {BUILD_AGAIN}",
    ),
    tokens(
        "an id beyond the vocabulary",
        lambda: text("data/tokens/train.bin", b"\xff" * Path("data/tokens/train.bin").stat().st_size),
        r"data/tokens/train\.bin holds the id 65535, the largest is 279: run `make repro` to tokenize again",
    ),
    # model folders
    model(
        "missing",
        removed(PRETRAINED),
        r"models/pretrained holds no model \(config\.json is missing\): run `make repro` to build it",
    ),
    model(
        "config: no JSON",
        written(f"{PRETRAINED}/config.json", "{"),
        rf"models/pretrained/config\.json is not valid JSON \(.*\): {BUILD_AGAIN}",
    ),
    model(
        "config: nested without end",
        written(f"{PRETRAINED}/config.json", "[" * 100_000),
        rf"models/pretrained/config\.json is not valid JSON \(nested too deeply\): {BUILD_AGAIN}",
    ),
    model(
        "config: a list",
        written(f"{PRETRAINED}/config.json", "[]"),
        rf"models/pretrained/config\.json holds a list, not a JSON object: {BUILD_AGAIN}",
    ),
    model(
        "config: another kind of model",
        edited(f"{PRETRAINED}/config.json", model_type="llama"),
        CONFIGURATION.format("model_type is 'llama', supported: 'gpt2'"),
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
        r"models/pretrained/model\.safetensors is missing: run `make repro` to build it",
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
        "merges: missing",
        removed(f"{PRETRAINED}/merges.txt"),
        r"models/pretrained/merges\.txt is missing: run `make repro` to build it",
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
        "model: not a number",
        tensors(lambda found: found["transformer.ln_f.bias"].fill_(math.nan), "models/bases/pretrained"),
        "finetune_classifier",
        rf"models/bases/pretrained/model\.safetensors {UNUSABLE}  - transformer\.ln_f\.bias holds NaN or infinity",
    ),
    BadInput(
        "model: infinity",
        tensors(lambda found: found["transformer.wte.weight"][0].fill_(math.inf), "models/assistant"),
        "generate_responses",
        rf"models/assistant/model\.safetensors {UNUSABLE}  - transformer\.wte\.weight holds NaN or infinity",
    ),
    # messages
    sms(
        "missing",
        param(sms__source="none.csv"),
        r"none\.csv does not exist \(looked for .*/none\.csv\): give a file, a URL or one of sample, uci",
    ),
    sms("a zip that is missing", param(sms__source="none.zip"), r"none\.zip does not exist .*"),
    sms(
        "a folder",
        folder_at("own", sms__source="own"),
        r"own is no file \(looked for .*/own\): give a file, a URL or one of sample, uci",
    ),
    sms("a pipe", pipe_at("pipe.csv", sms__source="pipe.csv"), r"pipe\.csv is no file .*"),
    sms(
        "empty",
        written("own.csv", ""),
        r".*/own\.csv, line 1: got columns \[\], wanted label and text, comma-separated: name them so .*",
    ),
    sms(
        "a header alone",
        written("own.csv", "label,text\n"),
        r".*/own\.csv holds no messages, wanted rows of a label \(ham or spam\) and a text",
    ),
    sms(
        "a column is missing",
        messages(header="label,message"),
        r".*/own\.csv, line 1: got columns \['label', 'message'\], wanted label and text, comma-separated: name .*",
    ),
    sms(
        "a column twice",
        messages(header="label,text,text"),
        r".*/own\.csv, line 1: got columns \['label', 'text', 'text'\], wanted each name once: rename or .*",
    ),
    sms(
        "an unknown label",
        messages(("junk", "hello")),
        rf".*/own\.csv, line 14: got label 'junk', {LABELS}",
        process=True,
    ),
    sms("a number for a label", messages(("1", "hello")), rf".*/own\.csv, line 14: got label '1', {LABELS}"),
    sms(
        "one class only",
        written("own.csv", csv_of([row for row in MESSAGES if row[0] == "ham"])),
        r".*/own\.csv: all 6 messages are ham, wanted both ham and spam: add some of the other",
    ),
    sms(
        "an empty message",
        messages(("ham", "")),
        r".*/own\.csv, line 14: got an empty text, wanted a message: leave the line out",
    ),
    sms(
        "a comma in a bare text",
        messages(("ham", "one, two")),
        r".*/own\.csv, line 14: got 3 fields, wanted 2, comma-separated: put a text that holds a comma into quotes",
    ),
    sms(
        "a tab in a text",
        written("own.tsv", "ham\thello\nspam\twin\ta prize\n", sms__source="own.tsv"),
        r".*/own\.tsv, line 2: got 3 fields, wanted 2, tab-separated: put a text that holds a tab into quotes",
    ),
    sms(
        "a quote that never closes",
        messages(("ham", '"never')),
        r".*/own\.csv, line 14: the quote that opens a text is never closed: close it, or take it out",
    ),
    sms(
        "a text with both labels",
        messages(("spam", "ham message number 0")),
        r".*/own\.csv, line 14: got spam for a text that is ham on line 2: no model can learn both; leave one of "
        r"them out",
    ),
    sms(
        "a text without end",
        messages(("ham", "x" * 200_000)),
        r".*/own\.csv, line 14: not readable as CSV: field larger than field limit \(131072\)",
    ),
    sms(
        "Latin-1",
        written("own.csv", csv_of(MESSAGES).encode() + b"ham,caf\xe9\n"),
        r".*/own\.csv, line 14: byte 0xe9 is not UTF-8; save the file as UTF-8",
    ),
    sms(
        "too few",
        written("own.csv", csv_of(MESSAGES[:2])),
        r"2 balanced messages split by 0\.5 and 0\.25 give 1, 0 and 1 .*: give more messages or other fractions",
    ),
    sms(
        "a zip of something else",
        zipped("readme", sms__source="own.zip"),
        r".*/own\.zip: member SMSSpamCollection: not there; the zip holds readme",
    ),
    sms(
        "a zip that is none",
        written("own.zip", "PK", sms__source="own.zip"),
        r".*/own\.zip: not a usable zip file \(.*\); download it again",
    ),
    BadInput(
        "sms: a split without its columns",
        written("data/sms/train.csv", "a,b\n1,2\n"),
        "finetune_classifier",
        r"data/sms/train\.csv: the columns are \['a', 'b'\], wanted Label and Text: run prepare_sms again",
    ),
    BadInput(
        "sms: a third label in a split",
        written("data/sms/test.csv", "Label,Text\n2,hello\n"),
        "finetune_classifier",
        r"data/sms/test\.csv, row 1: got \['2', 'hello'\], wanted 0 or 1 and a text: run prepare_sms again",
    ),
    BadInput(
        "sms: an endless field in a split",
        written("data/sms/test.csv", f"Label,Text\n1,{'x' * 200_000}\n"),
        "finetune_classifier",
        r"data/sms/test\.csv: not readable as CSV: .*: run prepare_sms again",
    ),
    BadInput(
        "sms: a split is missing",
        removed("data/sms/test.csv"),
        "finetune_classifier",
        r"data/sms/test\.csv cannot be read \(No such file or directory\): wanted a file of labelled messages",
    ),
    # instructions
    instructions(
        "missing",
        param(instructions__source="none.json"),
        r"none\.json does not exist \(looked for .*\): give a file, a URL or one of sample, book, alpaca",
    ),
    instructions("a pipe", pipe_at("pipe.json", instructions__source="pipe.json"), r"pipe\.json is no file .*"),
    instructions(
        "no JSON",
        written("own.json", "[{]"),
        r".*/own\.json is not valid JSON \(.*\): expected a list of objects with the fields instruction, input, output",
    ),
    instructions(
        "lines of JSON",
        written("own.json", "\n".join(map(json.dumps, ENTRIES))),
        r".*/own\.json is not valid JSON \(Extra data: line 2 .*\): expected a list .*",
    ),
    instructions(
        "Latin-1",
        written("own.json", b'["caf\xe9"]'),
        r".*/own\.json is not valid JSON \('utf-8' codec .*\): expected a list .*",
    ),
    instructions(
        "nested without end",
        written("own.json", "[" * 100_000),
        r".*/own\.json is not valid JSON \(nested too deeply\): expected a list .*",
    ),
    instructions(
        "a dict",
        written("own.json", "{}"),
        r".*/own\.json holds a dict, expected a list of objects with the fields instruction, input, output",
    ),
    instructions(
        "an empty list", written("own.json", "[]"), r".*/own\.json holds an empty list, expected a list of objects .*"
    ),
    instructions("a list of texts", entries("hello"), INSTRUCTION.format("entry 8: is a str, expected an object")),
    instructions(
        "a field is missing",
        entries({"instruction": "a", "output": "b"}),
        INSTRUCTION.format("entry 8, input: is missing"),
    ),
    instructions(
        "a field of another type",
        entries({"instruction": "a", "input": None, "output": "b"}),
        INSTRUCTION.format("entry 8, input: is a NoneType, expected text"),
    ),
    instructions(
        "an empty answer",
        entries({"instruction": "a", "input": "", "output": " "}),
        INSTRUCTION.format("entry 8, output: is empty, expected text"),
    ),
    instructions(
        "half a character",
        entries({"instruction": "\ud800", "input": "", "output": "b"}),
        INSTRUCTION.format(r"entry 8, instruction: holds half a character .*"),
    ),
    instructions(
        "too few",
        written("own.json", json.dumps(ENTRIES[:2])),
        r"2 instructions leave none for the test set: use more, or change instructions\.train_fraction and .*",
    ),
    BadInput(
        "instructions: a prompt of 10,000 tokens",
        written(
            "data/instructions/train.json", json.dumps([{"instruction": "q w " * 2500, "input": "", "output": "b"}])
        ),
        "finetune_instructions",
        r"the prompts of 1 of 1 entries are longer than finetune_instructions\.max_length \(64 tokens; entry 0 of "
        r"the split has 10,0\d\d\), and mask_prompt leaves nothing else to learn: raise max_length or leave them "
        r"out",
    ),
    BadInput(
        "instructions: a split that is no JSON",
        written("data/instructions/validation.json", ""),
        "finetune_instructions",
        r"data/instructions/validation\.json is not valid JSON \(.*\): expected a list .*",
    ),
    BadInput(
        "instructions: a test set that is a dict",
        written("data/instructions/test.json", "{}"),
        "generate_responses",
        r"data/instructions/test\.json holds a dict, expected a list .*",
    ),
]


def test_the_table_is_as_long_as_promised_and_no_row_stands_there_twice() -> None:
    assert len({row.name for row in BAD_INPUTS}) == len(BAD_INPUTS) >= 60


def spoil(row: BadInput) -> list[Path]:
    """Spoil the current folder's project; take away the stage's outs, as DVC does, and return their paths."""
    row.make()
    outs = [Path(next(iter(out)) if isinstance(out, dict) else out) for out in STAGES[row.stage].get("outs", [])]
    outs += [Path(next(iter(out)) if isinstance(out, dict) else out) for out in STAGES[row.stage].get("metrics", [])]
    for out in outs:
        if out.is_dir():
            shutil.rmtree(out)
        elif out.exists():
            out.unlink()
    return outs


def assert_nothing_half_written(outs: list[Path], before: set[Path]) -> None:
    assert [out for out in outs if out.exists()] == []
    assert {path for path in Path().rglob("*") if ".checkpoints" not in path.parts} - before == set()
    assert not RAN.exists()


@pytest.mark.parametrize("row", BAD_INPUTS, ids=lambda row: row.name)
def test_a_bad_input_ends_in_one_message_and_nothing_half_written(row: BadInput, project: Path) -> None:
    outs = spoil(row)
    before = set(Path().rglob("*"))
    with pytest.raises(InputError) as raised:
        run_stage(row.stage)
    assert re.fullmatch(row.message, str(raised.value), re.DOTALL), str(raised.value)
    assert_nothing_half_written(outs, before | {path.parent for path in outs})


@pytest.mark.parametrize("row", [row for row in BAD_INPUTS if row.process], ids=lambda row: row.name)
def test_as_a_process_it_ends_with_1_and_the_message_alone(row: BadInput, project: Path) -> None:
    outs = spoil(row)
    before = set(Path().rglob("*"))
    ended = subprocess.run(
        [sys.executable, f"stages/{row.stage}.py"],
        env={**os.environ, "PYTHONPATH": "src", "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert ended.returncode == 1
    warning = rf"({row.stage}: warning: DVC does not notice changes of [^\n]*\n)?"  # of own files outside inputs/
    said = re.fullmatch(rf"{warning}{row.stage}: error: ({row.message})\n", ended.stderr, re.DOTALL)
    assert said and "Traceback" not in ended.stderr, ended.stderr
    assert_nothing_half_written(outs, before | {path.parent for path in outs})


# --- what is odd, but can be used ---------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="the peak memory of a process is read from /proc")
def test_one_line_of_50_mb_ends_quickly_and_in_bounded_memory(project: Path) -> None:
    third = 17_000_000  # of a word without end, of blanks without end, and of words
    Path("inputs/corpus").mkdir(parents=True)
    long = "".join([*["acgt"] * (third // 4), " " * third, *["the cat sat on "] * (third // 15)])
    text("inputs/corpus/own.txt", long)
    set_params(corpus__source=["inputs/corpus/own.txt"])
    code = (
        "import runpy, sys; sys.argv = [sys.argv[1]]\n"
        "try: runpy.run_path(sys.argv[0], run_name='__main__')\n"
        "finally: print(open('/proc/self/status').read())\n"
    )
    for stage in ("download_corpus", "build_tokenizer", "tokenize_corpus"):
        ended = subprocess.run(
            [sys.executable, "-c", code, f"stages/{stage}.py"],
            env={**os.environ, "PYTHONPATH": "src", "PYTHONDONTWRITEBYTECODE": "1"},
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert (ended.returncode, ended.stderr) == (0, "")
        peak = re.search(r"VmHWM:\s+(\d+) kB", ended.stdout)
        assert peak and int(peak[1]) < 300_000


def test_an_entry_of_10_000_tokens_is_counted_cut_and_left_unanswered(project: Path) -> None:
    long = {"instruction": "q w " * 2500, "input": "", "output": "b"}
    text("own.json", json.dumps([long] * 4 + ENTRIES))
    set_params(finetune_instructions__mask_prompt=False, instructions__test_fraction=0.4)
    for stage in ("prepare_instructions", "finetune_instructions"):
        run_stage(stage)
    counts = json.loads(Path("metrics/finetune_instructions.json").read_text())
    assert counts["longest_tokens"] > 10_000
    assert counts["truncated"] == 4
    text("data/instructions/test.json", json.dumps([long, ENTRIES[0]]))
    run_stage("generate_responses")
    answers = json.loads(Path("data/responses.json").read_text())
    assert [answer["assistant"]["tokens"] for answer in answers] == [0, 4]


def test_quotes_tabs_and_repeated_messages_are_kept_as_they_are(project: Path) -> None:
    odd = [("ham", 'he said ""hello"", twice\tand left'), ("ham", "again"), ("ham", "again"), ("spam", "\u2028é'")]
    text("own.csv", csv_of([*MESSAGES, *((label, f'"{words}"') for label, words in odd)]))
    run_stage("prepare_sms")
    assert json.loads(Path("metrics/prepare_sms.json").read_text())["rows"] == len(MESSAGES) + 4
