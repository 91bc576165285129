"""Answers to instructions: only the new text, stripped, and the same with and without interruptions."""

from __future__ import annotations

import copy
import random
from pathlib import Path
from typing import Any

import pytest
import tiktoken
import torch

from scratchlm.assistant.instructions import Entry, format_prompt
from scratchlm.checkpoint.folder import save_checkpoint
from scratchlm.generation import answers as responses
from scratchlm.generation.answers import Answer, answer, describe_summary, summarise_answers
from scratchlm.generation.decode import Sampling, generate_uncached
from scratchlm.model.config import GPTConfig
from scratchlm.model.gpt import GPT
from scratchlm.model.init import new_model
from scratchlm.stage import interruption
from scratchlm.stage.interruption import Interrupted
from scratchlm.stage.snapshots import Snapshots
from scratchlm.tokenizer.bpe import train_bpe
from scratchlm.tokenizer.folder import read_tokenizer, write_tokenizer

ENTRIES = [Entry(instruction=f"Say it {n} times.", input="now" * (n % 2), output="It.") for n in range(6)]
GREEDY, FREE = Sampling(), Sampling(temperature=1.0, seed=5)
BATCHES = 6  # three for each of two models


@pytest.fixture(autouse=True)
def no_request_to_stop(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(interruption.request, "made", False)


@pytest.fixture(scope="module")
def tokenizer_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tokenizer")
    write_tokenizer(folder, *train_bpe([format_prompt(entry, "phi3") for entry in ENTRIES], 300))
    return folder


@pytest.fixture(scope="module")
def tokenizer(tokenizer_folder: Path) -> tiktoken.Encoding:
    return read_tokenizer(tokenizer_folder)


@pytest.fixture(scope="module")
def model(tokenizer: tiktoken.Encoding) -> GPT:
    torch.manual_seed(2)
    gpt = new_model(
        GPTConfig(tokenizer.n_vocab, 64, 24, 2, 2, 0.0, qkv_bias=False, tie_embeddings=False), "book"
    ).eval()
    with torch.no_grad():
        gpt.lm_head.weight[tokenizer.eot_token] *= 2.5  # some answers end with it and some do not
    return gpt


@pytest.fixture(scope="module")
def folders(model: GPT, tokenizer_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The folders of two models that answer differently."""
    folder = tmp_path_factory.mktemp("models")
    other = copy.deepcopy(model)
    with torch.no_grad():
        other.wpe.weight.neg_()
    for name, gpt in (("base", other), ("assistant", model)):
        save_checkpoint(folder / name, gpt, tokenizer_folder)
    return {name: folder / name for name in ("base", "assistant")}


def ask(
    folders: dict[str, Path],
    snapshots: Path | Snapshots,
    entries: list[Entry] = ENTRIES,
    max_new_tokens: int = 12,
    sampling: Sampling = GREEDY,
    batch_size: int = 2,
) -> dict[str, list[Answer]]:
    kept = Snapshots(snapshots) if isinstance(snapshots, Path) else snapshots
    return answer(
        folders,
        entries,
        style="phi3",
        max_new_tokens=max_new_tokens,
        sampling=sampling,
        batch_size=batch_size,
        device=torch.device("cpu"),
        snapshots=kept,
    )


def test_answers_are_the_new_tokens_up_to_end_of_text(
    model: GPT, tokenizer: tiktoken.Encoding, folders: dict[str, Path], tmp_path: Path
) -> None:
    answers = ask(folders, tmp_path, batch_size=4)
    assert list(answers) == ["base", "assistant"]
    assert answers["base"] != answers["assistant"]
    assert {given["finish"] for given in answers["assistant"]} == {"stop", "length"}
    for entry, given in zip(ENTRIES, answers["assistant"], strict=True):
        ids = generate_uncached(model, tokenizer.encode_ordinary(format_prompt(entry, "phi3")), 12)
        stops = tokenizer.eot_token in ids
        kept = ids[: ids.index(tokenizer.eot_token)] if stops else ids
        assert given == {
            "text": tokenizer.decode(kept).strip(),
            "finish": "stop" if stops else "length",
            "tokens": len(kept),
        }


def test_white_space_around_an_answer_is_removed(
    model: GPT, tokenizer: tiktoken.Encoding, tokenizer_folder: Path, tmp_path: Path
) -> None:
    gpt = copy.deepcopy(model)
    space = tokenizer.encode_ordinary(" ")[0]
    with torch.no_grad():
        gpt.ln_f.weight.zero_()
        gpt.ln_f.bias.copy_(gpt.lm_head.weight[space] * 100)
    save_checkpoint(tmp_path / "model", gpt, tokenizer_folder)
    given = ask({"blank": tmp_path / "model"}, tmp_path / "run", ENTRIES[:1], 3)["blank"][0]
    assert given == {"text": "", "finish": "length", "tokens": 3}


def test_a_prompt_that_fills_the_context_gets_an_empty_answer(folders: dict[str, Path], tmp_path: Path) -> None:
    long = Entry(instruction="again " * 80, input="", output="It.")
    answers = ask(folders, tmp_path / "both", [ENTRIES[0], long], 4)["assistant"]
    assert answers[1] == {"text": "", "finish": "length", "tokens": 0}
    assert answers[0] == ask(folders, tmp_path / "one", ENTRIES[:1], 4)["assistant"][0]


def test_the_answers_of_each_model_are_counted_and_shown() -> None:
    ended, cut, empty = (
        Answer(text=text, finish=finish, tokens=9) for text, finish in (("It.", "stop"), ("It", "length"), ("", "stop"))
    )
    answers = {"base": [cut, cut, empty], "assistant": [ended, ended, cut], "preferred": [ended, ended, ended]}
    summary = summarise_answers(answers, {"base": 0.0, "assistant": 100 / 3, "preferred": 100.0})
    assert summary == {
        "answers": 3,
        "base_empty": 1,
        "base_stopped_at_end": 1,
        "base_preference_share": 0.0,
        "empty": 0,
        "stopped_at_end": 2,
        "preference_share": pytest.approx(33.33, abs=0.01),
        "preferred_empty": 0,
        "preferred_stopped_at_end": 3,
        "preferred_preference_share": 100.0,
    }
    assert describe_summary(summary, answers).splitlines() == [
        "3 answers of each         empty  ended  as preferred",
        "base                          1      1         0.0 %",
        "assistant                     0      2        33.3 %",
        "preferred                     0      3       100.0 %",
    ]


# --- interruption ---------------------------------------------------------------------------------------------


@pytest.fixture
def batches(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, ...]]:
    """The entries of every batch that is generated, in order."""
    generated: list[tuple[int, ...]] = []
    continue_batch = responses.continue_batch

    def continue_and_note(model: GPT, prompts: Any, numbers: list[int], *rest: Any) -> Any:
        generated.append(tuple(numbers))
        return continue_batch(model, prompts, numbers, *rest)

    monkeypatch.setattr(responses, "continue_batch", continue_and_note)
    return generated


def stop_when(monkeypatch: pytest.MonkeyPatch, batches: list[tuple[int, ...]], n_batches: int | None) -> None:
    """Request a stop as soon as so many batches have been generated."""
    monkeypatch.setattr(
        "scratchlm.stage.snapshots.requested", lambda: n_batches is not None and len(batches) >= n_batches
    )


@pytest.mark.parametrize("n_batches", range(BATCHES + 1))
def test_stopped_after_any_batch_it_resumes_there_and_gives_the_same_answers(
    n_batches: int,
    batches: list[tuple[int, ...]],
    folders: dict[str, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    whole = ask(folders, tmp_path / "whole", sampling=FREE)
    uninterrupted = batches[:]
    assert len(uninterrupted) == BATCHES
    batches.clear()
    stop_when(monkeypatch, batches, n_batches)
    with pytest.raises(Interrupted, match=f"^after {2 * n_batches} of 12 answers$"):
        ask(folders, tmp_path / "run", sampling=FREE)
    stop_when(monkeypatch, batches, None)
    assert ask(folders, tmp_path / "run", sampling=FREE) == whole
    assert f"resuming after {2 * n_batches} of 12 answers" in capsys.readouterr().out
    assert batches == uninterrupted


def test_stopped_after_every_batch_it_gives_the_same_answers(
    batches: list[tuple[int, ...]], folders: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = ask(folders, tmp_path / "whole", sampling=FREE)
    batches.clear()
    for n_batches in range(1, BATCHES + 1):
        stop_when(monkeypatch, batches, n_batches)
        with pytest.raises(Interrupted):
            ask(folders, tmp_path / "run", sampling=FREE)
    stop_when(monkeypatch, batches, None)
    assert ask(folders, tmp_path / "run", sampling=FREE) == whole
    assert len(batches) == BATCHES


def test_a_kill_loses_no_more_than_the_current_batch(
    batches: list[tuple[int, ...]], folders: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = ask(folders, tmp_path / "whole", sampling=FREE)
    chance = random.Random(1)
    decode = responses.continue_batch

    def die(*arguments: Any) -> Any:
        if chance.random() < 0.5:
            raise MemoryError
        return decode(*arguments)

    monkeypatch.setattr(responses, "continue_batch", die)
    batches.clear()
    deaths = 0
    while True:
        try:
            resumed = ask(folders, Snapshots(tmp_path / "run", every_s=0), sampling=FREE)
            break
        except MemoryError:
            deaths += 1
    assert deaths > 2
    assert resumed == whole
    assert len(batches) == BATCHES
