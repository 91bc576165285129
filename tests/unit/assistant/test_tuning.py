"""Preference tuning: the reference is asked once, chosen gains on rejected, and a kill changes nothing."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from training_settings import preference_settings

from scratchlm.assistant import tuning as module
from scratchlm.assistant.batches import SPLITS, Example
from scratchlm.assistant.dpo import answer_log_probs
from scratchlm.assistant.pairs import Pair
from scratchlm.assistant.reward_curve import draw_rewards
from scratchlm.assistant.trained_layers import choose_trained_layers
from scratchlm.assistant.tuning import EncodedPair, Tuning, collate_pairs, encode_splits, tune
from scratchlm.errors import InputError
from scratchlm.files.atomic import write_json
from scratchlm.model.config import GPTConfig
from scratchlm.model.gpt import GPT
from scratchlm.model.init import new_model
from scratchlm.model.lora import add_lora, merged_state, untied_head
from scratchlm.stage import interruption
from scratchlm.stage.interruption import Interrupted
from scratchlm.stage.snapshots import Snapshots
from scratchlm.tokenizer.folder import read_tokenizer
from scratchlm.training.state import TrainingState

END, POLITE, BLUNT = 39, 37, 38
SETTINGS = preference_settings(epochs=2, learning_rate=0.003, eval_every=3, weight_decay=0.01)


def encoded(n: int, seed: int) -> list[EncodedPair]:
    """Pairs whose answers differ in their last token alone, which is what there is to learn."""
    generator = torch.Generator().manual_seed(seed)
    made = []
    for _ in range(n):
        prompt, answer = (torch.randint(36, (size,), generator=generator).tolist() for size in (6, 4))
        made.append(EncodedPair(*(Example([*prompt, *answer, tone], len(prompt)) for tone in (POLITE, BLUNT))))
    return made


PAIRS = {"train": encoded(22, 1), "validation": encoded(9, 2), "test": encoded(10, 3)}


def tiny_model() -> GPT:
    torch.manual_seed(0)
    return new_model(GPTConfig(40, 24, 16, 2, 2), "gpt2", 0.1).eval()


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(module, "open_snapshots", lambda stage, device: Snapshots(tmp_path / stage, every_s=0))
    return tmp_path


def tuned(model: GPT | None = None, settings: Any = SETTINGS, **arguments: Any) -> tuple[GPT, Tuning]:
    model = model or tiny_model()
    return model, tune(model, PAIRS, END, settings, 1, **arguments)


def log_probs(model: GPT, pairs: list[EncodedPair], mean: bool = True) -> torch.Tensor:
    inputs, targets, _ = collate_pairs(pairs, END, 24, True)
    with torch.no_grad():
        return answer_log_probs(model, inputs, targets, mean)


@pytest.mark.parametrize("mean", [True, False])
@pytest.mark.parametrize("train_layers", ["all", "lora"])
def test_chosen_answers_gain_on_rejected_ones_on_pairs_that_were_not_trained_on(mean: bool, train_layers: str) -> None:
    model = tiny_model()
    if train_layers == "lora":
        add_lora(model, [model.h, untied_head(model)], 4, 4.0)
    _, done = tuned(model, SETTINGS.model_copy(update={"mean_log_probability": mean}))
    metrics = done.metrics()
    for split in SPLITS:
        assert metrics[f"initial_{split}_loss"] == pytest.approx(math.log(2), abs=1e-7)
        assert metrics[f"{split}_loss"] < 0.69
        assert metrics[f"{split}_chosen_reward"] > 0 > metrics[f"{split}_rejected_reward"]
        assert metrics[f"{split}_accuracy"] == 100
        assert metrics[f"{split}_likelier"] > metrics[f"initial_{split}_likelier"]


def test_the_metrics_are_those_of_the_kept_weights_and_of_the_model_before() -> None:
    model, done = tuned()
    metrics = done.metrics()
    for split in SPLITS:
        before, after = log_probs(tiny_model(), PAIRS[split]), log_probs(model, PAIRS[split])
        torch.testing.assert_close(done.reference[split], before, atol=1e-6, rtol=0)
        torch.testing.assert_close(done.final[split], after, atol=1e-6, rtol=0)
        rewards = 0.1 * (after - before)
        margins = rewards[:, 0] - rewards[:, 1]
        wanted = {
            "chosen_reward": rewards[:, 0].mean(),
            "rejected_reward": rewards[:, 1].mean(),
            "margin": margins.mean(),
            "loss": -torch.log(torch.sigmoid(margins)).mean(),
            "likelier": 100 * (after[:, 0] > after[:, 1]).double().mean(),
        }
        for name, value in wanted.items():
            assert metrics[f"{split}_{name}"] == pytest.approx(float(value), abs=1e-5), (split, name)
        initially = 100 * (before[:, 0] > before[:, 1]).double().mean()
        assert metrics[f"initial_{split}_likelier"] == pytest.approx(float(initially))
    assert metrics["steps"] == 10
    assert metrics["tokens_seen"] == 10 * 4 * 2 * 11  # steps, pairs, answers, tokens; the last token is no input
    assert metrics["loss_gap"] == metrics["validation_loss"] - metrics["train_loss"]
    assert str(done).startswith(f"test pairs: margin {metrics['test_margin']:.3f}, accuracy 100.0 %; ")


def test_the_reference_is_asked_once_about_every_pair(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    original = module.find_log_probs

    def counting(model: GPT, batches: Any, params: Any) -> list[list[float]]:
        asked.append(len(batches.dataset))
        return original(model, batches, params)

    monkeypatch.setattr(module, "find_log_probs", counting)
    tuned(settings=SETTINGS.model_copy(update={"epochs": 3}))
    assert asked == [22, 9, 10] * 2  # before the training, and after it


def test_the_curve_has_what_outcomes_finds_on_the_batches_of_the_loss() -> None:
    seen: list[dict[str, Any]] = []

    def report(state: TrainingState) -> None:
        seen[:] = state.curve_rows()

    _, done = tuned(report=report)
    names = ("chosen_reward", "rejected_reward", "margin", "accuracy")
    first, last = seen[0], seen[-1]
    assert list(first)[5:] == [
        *("train_loss", "validation_loss"),
        *(f"{split}_{name}" for split in ("train", "validation") for name in names),
    ]
    assert first["step"] == 0
    assert first["train_loss"] < math.log(2)  # after one step
    assert last["validation_margin"] > first["validation_margin"] > 0
    for row in seen:
        for split in ("train", "validation"):
            chosen, rejected = row[f"{split}_chosen_reward"], row[f"{split}_rejected_reward"]
            assert row[f"{split}_margin"] == pytest.approx(chosen - rejected, abs=1e-6)
    assert [row["step"] for row in seen] == [row.step for row in done.state.curve] == [0, 3, 6, 9]


@pytest.mark.parametrize("keep", ["last", "best"])
@pytest.mark.parametrize("stop_after", [1, 3, 5, 7])
def test_an_interrupted_tuning_ends_with_the_same_bits_and_asks_the_reference_no_second_time(
    folder: Path, monkeypatch: pytest.MonkeyPatch, stop_after: int, keep: str
) -> None:
    monkeypatch.setattr(interruption.request, "made", False)
    settings = SETTINGS.model_copy(update={"keep": keep})
    whole, expected = tuned(settings=settings)
    monkeypatch.setattr(module, "open_snapshots", lambda stage, device: Snapshots(folder / "again"))
    asked: list[int] = []
    original = module.find_log_probs
    monkeypatch.setattr(module, "find_log_probs", lambda *given: asked.append(1) or original(*given))
    calls = iter(range(1, 100))
    monkeypatch.setattr("scratchlm.stage.snapshots.requested", lambda: next(calls) == stop_after)
    with pytest.raises(Interrupted):
        tuned(settings=settings)
    assert len(asked) == 3
    again, done = tuned(settings=settings)
    assert len(asked) == 6  # what the tuned model finds
    assert done.metrics() == expected.metrics()
    assert done.state.notes() == expected.state.notes()
    for name, weight in whole.state_dict().items():
        assert torch.equal(weight, again.state_dict()[name]), name


def test_a_tuning_of_upper_blocks_has_the_figures_of_the_whole_model(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = []
    for plain in (False, True):
        monkeypatch.setattr(module, "open_snapshots", lambda stage, device, to=plain: Snapshots(folder / f"{to}"))
        if plain:
            monkeypatch.setattr(module, "with_stored_features", lambda model, texts, snapshots: model)
        model = tiny_model()
        choose_trained_layers(model, SETTINGS.model_copy(update={"train_layers": "last_block"}))
        found.append(tuned(model)[1])
        assert (folder / f"{plain}/features.scratch").exists() != plain
    (upper, whole) = found
    assert upper.metrics() == pytest.approx(whole.metrics(), abs=1e-6)
    assert upper.metrics()["test_accuracy"] == 100


def test_pairs_of_like_lengths_are_put_together_if_asked() -> None:
    """By the longer of two answers: the other one is padded to it."""
    long = [pair._replace(rejected=Example([*pair.rejected.ids, *[1] * 9], 6)) for pair in encoded(22, 4)]
    pairs = {**PAIRS, "train": [pair for two in zip(PAIRS["train"], long, strict=True) for pair in two]}
    settings = SETTINGS.model_copy(update={"group_by_length": True})
    done = tune(tiny_model(), pairs, END, settings, 1)
    assert done.state.steps == 22  # 44 pairs, twice
    assert done.state.tokens_seen == 2 * (20 * 2 * (11 + 20) + 4 * 2 * 20)  # one batch has both kinds


def test_the_seed_alone_decides_the_order_of_the_batches(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not what was drawn before: a resumed run does not ask the reference again, and so draws less."""
    ends = []
    for drawn in (5, 6):
        monkeypatch.setattr(module, "open_snapshots", lambda stage, device, name=drawn: Snapshots(folder / f"{name}"))
        model = tiny_model()
        torch.manual_seed(drawn)
        ends.append(tuned(model)[0].wte.weight)
    assert torch.equal(*ends)


def test_what_lora_learned_is_in_the_merged_weights() -> None:
    model = tiny_model()
    add_lora(model, [model.h, untied_head(model)], 4, 4.0)
    tuned(model)
    plain = tiny_model()
    untied_head(plain)
    plain.lm_head.weight = torch.nn.Parameter(plain.wte.weight.clone())
    plain.load_state_dict(merged_state(model))
    torch.testing.assert_close(log_probs(plain, PAIRS["test"]), log_probs(model, PAIRS["test"]), atol=1e-5, rtol=0)


def test_splits_are_read_with_both_answers_after_the_prompt(folder: Path, tokenizer_folder: Path) -> None:
    tokenizer = read_tokenizer(tokenizer_folder)
    pair = Pair(instruction="the cat", input="", output="It sat.", chosen="the mat", rejected="the sea and the hill")
    for split in SPLITS:
        write_json(folder / f"{split}.json", [pair])
    found = encode_splits(folder, "phi3", tokenizer, 32)
    prompt = tokenizer.encode_ordinary("<|user|>\nthe cat\n<|assistant|>:\n")
    (first,) = found.splits["test"]
    assert first.chosen == Example([*prompt, *tokenizer.encode_ordinary("the mat")], len(prompt))
    assert first.rejected.ids[len(prompt) :] == tokenizer.encode_ordinary("the sea and the hill")
    assert found.texts["train"] == [
        f"<|user|>\nthe cat\n<|assistant|>:\n{pair[name]}" for name in ("chosen", "rejected")
    ]
    assert len(first.chosen.ids) < 32 < len(first.rejected.ids)
    assert found.truncated == dict.fromkeys(SPLITS, 1)
    with pytest.raises(InputError, match=r"longer than tune_preferences\.max_length \(9 tokens"):
        encode_splits(folder, "phi3", tokenizer, 9)


def test_the_picture_of_the_curve_has_the_same_bytes_again(folder: Path) -> None:
    curve = tuned()[1].state.curve
    for name in ("one", "two"):
        draw_rewards(folder / f"{name}.png", curve, "Preference tuning", "last")
    assert (folder / "one.png").read_bytes() == (folder / "two.png").read_bytes()
    draw_rewards(folder / "other.png", curve[:-1], "Preference tuning", "last")
    assert (folder / "other.png").read_bytes() != (folder / "one.png").read_bytes()
