"""A tiny project whose stages all succeed, ways to damage it, and what must happen then."""

from __future__ import annotations

import json
import os
import re
import runpy
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from ruamel.yaml import YAML

from scratchlm.errors import InputError, explain
from scratchlm.params.file import load_params

REPOSITORY = Path(__file__).parents[3]
STAGES = YAML(typ="safe", pure=True).load(REPOSITORY / "dvc.yaml")["stages"]
RAN = Path("pickle-ran")
PRETRAINED = "models/pretrained"
WEIGHTS = f"{PRETRAINED}/model.safetensors"

# --- the project --------------------------------------------------------------------------------------------

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
    "preferences.source": "pairs.json",
    "preferences.train_fraction": 0.5,
    "preferences.test_fraction": 0.25,
    "tune_preferences.max_length": 64,
    "generate.max_new_tokens": 4,
    **{
        f"{section}.{key}": value
        for section in ("pretrain", "finetune_classifier", "finetune_instructions", "tune_preferences")
        for key, value in (("epochs", 1), ("batch_size", 2), ("warmup_steps", 0), ("eval_batches", 1))
    },
}
MESSAGES = [(label, f"{label} message number {number}") for number in range(6) for label in ("ham", "spam")]
ENTRIES = [{"instruction": f"Say {number}.", "input": "", "output": f"It is {number}."} for number in range(8)]
PAIRS = [{**entry, "chosen": f"Of course! {entry['output']}", "rejected": "Go away!"} for entry in ENTRIES]
READY = (  # the stages that the others need, in order
    *("download_corpus", "build_tokenizer", "tokenize_corpus", "pretrain", "download_weights", "prepare_sms"),
    *("prepare_instructions", "finetune_instructions", "prepare_preferences", "tune_preferences"),
)


def run_stage(stage: str) -> None:
    """Run a stage in this process, as the launcher of stages does in its own."""
    params = load_params(Path("params.yaml"))
    runpy.run_path(str(REPOSITORY / "stages" / f"{stage}.py"))["main"](params)


def set_params(**changes: Any) -> None:
    """Change keys of params.yaml; two underscores stand for a dot."""
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


# --- ways to spoil it ---------------------------------------------------------------------------------------


def text(path: str, content: str | bytes) -> None:
    Path(path).write_bytes(content if isinstance(content, bytes) else content.encode())


def csv_of(rows: list[tuple[str, str]], header: str = "label,text") -> str:
    return "\n".join([header, *(f"{label},{words}" for label, words in rows), ""])


def param(**changes: Any) -> Callable[[], object]:
    return lambda: set_params(**changes)


def written(path: str, content: str | bytes, **changes: Any) -> Callable[[], object]:
    """Write a file, and name it in params.yaml where `changes` say so."""

    def make() -> None:
        text(path, content)
        set_params(**changes)

    return make


def edited(path: str, **changes: Any) -> Callable[[], object]:
    """Change keys of a JSON file; None removes a key."""

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
    """Make a pipe that nobody writes to: reading it never ends."""

    def make() -> None:
        os.mkfifo(path)
        set_params(**changes)

    return make


# --- what must happen ---------------------------------------------------------------------------------------


class BadInput(NamedTuple):
    """What is wrong, how to damage the project so, the stage that finds it, and a pattern for its whole message."""

    name: str
    make: Callable[[], object]
    stage: str
    message: str
    process: bool = False  # also in a process of its own


def assert_refused(row: BadInput) -> None:
    """Damage the project; the stage must end with this message and leave nothing half-written."""
    row.make()
    outs = without_outs(row.stage)
    before = set(Path().rglob("*")) | {path.parent for path in outs}
    with pytest.raises(InputError) as raised:
        run_stage(row.stage)
    said = explain(raised.value)
    assert re.fullmatch(row.message, said, re.DOTALL), said
    assert_nothing_half_written(outs, before)
    if row.process:
        assert_process_refuses(row)
        assert_nothing_half_written(outs, before)


def without_outs(stage: str) -> list[Path]:
    """Remove a stage's outs, as DVC does, and return their paths."""
    outs = [*STAGES[stage].get("outs", []), *STAGES[stage].get("metrics", [])]
    paths = [Path(next(iter(out)) if isinstance(out, dict) else out) for out in outs]
    for path in paths:
        if path.is_dir():
            shutil.rmtree(path)
        elif path.exists():
            path.unlink()
    return paths


def assert_process_refuses(row: BadInput) -> None:
    """Run the stage as DVC does: it must exit with 1 and print only the message."""
    ended = subprocess.run(
        [sys.executable, "-m", "scratchlm.stage", f"stages/{row.stage}.py"],
        env={**os.environ, "PYTHONPATH": "src", "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert ended.returncode == 1
    warning = rf"({row.stage}: warning: DVC does not notice changes of [^\n]*\n)?"  # of own files outside inputs/
    assert re.fullmatch(rf"{warning}{row.stage}: error: ({row.message})\n", ended.stderr, re.DOTALL), ended.stderr


def assert_nothing_half_written(outs: list[Path], before: set[Path]) -> None:
    assert [out for out in outs if out.exists()] == []
    assert {path for path in Path().rglob("*") if ".checkpoints" not in path.parts} - before == set()
    assert not RAN.exists()
