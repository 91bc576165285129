"""How a classifier reads a text: every token, padding and mask against the formulas of the published variants."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, get_args

import pytest
import torch
from torch import Tensor
from training_settings import classifier_settings

from scratchlm.classifier.classifier import Classifier, Messages, label_logits, label_loss, new_classifier
from scratchlm.classifier.reading import Reading
from scratchlm.model.config import GPTConfig
from scratchlm.model.init import new_model
from scratchlm.params.choices import Padding, Token
from scratchlm.training.loaders import loaders
from scratchlm.training.loop import Training

PAD = 39
WIDTH = 12
LENGTHS = [3, 12, 1, 7, 5, 5, 10, 2]
EXACT = {"atol": 1e-6, "rtol": 1e-6}


def texts(lengths: list[int] = LENGTHS, width: int = WIDTH) -> Tensor:
    """Return random texts of these lengths, padded to one width, [B, T]."""
    generator = torch.Generator().manual_seed(5)
    ids_BT = torch.full((len(lengths), width), PAD)
    for row, length in enumerate(lengths):
        ids_BT[row, :length] = torch.randint(PAD, (length,), generator=generator)
    return ids_BT


def classifier_of(**choices: Any) -> Classifier:
    torch.manual_seed(0)
    gpt = new_model(GPTConfig(40, 16, 16, 2, 2), "gpt2", init_std=0.3)
    return Classifier(gpt, 3, Reading(**choices, pad_id=PAD)).eval()


def published(model: Classifier, ids_BT: Tensor, token: str) -> Tensor:
    """Return the logits as the published script computes them: the head on every position, then the choice."""
    mask_TT = None if model.reading.causal_mask else torch.ones(ids_BT.shape[1], ids_BT.shape[1], dtype=torch.bool)
    logits_BTN = model.head(model.gpt.features(ids_BT, mask=mask_TT))
    if token == "mean":
        return logits_BTN.mean(dim=1)
    if token == "last_real":  # "flexible"
        last_B = (ids_BT != PAD).sum(dim=1) - 1
        return logits_BTN[torch.arange(len(ids_BT)), last_B]
    return logits_BTN[:, {"last": -1, "first": 0}[token]]


@torch.no_grad()
@pytest.mark.parametrize("causal_mask", [True, False])
@pytest.mark.parametrize("padding", ["longest", "context"])
@pytest.mark.parametrize("token", ["last", "first", "last_real", "mean"])
def test_with_padding_the_logits_are_the_published_ones(token: str, padding: str, causal_mask: bool) -> None:
    model = classifier_of(token=token, padding=padding, causal_mask=causal_mask)
    ids_BT = texts(width=16 if padding == "context" else WIDTH)
    torch.testing.assert_close(model(ids_BT), published(model, ids_BT, token), **EXACT)


@torch.no_grad()
@pytest.mark.parametrize("causal_mask", [True, False])
@pytest.mark.parametrize("token", get_args(Token))
def test_without_padding_a_text_in_a_batch_is_read_as_alone(token: Token, causal_mask: bool) -> None:
    model = classifier_of(token=token, padding="none", causal_mask=causal_mask)
    ids_BT = texts(width=16)
    alone = {"last_real": "last", "mean_real": "mean"}.get(token, token)
    expected = [published(model, ids_BT[[row], :length], alone) for row, length in enumerate(LENGTHS)]
    torch.testing.assert_close(model(ids_BT), torch.cat(expected), **EXACT)
    for batch_size in (1, 3, 8):
        torch.testing.assert_close(label_logits(model, ids_BT, batch_size), torch.cat(expected), **EXACT)


@torch.no_grad()
@pytest.mark.parametrize(("token", "width"), [("first", 1), ("last_real", 12), ("mean_real", 12), ("last", 16)])
def test_padding_that_changes_no_label_is_not_computed(token: Token, width: int) -> None:
    model, ids_BT, widths = classifier_of(token=token, padding="context"), texts(width=16), []
    model.gpt.h[0].register_forward_pre_hook(lambda _, inputs: widths.append(inputs[0].shape[1]))
    model(ids_BT)
    model(Reading(token, "context", pad_id=PAD).collate([(ids_T, torch.tensor(0)) for ids_T in ids_BT])[0])
    assert widths == [width, width]


@torch.no_grad()
def test_the_mean_of_the_real_tokens_leaves_the_padding_out() -> None:
    model, ids_BT = classifier_of(token="mean_real"), texts()
    logits_BTN = model.head(model.gpt.features(ids_BT))
    expected = [logits_BTN[row, :length].mean(dim=0) for row, length in enumerate(LENGTHS)]
    torch.testing.assert_close(model(ids_BT), torch.stack(expected), **EXACT)


@torch.no_grad()
@pytest.mark.parametrize("padding", get_args(Padding))
@pytest.mark.parametrize("token", ["last_real", "mean_real"])
def test_an_empty_text_counts_as_one_token(token: Token, padding: Padding) -> None:
    model = classifier_of(token=token, padding=padding)
    ids_BT = texts([0, 4])
    expected = model.head(model.gpt.features(torch.tensor([[PAD]])))[:, 0]
    torch.testing.assert_close(model(ids_BT)[:1], expected, **EXACT)


def test_the_default_reads_as_the_book_whatever_pads() -> None:
    model, ids_BT = classifier_of(), texts()
    book = Classifier(model.gpt, 3)
    book.head = model.head
    assert torch.equal(book(ids_BT), model(ids_BT))
    assert torch.equal(book(ids_BT), model.head(model.gpt.features(ids_BT)[:, -1]))


@pytest.mark.parametrize("causal_mask", [True, False])
@pytest.mark.parametrize("token", ["last", "mean"])
def test_without_padding_eight_parts_of_one_give_the_gradients_of_one_part_of_eight(
    token: Token, causal_mask: bool
) -> None:
    messages = Messages(texts(width=16), [0, 1, 2, 0, 1, 2, 0, 1])
    found = []
    for accumulate in (1, 8, None):
        model = classifier_of(token=token, padding="none", causal_mask=causal_mask)
        if accumulate is None:  # each text alone, without any padding
            for row, length in enumerate(LENGTHS):
                (label_loss(model, (messages.ids[[row], :length], messages.labels[[row]])) / 8).backward()  # type: ignore[no-untyped-call]
        else:
            batches = loaders(messages, messages, 8, model.reading.collate)
            settings = classifier_settings(batch_size=8, accumulate=accumulate, weight_decay=0.0)
            Training(model, label_loss, batches, settings, "test", None).update(next(iter(batches.validation)))
        found.append({name: weight.grad for name, weight in model.named_parameters() if weight.grad is not None})
    for other in found[1:]:
        for name, gradient in found[0].items():
            torch.testing.assert_close(other[name], gradient, **EXACT, msg=name)


def test_a_batch_without_padding_is_as_wide_as_its_longest_text() -> None:
    messages = Messages(texts([3, 5, 0], width=16), [0, 1, 2])
    items = [messages[index] for index in range(3)]
    widths = {padding: Reading(padding=padding, pad_id=PAD).collate(items)[0].shape[1] for padding in get_args(Padding)}
    assert widths == {"longest": 16, "context": 16, "none": 5}
    assert Reading(padding="none", pad_id=PAD).collate(items[2:])[0].tolist() == [[PAD]]


def test_random_weights_are_those_of_the_bases_shape_and_the_head_is_the_same() -> None:
    torch.manual_seed(0)
    base = new_model(GPTConfig(40, 16, 16, 2, 2), "gpt2")
    before = {name: weight.clone() for name, weight in base.named_parameters()}
    reading = Reading("first", pad_id=PAD)
    ours, fresh = (new_classifier(base, 2, reading, weights, 123) for weights in ("base", "random"))  # type: ignore[arg-type]
    assert ours.gpt is base and all(torch.equal(before[name], weight) for name, weight in base.named_parameters())
    assert fresh.gpt.config == base.config and fresh.reading == replace(ours.reading)
    torch.manual_seed(123)
    expected = new_model(base.config, "book")
    assert all(torch.equal(*pair) for pair in zip(fresh.gpt.parameters(), expected.parameters(), strict=True))
    torch.manual_seed(123)
    head = torch.nn.Linear(16, 2)
    for model in (ours, fresh):
        assert torch.equal(model.head.weight, head.weight) and torch.equal(model.head.bias, head.bias)
