"""Log-likelihoods of choices: the readable computation's, in whatever batch, with and without interruptions."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch

from scratchlm.assistant.instructions import Entry, format_prompt
from scratchlm.benchmark import likelihood
from scratchlm.benchmark.likelihood import Pair, Scored, batches_by_tokens, encode_pairs, score_batch, score_choices
from scratchlm.benchmark.questions import Question
from scratchlm.checkpoint.folder import save_checkpoint
from scratchlm.errors import InputError
from scratchlm.model.config import GPTConfig
from scratchlm.model.gpt import GPT
from scratchlm.model.init import new_model
from scratchlm.stage import interruption
from scratchlm.stage.interruption import Interrupted
from scratchlm.stage.snapshots import Snapshots
from scratchlm.tokenizer.bpe import train_bpe
from scratchlm.tokenizer.folder import read_tokenizer, write_tokenizer
from scratchlm.tokenizer.protocol import Tokenizer

TOLERANCE = 1e-4  # nats, in float32
CONTEXT = 48
QUESTIONS = [
    Question(question=f"What comes after {'the ' * n}{n}?", choices=choices, answer=0, subject="")
    for n, choices in enumerate([["It is one.", "Two."], ["2", "not 3 but 2", "ä"], ["the end of it all", "3"]])
]
PROMPTS = [format_prompt(Entry(instruction=asked["question"], input="", output=""), "phi3") for asked in QUESTIONS]
CHOICES = [asked["choices"] for asked in QUESTIONS]


@pytest.fixture(autouse=True)
def no_request_to_stop(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(interruption.request, "made", False)


@pytest.fixture(scope="module")
def tokenizer_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tokenizer")
    write_tokenizer(folder, *train_bpe([*PROMPTS, "It is one. Two."] * 3, 300))
    return folder


@pytest.fixture(scope="module")
def tokenizer(tokenizer_folder: Path) -> Tokenizer:
    return read_tokenizer(tokenizer_folder)


@pytest.fixture(scope="module")
def model(tokenizer: Tokenizer) -> GPT:
    torch.manual_seed(2)
    return new_model(
        GPTConfig(tokenizer.n_vocab, CONTEXT, 24, 2, 2, 0.0, qkv_bias=False, tie_embeddings=False), "book"
    ).eval()


@pytest.fixture(scope="module")
def folders(model: GPT, tokenizer_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The folders of two models that differ."""
    folder = tmp_path_factory.mktemp("models")
    other = copy.deepcopy(model)
    with torch.no_grad():
        other.wpe.weight.neg_()
    for name, gpt in (("base", other), ("assistant", model)):
        save_checkpoint(folder / name, gpt, tokenizer_folder)
    return {name: folder / name for name in ("base", "assistant")}


@torch.no_grad()
def readable(model: GPT, tokenizer: Tokenizer, prompt: str, choice: str) -> float:
    """Score one choice as the definition says: the sum of log P(token | all before), token by token."""
    before = tokenizer.encode_ordinary(prompt.rstrip())
    ids = tokenizer.encode_ordinary(prompt + choice)
    assert ids[: len(before)] == before
    total = 0.0
    for end in range(len(before), len(ids)):
        seen = torch.tensor([ids[max(0, len(ids) - 1 - CONTEXT) : end]])
        total += torch.log_softmax(model(seen)[0, -1].double(), dim=-1)[ids[end]].item()
    return total


def score(folders: dict[str, Path], snapshots: Path, questions: list[Question] = QUESTIONS) -> Any:
    return score_choices(
        folders, questions, style="phi3", device=torch.device("cpu"), snapshots=Snapshots(snapshots, every_s=1e9)
    )


def test_a_choice_s_score_is_the_sum_of_its_tokens_log_probabilities(
    model: GPT, tokenizer: Tokenizer, folders: dict[str, Path], tmp_path: Path
) -> None:
    scores = score(folders, tmp_path)
    assert list(scores) == ["base", "assistant"]
    for prompt, choices, scored in zip(PROMPTS, CHOICES, scores["assistant"], strict=True):
        wanted = [readable(model, tokenizer, prompt, choice) for choice in choices]
        assert [one.log_likelihood for one in scored] == pytest.approx(wanted, abs=TOLERANCE)
        assert not any(one.was_cut for one in scored)
    assert scores["base"][0][0].log_likelihood != pytest.approx(scores["assistant"][0][0].log_likelihood, abs=0.01)


@pytest.mark.parametrize(("tokens", "logits"), [(1, 512), (60, 1), (100, 3), (10**6, 10**6)])
def test_the_batch_does_not_matter(
    tokens: int, logits: int, folders: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usual = score(folders, tmp_path / "usual")["assistant"]
    monkeypatch.setattr(likelihood, "TOKENS_AT_ONCE", tokens)
    monkeypatch.setattr("scratchlm.model.likelihood.LOGITS_AT_ONCE", logits)
    other = score(folders, tmp_path / "other")["assistant"]
    for one, another in zip(usual, other, strict=True):
        assert [x.log_likelihood for x in one] == pytest.approx([x.log_likelihood for x in another], abs=TOLERANCE)


def test_batches_hold_every_pair_once_longest_first_and_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    pairs = [Pair([0] * length, 1) for length in (3, 30, 9, 10, 4, 200)]
    monkeypatch.setattr(likelihood, "TOKENS_AT_ONCE", 40)
    assert list(batches_by_tokens(pairs)) == [[5], [1], [3, 2, 4, 0]]


def test_white_space_at_the_prompts_end_counts_to_the_choice(tokenizer: Tokenizer) -> None:
    spaced, tight = encode_pairs(tokenizer, ["It is: ", "It is:"], [["one"], [" one"]])
    assert spaced == tight
    ids, n_choice = spaced
    assert tokenizer.decode(ids[-n_choice:]) == " one"


def test_what_is_longer_than_the_context_loses_its_beginning(model: GPT, tokenizer: Tokenizer) -> None:
    prompts, choice = ["again " * 80 + "now:", "now:"], " it is one"
    long, short = encode_pairs(tokenizer, prompts, [[choice], [choice]])
    (cut, whole) = score_batch(model, [long, short])
    assert cut.was_cut and not whole.was_cut
    assert cut.log_likelihood == pytest.approx(readable(model, tokenizer, prompts[0], choice), abs=TOLERANCE)
    assert whole.log_likelihood == pytest.approx(readable(model, tokenizer, prompts[1], choice), abs=TOLERANCE)


@pytest.mark.parametrize(("length", "was_cut"), [(CONTEXT + 1, False), (CONTEXT + 2, True)])
def test_the_last_token_needs_no_place_in_the_context(length: int, was_cut: bool, model: GPT) -> None:
    (scored,) = score_batch(model, [Pair([5] * length, CONTEXT)])
    assert scored.was_cut == was_cut


def test_a_choice_longer_than_the_context_is_refused(folders: dict[str, Path], tmp_path: Path) -> None:
    long = Question(question="How long?", choices=["very " * 60, "short"], answer=0, subject="")
    with pytest.raises(InputError, match=r"^the choice 'very .*\.\.\.' has \d+ tokens, more than"):
        score(folders, tmp_path, [*QUESTIONS, long])


def test_without_questions_no_model_is_loaded(tmp_path: Path) -> None:
    assert score({"base": tmp_path / "none", "assistant": tmp_path / "none"}, tmp_path / "run", []) == {
        "base": [],
        "assistant": [],
    }


# --- interruption ---------------------------------------------------------------------------------------------

BATCHES = 4  # two for each of two models


@pytest.mark.parametrize("n_batches", range(BATCHES + 1))
def test_stopped_after_any_batch_it_resumes_there_and_gives_the_same_scores(
    n_batches: int,
    folders: dict[str, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    scored: list[int] = []

    def score_and_note(model: GPT, pairs: list[Pair]) -> list[Scored]:
        scored.append(len(pairs))
        return score_batch(model, pairs)

    monkeypatch.setattr(likelihood, "score_batch", score_and_note)
    monkeypatch.setattr(likelihood, "TOKENS_AT_ONCE", 100)
    whole = score(folders, tmp_path / "whole")
    uninterrupted = scored[:]
    assert len(uninterrupted) == BATCHES
    scored.clear()
    monkeypatch.setattr("scratchlm.stage.snapshots.requested", lambda: len(scored) >= n_batches)
    done = sum(uninterrupted[:n_batches])
    with pytest.raises(Interrupted, match=f"^after {done} of 14 choices$"):
        score(folders, tmp_path / "run")
    monkeypatch.setattr("scratchlm.stage.snapshots.requested", lambda: False)
    assert score(folders, tmp_path / "run") == whole
    assert f"resuming after {done} of 14 choices" in capsys.readouterr().out
    assert scored == uninterrupted
