"""Upper blocks trained on stored features of the frozen ones below: the figures of the whole model, computed once."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from training_settings import classifier_settings, training_settings

from scratchlm.assistant.batches import Example, collate, input_ids, n_inputs
from scratchlm.assistant.trained_layers import choose_trained_layers
from scratchlm.model.config import GPTConfig, LlamaConfig, ModelConfig
from scratchlm.model.init import new_model
from scratchlm.model.language_model import LanguageModel
from scratchlm.params.schema import AssistantParams
from scratchlm.stage import interruption
from scratchlm.stage.interruption import Interrupted
from scratchlm.stage.snapshots import Snapshots
from scratchlm.training import fit as module
from scratchlm.training import loss
from scratchlm.training.fit import Fit, fit
from scratchlm.training.frozen import UpperModel, with_stored_features
from scratchlm.training.loaders import loaders

PAD, MAX_LENGTH = 39, 14
SETTINGS = training_settings(epochs=2, batch_size=4, accumulate=2, learning_rate=0.003, eval_every=3)
GPT = GPTConfig(40, 16, 16, 2, 3, 0.0)
CONFIGS: dict[str, ModelConfig] = {
    "gpt2": GPT,
    "gpt2 with a head of its own": GPTConfig(40, 16, 16, 2, 3, 0.0, tie_embeddings=False),
    "llama": LlamaConfig(40, 16, 16, 4, 3, 0.0, n_kv_heads=2, hidden_dim=24, rope_base=10_000.0),
}


def examples() -> list[Example]:
    """Return entries of 4 to 18 tokens that begin alike; some are cut, and two are equal."""
    generator = torch.Generator().manual_seed(1)
    made = [Example([5, 6, *torch.randint(PAD, (2 + n % 15,), generator=generator).tolist()], 3) for n in range(18)]
    return [*made, made[0]]


def fitted(
    folder: Path,
    config: ModelConfig,
    monkeypatch: pytest.MonkeyPatch,
    *,
    plain: bool = False,
    train: str = "upper_half",
) -> tuple[LanguageModel, Fit]:
    """Train the upper blocks of a random model on stored features, or, if `plain`, with all blocks at each step."""
    monkeypatch.setattr(loss, "FEWEST_SHARED", 99 if plain else 2)
    monkeypatch.setattr(module, "open_snapshots", lambda stage, device: Snapshots(folder, every_s=0))
    monkeypatch.setattr(module, "with_stored_features", (lambda model, *_: model) if plain else with_stored_features)
    torch.manual_seed(0)
    model = new_model(config, "gpt2", 0.2).eval()
    choose_trained_layers(model, AssistantParams.model_construct(train_layers=train))
    pad = partial(collate, pad_id=PAD, max_length=MAX_LENGTH, mask_prompt=True)
    batches = loaders(examples(), examples()[:5], 4, pad, partial(n_inputs, max_length=MAX_LENGTH))
    texts = [input_ids(example, MAX_LENGTH) for example in examples()]
    torch.manual_seed(1)
    return model, fit("test", model, batches, SETTINGS, 1, folder / "curve.csv", texts=texts)


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
def test_losses_and_weights_are_those_of_the_whole_model(
    config: ModelConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    upper, done = fitted(tmp_path / "upper", config, monkeypatch)
    whole, expected = fitted(tmp_path / "whole", config, monkeypatch, plain=True)
    assert (tmp_path / "upper/features.scratch").exists() and not (tmp_path / "whole/features.scratch").exists()
    assert [*done.initial, *done.final] == pytest.approx([*expected.initial, *expected.final], abs=1e-6)
    assert done.losses()["train_loss"] < done.losses()["initial_train_loss"] - 0.01
    assert done.training() == pytest.approx(expected.training(), abs=1e-6)
    assert done.state.curve_rows() == [pytest.approx(row, abs=1e-6) for row in expected.state.curve_rows()]
    for name, weight in upper.named_parameters():
        if "c_attn" not in name:  # the bias of a key has no gradient but rounding, which AdamW makes as large as any
            torch.testing.assert_close(weight, whole.get_parameter(name), atol=1e-4, rtol=1e-4, msg=name)


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
def test_embeddings_and_lower_blocks_stay_and_a_head_of_its_own_is_trained(
    config: ModelConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, _ = fitted(tmp_path, config, monkeypatch)
    torch.manual_seed(0)
    before = dict(new_model(config, "gpt2", 0.2).named_parameters())
    changed = {name for name, weight in model.named_parameters() if not torch.equal(weight, before[name])}
    assert changed == {name for name in before if name.startswith(("h.1.", "h.2.", "ln_f.", "lm_head."))}


@pytest.mark.parametrize("stop_after", [2, 6])
def test_an_interrupted_training_ends_with_the_same_bits_and_computes_no_features_again(
    stop_after: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, expected = fitted(tmp_path / "whole", GPT, monkeypatch)
    monkeypatch.setattr(interruption.request, "made", False)
    calls = iter(range(1, 100))
    monkeypatch.setattr("scratchlm.stage.snapshots.requested", lambda: next(calls) == stop_after)
    with pytest.raises(Interrupted):
        fitted(tmp_path / "again", GPT, monkeypatch)
    stored = (tmp_path / "again/features.scratch").read_bytes()
    assert stored == (tmp_path / "whole/features.scratch").read_bytes()
    monkeypatch.setattr("scratchlm.training.frozen.lower_part", None)
    again, done = fitted(tmp_path / "again", GPT, monkeypatch)
    assert done.state.notes() == expected.state.notes() and done.losses() == expected.losses()
    assert all(torch.equal(*pair) for pair in zip(again.parameters(), whole.parameters(), strict=True))


@pytest.mark.parametrize(("train", "drop_rate"), [("all", 0.0), ("lora", 0.0), ("upper_half", 0.1)])
def test_where_nothing_is_frozen_or_dropout_changes_it_the_whole_model_is_trained(
    train: str, drop_rate: float, tmp_path: Path
) -> None:
    model = new_model(GPTConfig(40, 16, 16, 2, 3, drop_rate), "gpt2")
    params: dict[str, Any] = {"lora_rank": 2, "lora_alpha": 1.0, "lora_scaling": "alpha"}
    choose_trained_layers(model, AssistantParams.model_construct(train_layers=train, **params))
    assert with_stored_features(model, [torch.tensor([1, 2])], Snapshots(tmp_path)) is model


@torch.no_grad()
def test_only_the_blocks_above_are_computed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    model = new_model(GPT, "gpt2", 0.2).eval()
    choose_trained_layers(model, AssistantParams.model_construct(train_layers="upper_third"))
    ids, chosen = torch.tensor([[1, 2, 3, PAD], [4, PAD, PAD, PAD]]), torch.tensor([1, 2, 4])
    expected = model(ids, chosen)
    upper = with_stored_features(model, [torch.tensor([1, 2, 3]), torch.tensor([4])], Snapshots(tmp_path))
    assert isinstance(upper, UpperModel) and upper.n_lower == 2 and upper.features.rows_ND.shape == (4, 16)
    for block in model.h[:2]:
        monkeypatch.setattr(block, "forward", None)
    torch.testing.assert_close(upper(ids, chosen), expected, atol=1e-6, rtol=1e-6)


@torch.no_grad()
def test_the_upper_blocks_compute_a_shared_start_once(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = new_model(GPT, "gpt2", 0.2).eval()
    choose_trained_layers(model, AssistantParams.model_construct(train_layers="last_block"))
    ids, chosen = torch.tensor([[1, 2, 3, 5], [1, 2, 4, PAD]]), torch.tensor([3, 6])
    expected, shapes = model(ids, chosen), []
    upper = with_stored_features(model, [ids[0], ids[1, :3]], Snapshots(tmp_path))
    model.h[2].register_forward_pre_hook(lambda _, inputs: shapes.append(inputs[0].shape[:2]))
    torch.testing.assert_close(upper(ids, chosen, 2), expected, atol=1e-6, rtol=1e-6)
    assert shapes == [(1, 2), (2, 2)]


@pytest.mark.parametrize(
    ("train", "n_layers", "wanted"),
    [
        *(("upper_third", 30, 10), ("upper_half", 30, 15), ("upper_third", 2, 1), ("upper_half", 5, 3)),
        *(("last_block", 12, 1), ("last_two_blocks", 12, 2), ("last_two_blocks", 1, 1)),
        *(("all", 12, 0), ("lora", 12, 0), ("last_layer", 12, 0)),
    ],
)
def test_a_part_of_the_blocks_is_rounded_up(train: str, n_layers: int, wanted: int) -> None:
    assert classifier_settings(train_layers=train).n_upper_blocks(n_layers) == wanted
