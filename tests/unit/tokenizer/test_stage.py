"""The stage build_tokenizer: its metrics for each kind of tokenizer."""

from __future__ import annotations

import json
import runpy
from pathlib import Path
from typing import Any

import pytest

from scratchlm.params.file import load_params

REPOSITORY = Path(__file__).parents[3]
TEXT = "the cat sat on the mat, and the dog ran to the cat on the mat"  # 17 words and commas, 10 different ones


def built(folder: Path, monkeypatch: pytest.MonkeyPatch, **tokenizer: Any) -> dict[str, Any]:
    """Run the stage in a folder whose corpus is `TEXT`; return its metrics."""
    (folder / "data/corpus").mkdir(parents=True)
    (folder / "data/corpus/a.txt").write_text(TEXT, encoding="utf-8")
    monkeypatch.chdir(folder)
    params = load_params(REPOSITORY / "profiles" / "sample.yaml")
    changed = params.tokenizer.model_copy(update=tokenizer)
    stage = runpy.run_path(str(REPOSITORY / "stages" / "build_tokenizer.py"))
    stage["main"](params.model_copy(update={"tokenizer": changed}))
    found: dict[str, Any] = json.loads((folder / "metrics/build_tokenizer.json").read_text(encoding="utf-8"))
    return found


def test_words_have_no_merges(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert built(tmp_path, monkeypatch, kind="word", vocab_size=100) == {
        "kind": "word",
        "vocab_size": 10 + 2,  # and two special tokens
        "merges": 0,
        "characters_per_token": round(len(TEXT) / 17, 4),
    }


def test_a_trained_bpe_has_the_merges_in_its_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = built(tmp_path, monkeypatch, kind="bpe", vocab_size=262)
    merges = (tmp_path / "data/tokenizer/vocab.bpe").read_text(encoding="utf-8").splitlines()[1:]
    assert (found["vocab_size"], found["merges"], len(merges)) == (262, 5, 5)
    assert 1 < found["characters_per_token"] < 3


def test_gpt_2s_has_50_000_merges(tmp_path: Path, mirror: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SCRATCHLM_MIRROR", str(mirror.resolve()))
    found = built(tmp_path, monkeypatch, kind="gpt2", vocab_size=50257)
    assert (found["vocab_size"], found["merges"]) == (50257, 50000)
    assert found["characters_per_token"] > 3
