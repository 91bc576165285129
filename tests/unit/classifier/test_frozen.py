"""A classifier on stored features of its frozen blocks: the figures of the whole classifier, computed once per text."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any, get_args

import pytest
import torch
from tiny_models import ARCHITECTURES, config_of
from torch import nn
from training_settings import classifier_settings

from scratchlm.classifier import finetune as module
from scratchlm.classifier.classifier import Classifier, Messages, choose_trained_layers
from scratchlm.classifier.finetune import Finetuning, finetune
from scratchlm.classifier.frozen import UpperClassifier, classifier_with_stored_features
from scratchlm.classifier.reading import Reading
from scratchlm.model.config import Architecture
from scratchlm.model.cut import n_frozen_blocks
from scratchlm.model.gpt import Block
from scratchlm.model.init import new_model
from scratchlm.params.choices import Padding, Token
from scratchlm.params.schema import ClassifierParams
from scratchlm.stage.snapshots import Snapshots

PAD, CONTEXT, WIDTH = 39, 12, 9
SIZES = {"train": 22, "validation": 9, "test": 10}
TRAINED = ("last_layer", "last_block", "last_two_blocks")


def messages_of(padding: Padding) -> dict[str, Messages]:
    """Return messages of 0 to 9 tokens, some of them equal."""
    generator = torch.Generator().manual_seed(0)
    messages = {}
    for split, n in SIZES.items():
        ids = torch.full((n, WIDTH if padding == "longest" else CONTEXT), PAD)
        for row, length in enumerate(torch.randint(0, WIDTH + 1, (n,), generator=generator).tolist()):
            ids[row, :length] = torch.randint(PAD, (length,), generator=generator)
        ids[-1] = ids[0]
        messages[split] = Messages(ids, [number % 3 for number in range(n)])
    return messages


def classifier_of(settings: ClassifierParams, n_layers: int = 3, architecture: Architecture = "gpt2") -> Classifier:
    torch.manual_seed(0)
    gpt = new_model(config_of(architecture, 40, CONTEXT, 16, 2, n_layers, settings.drop_rate), "gpt2", init_std=0.2)
    reading = Reading(settings.token, settings.padding, settings.causal_mask, PAD)
    classifier = Classifier(gpt.eval(), 3, reading)
    choose_trained_layers(classifier, settings)
    return classifier


def settings_of(**changes: Any) -> ClassifierParams:
    return classifier_settings(**{"epochs": 2, "eval_every": 3, "learning_rate": 0.001, **changes})


def run(
    classifier: Classifier, settings: ClassifierParams, folder: Path, monkeypatch: pytest.MonkeyPatch, plain: bool
) -> Finetuning:
    monkeypatch.setattr(module, "open_snapshots", lambda stage, device: Snapshots(folder))
    if plain:
        monkeypatch.setattr(module, "classifier_with_stored_features", lambda classifier, splits, snapshots: classifier)
    return finetune(classifier, messages_of(settings.padding), settings, 1, lambda: None)


@pytest.mark.parametrize(
    ("architecture", "train_layers", "token", "padding", "causal_mask"),
    [
        choices
        for choices in product(ARCHITECTURES, TRAINED, get_args(Token), get_args(Padding), (True, False))
        # Without a mask, the context is like a longer `longest`. A Llama differs in how its last block attends alone.
        if (choices[3] != "context" or choices[4])
        and (choices[0] == "gpt2" or (choices[1], choices[3]) == ("last_block", "longest"))
    ],
)
def test_every_figure_is_that_of_the_whole_classifier(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    architecture: Architecture,
    train_layers: str,
    token: Token,
    padding: Padding,
    causal_mask: bool,
) -> None:
    settings = settings_of(train_layers=train_layers, token=token, padding=padding, causal_mask=causal_mask)
    fast, slow = (classifier_of(settings, architecture=architecture) for _ in range(2))
    done = run(fast, settings, tmp_path / "fast", monkeypatch, plain=False)
    expected = run(slow, settings, tmp_path / "slow", monkeypatch, plain=True)
    for name, value in expected.metrics().items():
        # The temperature is rounded to 4 decimals, and what is calibrated follows from it.
        tolerance = 1e-2 if name == "temperature" or "calibrat" in name else 1e-6
        assert done.metrics()[name] == pytest.approx(value, abs=tolerance), name
    assert done.training() == pytest.approx(expected.training(), abs=1e-6)
    assert done.state.curve_rows() == [pytest.approx(row, abs=1e-6) for row in expected.state.curve_rows()]
    assert done.state.epoch_notes == expected.state.epoch_notes
    assert done.initial["test"]["predictions"] == expected.initial["test"]["predictions"]
    assert done.metrics()["train_loss"] != done.metrics()["initial_train_loss"]
    for name, weight in fast.named_parameters():
        # Queries and keys may have no gradient but rounding, which AdamW makes as large as any other: those of a
        # first token, which sees itself alone, and the bias of a key always.
        if not any(part in name for part in ("c_attn", "q_proj", "k_proj")):
            torch.testing.assert_close(weight, slow.get_parameter(name), atol=1e-4, rtol=1e-4, msg=name)


@pytest.mark.parametrize("train_layers", TRAINED)
@pytest.mark.parametrize("token", ["last", "mean_real"])
def test_the_frozen_blocks_see_each_different_message_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, train_layers: str, token: Token
) -> None:
    settings = settings_of(train_layers=train_layers, token=token)
    classifier = classifier_of(settings)
    texts: list[int] = []
    forward = Block.forward

    def counted(self: Block, x_BTD: torch.Tensor, *others: Any) -> torch.Tensor:
        if self is classifier.gpt.h[0]:
            texts.append(len(x_BTD))
        return forward(self, x_BTD, *others)

    monkeypatch.setattr(Block, "forward", counted)
    run(classifier, settings, tmp_path, monkeypatch, plain=False)
    reading = classifier.reading
    rows = [
        tuple(row[:length].tolist())
        for part in messages_of("longest").values()
        for row, length in zip(part.ids, reading.n_needed(part.ids).tolist(), strict=True)
    ]
    assert sum(texts) == len(set(rows)) < len(rows)


@pytest.mark.parametrize(
    ("changes", "n_layers"),
    [
        ({"train_layers": "all"}, 3),
        ({"train_layers": "lora"}, 3),
        ({"train_layers": "last_block", "drop_rate": 0.1}, 3),
        ({"train_layers": "last_block"}, 1),
        ({"train_layers": "last_two_blocks"}, 2),
    ],
)
def test_where_nothing_is_frozen_or_dropout_changes_it_the_whole_classifier_is_trained(
    tmp_path: Path, changes: dict[str, Any], n_layers: int
) -> None:
    classifier = classifier_of(settings_of(**changes), n_layers)
    snapshots = Snapshots(tmp_path)
    assert classifier_with_stored_features(classifier, messages_of("longest").values(), snapshots) is classifier
    assert [path.name for path in tmp_path.iterdir()] == ["lock"]


def test_one_block_that_is_frozen_whole_is_enough(tmp_path: Path) -> None:
    classifier = classifier_of(settings_of(train_layers="last_layer"), n_layers=1)
    messages = messages_of("longest")["test"]
    upper = classifier_with_stored_features(classifier, [messages], Snapshots(tmp_path))
    assert isinstance(upper, UpperClassifier) and upper.features.rows_ND.shape == (len(messages.ids.unique(dim=0)), 16)
    torch.testing.assert_close(upper(messages.ids), classifier(messages.ids), atol=1e-6, rtol=1e-6)


def record_blocks(monkeypatch: pytest.MonkeyPatch) -> list[Block]:
    """Return a list to which each block is added whenever it computes, for all positions or for one of each text."""
    computed: list[Block] = []

    def recorded(compute: Callable[..., torch.Tensor]) -> Callable[..., torch.Tensor]:
        def wrapper(self: Block, *arguments: Any) -> torch.Tensor:
            computed.append(self)
            return compute(self, *arguments)

        return wrapper

    monkeypatch.setattr(Block, "forward", recorded(Block.forward))
    monkeypatch.setattr(Block, "at", recorded(Block.at))
    return computed


def frozen_blocks(classifier: Classifier) -> list[nn.Module]:
    blocks = list(classifier.gpt.h[: n_frozen_blocks(classifier.gpt)])
    assert blocks
    return blocks


@pytest.mark.parametrize("train_layers", TRAINED)
def test_a_run_that_is_cut_off_and_goes_on_ends_with_the_same_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, train_layers: str
) -> None:
    settings = settings_of(train_layers=train_layers, token="last_real")
    whole, continued = classifier_of(settings), classifier_of(settings)
    computed = record_blocks(monkeypatch)
    expected = run(whole, settings, tmp_path / "whole", monkeypatch, plain=False)
    assert set(frozen_blocks(whole)) <= set(computed)
    stored = (tmp_path / "whole" / "features.scratch").read_bytes()

    class Cut(Exception):
        pass

    def cut(state: Any) -> None:
        if len(state.curve) == 2:
            raise Cut

    monkeypatch.setattr(module, "open_snapshots", lambda stage, device: Snapshots(tmp_path / "cut", every_s=0))
    with pytest.raises(Cut):
        finetune(classifier_of(settings), messages_of("longest"), settings, 1, lambda: None, cut)
    assert (tmp_path / "cut" / "features.scratch").read_bytes() == stored
    done = finetune(continued, messages_of("longest"), settings, 1, lambda: None)
    assert not set(frozen_blocks(continued)) & set(computed)
    assert done.metrics() == expected.metrics() and done.state.curve_rows() == expected.state.curve_rows()
    assert all(torch.equal(*pair) for pair in zip(continued.parameters(), whole.parameters(), strict=True))
    done.snapshots.finish()
    assert not list((tmp_path / "cut").glob("features*"))
