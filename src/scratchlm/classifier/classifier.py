"""A GPT that classifies (chapter 6): a new head on the last position, and the choice of trained layers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import Dataset

from scratchlm.checkpoint.config_json import read_description
from scratchlm.checkpoint.folder import load, save_checkpoint
from scratchlm.checkpoint.weights import load_tensors, save_tensors
from scratchlm.classifier.messages import LABELS
from scratchlm.errors import OutputError
from scratchlm.files.atomic import atomic_path, write_json
from scratchlm.model.gpt import GPT
from scratchlm.model.linear import Linear
from scratchlm.params.choices import TrainLayers
from scratchlm.tokenizer.protocol import Tokenizer
from scratchlm.training.loop import Loader, evaluation_mode
from scratchlm.training.loss import Batch, count_targets

HEAD, DESCRIPTION = "classifier_head.safetensors", "classifier.json"


class Classifier(nn.Module):
    """A GPT with a head that turns the last position, which has seen the whole text, into logits of the labels."""

    def __init__(self, gpt: GPT) -> None:
        super().__init__()
        self.gpt = gpt
        self.head = Linear(gpt.config.emb_dim, len(LABELS))

    def forward(self, ids_BT: Tensor) -> Tensor:
        """Return the logits of the labels, [B, n_labels]."""
        return self.head(self.gpt.features(ids_BT)[:, -1])  # type: ignore[no-any-return]


class Messages(Dataset[tuple[Tensor, Tensor]]):
    """Padded messages and their labels: item i is ids [T] int64 and a label, int64."""

    def __init__(self, ids: Tensor, labels: Sequence[int]) -> None:
        self.ids, self.labels = ids, torch.tensor(labels)

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        return self.ids[index], self.labels[index]


def choose_trained_layers(classifier: Classifier, train_layers: TrainLayers) -> None:
    """Freeze all but the head and what `train_layers` names: nothing more, the last blocks and final norm, or all."""
    classifier.requires_grad_(train_layers == "all")
    classifier.head.requires_grad_(True)
    n_blocks = {"last_block": 1, "last_two_blocks": 2}.get(train_layers, 0)
    if n_blocks:
        classifier.gpt.ln_f.requires_grad_(True)
        for block in classifier.gpt.h[-n_blocks:]:
            block.requires_grad_(True)


def encode_messages(texts: Sequence[str], tokenizer: Tokenizer, max_length: int) -> Tensor:
    """Tokenize texts, cut or padded with `<|endoftext|>` to `max_length`, [n, max_length] int64."""
    padded = torch.full((len(texts), max_length), tokenizer.eot_token)
    for row, ids in enumerate(tokenizer.encode_ordinary_batch(list(texts))):
        kept = ids[:max_length]
        padded[row, : len(kept)] = torch.tensor(kept, dtype=torch.int64)
    return padded


def label_loss(classifier: nn.Module, batch: Batch) -> tuple[Tensor, Tensor]:
    """Return the summed cross entropy of a batch of ids [B, T] and labels [B], and the number of labels."""
    ids_BT, labels_B = batch
    return F.cross_entropy(classifier(ids_BT), labels_B, reduction="sum"), count_targets(batch)


@dataclass(frozen=True)
class LabelMeasures:
    """How well a classifier labels a split: accuracy in percent, mean loss in nats, and each prediction."""

    accuracy: float
    loss: float
    predictions: list[int]


def measure_labels(classifier: Classifier, messages: Messages, batch_size: int) -> LabelMeasures:
    """Measure a classifier on all of `messages`, `batch_size` at a time."""
    logits = label_logits(classifier, messages.ids, batch_size)
    predictions = logits.argmax(dim=-1)
    return LabelMeasures(
        accuracy=100 * float((predictions == messages.labels).double().mean()),
        loss=float(F.cross_entropy(logits, messages.labels)),
        predictions=predictions.tolist(),
    )


@torch.no_grad()
def batch_accuracy(classifier: Classifier, batches: Loader, n_batches: int) -> float:
    """Return the accuracy in percent over the first `n_batches` batches, as chapter 6.7 tracks it during training.

    Draws from torch's global generator for each pass over `batches`, as the book does.
    """
    device = classifier.head.weight.device
    with evaluation_mode(classifier):
        hits = [classifier(ids.to(device)).argmax(dim=-1).cpu() == labels for ids, labels in islice(batches, n_batches)]
    return 100 * float(torch.cat(hits).double().mean())


@torch.no_grad()
def label_logits(classifier: Classifier, ids: Tensor, batch_size: int) -> Tensor:
    """Return the logits of the labels of every row of `ids`, [n, n_labels] float32 on the CPU."""
    device = classifier.head.weight.device
    with evaluation_mode(classifier):
        return torch.cat([classifier(batch.to(device)).float().cpu() for batch in torch.split(ids, batch_size)])


def save_classifier(folder: Path, classifier: Classifier, tokenizer_folder: Path, max_length: int) -> None:
    """Write a checkpoint with two more files: the head, and the label names with the padded length."""
    with atomic_path(folder) as temporary:
        save_checkpoint(temporary, classifier.gpt, tokenizer_folder)
        save_tensors(temporary / HEAD, dict(classifier.head.state_dict()))
        write_json(temporary / DESCRIPTION, {"labels": list(LABELS), "max_length": max_length})


def load_classifier(folder: Path) -> tuple[Classifier, Tokenizer, int]:
    """Load a classifier folder; return the model, its tokenizer and the length it pads texts to.

    Raises OutputError if the folder holds no classifier.
    """
    max_length = read_description(folder / DESCRIPTION, "classifier").get("max_length")
    gpt, tokenizer = load(folder)
    if type(max_length) is not int or not 0 < max_length <= gpt.config.context_length:
        raise OutputError(
            f"{folder / DESCRIPTION}: max_length is {max_length!r}, wanted a number from 1 to "
            f"{gpt.config.context_length}"
        )
    classifier = Classifier(gpt)
    classifier.head.load_state_dict(load_tensors(folder / HEAD, classifier.head))
    return classifier.eval(), tokenizer, max_length
