"""The four trainings on tiny random models and data: a model, its loss, and batches whose rows differ in length."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import pytest
import torch
from tiny_models import ARCHITECTURES, config_of
from torch import Tensor, nn
from torch.utils.data import TensorDataset
from training_settings import training_settings

from scratchlm.assistant.batches import Example, collate, n_inputs
from scratchlm.assistant.dpo import preference_measure
from scratchlm.assistant.tuning import EncodedPair, collate_pairs
from scratchlm.classifier.classifier import Classifier, Messages, label_loss
from scratchlm.model.config import Architecture
from scratchlm.model.init import new_model
from scratchlm.params.choices import Precision
from scratchlm.params.schema import TrainingParams
from scratchlm.training.loaders import Loaders, loaders
from scratchlm.training.loop import Training
from scratchlm.training.loss import Loss, next_token_loss

BATCH_SIZE = 8
# Token counts of prompt and answer: in parts of one row, 1 to 20 targets of the answer count.
LENGTHS = [(22, 1), (2, 20), (5, 2), (1, 15), (20, 1), (3, 9), (12, 12), (2, 1)]


def settings_in_parts(accumulate: int, precision: Precision = "float32") -> TrainingParams:
    changes = {"batch_size": BATCH_SIZE, "learning_rate": 0.003, "gradient_clip": 1.0}
    return training_settings(**changes, accumulate=accumulate, precision=precision)


def instructions(
    drop_rate: float, architecture: Architecture = "gpt2", length: Callable[[Example], int] | None = None
) -> tuple[nn.Module, Loss, Loaders]:
    """The assistant's batches, with prompts masked: parts have very different numbers of targets."""
    generator = torch.Generator().manual_seed(1)
    examples = [
        Example(torch.randint(39, (prompt + answer,), generator=generator).tolist(), prompt)
        for prompt, answer in LENGTHS * 3
    ]
    pad = partial(collate, pad_id=39, max_length=24, mask_prompt=True)
    batches = loaders(examples, examples[:BATCH_SIZE], BATCH_SIZE, pad, length)
    return tiny_model(drop_rate, architecture), next_token_loss, batches


def like_lengths(drop_rate: float, architecture: Architecture = "gpt2") -> tuple[nn.Module, Loss, Loaders]:
    """The same examples, those of like lengths in one batch."""
    return instructions(drop_rate, architecture, partial(n_inputs, max_length=24))


def windows(drop_rate: float, architecture: Architecture = "gpt2") -> tuple[nn.Module, Loss, Loaders]:
    ids = torch.randint(40, (26, 17), generator=torch.Generator().manual_seed(1))
    data = TensorDataset(ids[:, :-1], ids[:, 1:])
    return tiny_model(drop_rate, architecture), next_token_loss, loaders(data, TensorDataset(*data[:6]), BATCH_SIZE)


def messages(drop_rate: float, architecture: Architecture = "gpt2") -> tuple[nn.Module, Loss, Loaders]:
    generator = torch.Generator().manual_seed(1)
    ids, labels = torch.randint(40, (26, 16), generator=generator), torch.randint(2, (26,), generator=generator)
    data = Messages(ids, labels.tolist())
    return Classifier(tiny_model(drop_rate, architecture)), label_loss, loaders(data, data, BATCH_SIZE)


def random_pair(
    generator: torch.Generator, prompt_length: int, lengths: tuple[int, int], reference: Sequence[float] = (0.0, 0.0)
) -> EncodedPair:
    """Return two answers to one prompt, the chosen one first, of ids below 39, which pads."""
    prompt, chosen, rejected = (
        torch.randint(39, (n,), generator=generator).tolist() for n in (prompt_length, *lengths)
    )
    return EncodedPair(Example(prompt + chosen, prompt_length), Example(prompt + rejected, prompt_length), reference)


def pairs(drop_rate: float, architecture: Architecture = "gpt2") -> tuple[nn.Module, Loss, Loaders]:
    """The batches of preference tuning: the loss is the mean over pairs, however long their answers are."""
    generator = torch.Generator().manual_seed(1)
    made = [
        random_pair(generator, prompt, (answer, 3), reference=(-2.0 * answer, -7.0)) for prompt, answer in LENGTHS * 3
    ]
    pad = partial(collate_pairs, pad_id=39, max_length=24, mask_prompt=True)
    measure = preference_measure(0.1, mean=False)
    loss = lambda model, batch: measure(model, batch)["loss"]  # noqa: E731
    return tiny_model(drop_rate, architecture), loss, loaders(made, made[:BATCH_SIZE], BATCH_SIZE, pad)


def tiny_model(drop_rate: float, architecture: Architecture = "gpt2") -> Any:
    torch.manual_seed(0)
    return new_model(config_of(architecture, 40, 24, 16, 2, 2, drop_rate), "gpt2", 0.1)


KINDS = pytest.mark.parametrize(
    "kind",
    [
        pytest.param(partial(made, architecture=architecture), id=f"{made.__name__}-{architecture}")
        for made in (windows, messages, instructions, like_lengths, pairs)
        for architecture in ARCHITECTURES
    ],
)


def one_update(kind: Any, accumulate: int, precision: Precision = "float32") -> tuple[float, list[Tensor]]:
    """Return the loss and the gradients of the first step."""
    model, loss, batches = kind(0.0)
    run = Training(model, loss, batches, settings_in_parts(accumulate, precision), "test", None)
    torch.manual_seed(123)
    run.update(next(iter(batches.train)))
    ((_, _, loss_and_norm),) = run.guard.unread
    return float(loss_and_norm[0]), [weight.grad for weight in run.weights if weight.grad is not None]
