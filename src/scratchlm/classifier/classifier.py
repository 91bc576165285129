"""A language model that classifies (chapter 6): a new head on one position, the choices of weights and layers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import Dataset

from scratchlm.classifier.reading import BOOK, Reading
from scratchlm.model.cut import train_upper_blocks
from scratchlm.model.init import new_model
from scratchlm.model.language_model import LanguageModel
from scratchlm.model.linear import Linear
from scratchlm.model.lora import add_lora
from scratchlm.params.choices import Weights
from scratchlm.params.schema import ClassifierParams
from scratchlm.tokenizer.protocol import Tokenizer
from scratchlm.training.loaders import Loader
from scratchlm.training.loss import Batch, on_device
from scratchlm.training.measuring import evaluation_mode
from scratchlm.training.shares import compute_rows


class Classifier(nn.Module):
    """A language model with a head that turns one position into logits of the labels.

    In the book it is the last position, which has seen the whole text; `reading` has the other choices.
    """

    def __init__(self, gpt: LanguageModel, n_labels: int = 2, reading: Reading = BOOK) -> None:
        super().__init__()
        self.gpt = gpt
        self.reading = reading
        self.head = Linear(gpt.config.emb_dim, n_labels)

    def forward(self, ids_BT: Tensor) -> Tensor:
        """Return the logits of the labels, [B, n_labels]."""
        ids_BT = self.reading.trim(ids_BT)
        features_BTD = self.gpt.features(ids_BT, mask=self.reading.mask(ids_BT))
        return self.head(self.reading.choose(features_BTD, ids_BT))  # type: ignore[no-any-return]


class Messages(Dataset[tuple[Tensor, Tensor]]):
    """Padded messages and their labels: item i is ids [T] int64 and a label, int64."""

    def __init__(self, ids: Tensor, labels: Sequence[int]) -> None:
        self.ids, self.labels = ids, torch.tensor(labels)

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        return self.ids[index], self.labels[index]


def new_classifier(base: LanguageModel, n_labels: int, reading: Reading, weights: Weights, seed: int) -> Classifier:
    """Return a classifier with a new head on `base`, or on one of its shape with random weights, as torch draws them.

    Both are drawn with `seed` as the book and the published variants draw them.
    """
    torch.manual_seed(seed)
    gpt = base if weights == "base" else new_model(base.config, "book").eval()
    torch.manual_seed(seed)
    return Classifier(gpt, n_labels, reading)


def choose_trained_layers(classifier: Classifier, params: ClassifierParams) -> None:
    """Freeze all but the head and what `train_layers` names: nothing more, the last blocks and final norm, or all.

    With LoRA even the head is frozen, and matrices are added to it and to every linear layer of the blocks.
    Raises InputError as `add_lora` does.
    """
    if params.train_layers == "lora":
        add_lora(classifier, [classifier.gpt.h, classifier.head], params.lora_rank, params.lora_scale)
        return
    if n_blocks := params.n_upper_blocks(len(classifier.gpt.h)):
        train_upper_blocks(classifier.gpt, n_blocks)
    else:
        classifier.requires_grad_(params.train_layers == "all")
    classifier.head.requires_grad_(True)
    if not classifier.gpt.config.tie_embeddings:
        classifier.gpt.lm_head.requires_grad_(False)  # no label depends on it


def encode_messages(texts: Sequence[str], tokenizer: Tokenizer, max_length: int) -> Tensor:
    """Tokenize texts, cut or padded with `<|endoftext|>` to `max_length`, [n, max_length] int64."""
    return pad_messages(tokenizer.encode_ordinary_batch(list(texts)), tokenizer.eot_token, max_length)


def pad_messages(messages: Sequence[Sequence[int]], pad_id: int, max_length: int) -> Tensor:
    """Cut or pad the ids of messages to `max_length`, [n, max_length] int64."""
    padded = torch.full((len(messages), max_length), pad_id)
    for row, ids in enumerate(messages):
        kept = ids[:max_length]
        padded[row, : len(kept)] = torch.tensor(kept, dtype=torch.int64)
    return padded


def label_loss(classifier: nn.Module, batch: Batch) -> Tensor:
    """Return the summed cross entropy of a batch of ids [B, T] and labels [B], a scalar tensor."""
    ids_BT, labels_B = on_device(batch, classifier)
    return F.cross_entropy(classifier(ids_BT), labels_B, reduction="sum")


@dataclass(frozen=True)
class LabelMeasures:
    """How well a classifier labels a split: accuracy in percent, mean loss in nats, and each prediction."""

    accuracy: float
    loss: float
    predictions: list[int]


def measure_labels(classifier: nn.Module, messages: Messages, batch_size: int) -> LabelMeasures:
    """Measure a classifier on all of `messages`, `batch_size` at a time."""
    return measure_logits(label_logits(classifier, messages.ids, batch_size), messages.labels)


def measure_logits(logits: Tensor, labels: Tensor) -> LabelMeasures:
    """Measure logits [n, n_labels] by the labels [n]."""
    predictions = logits.argmax(dim=-1)
    return LabelMeasures(
        accuracy=100 * float((predictions == labels).double().mean()),
        loss=float(F.cross_entropy(logits, labels)),
        predictions=predictions.tolist(),
    )


@torch.no_grad()
def batch_accuracy(classifier: nn.Module, batches: Loader, n_batches: int) -> float:
    """Return the accuracy in percent over the first `n_batches` batches, as chapter 6.7 tracks it during training.

    Draws from torch's global generator for each pass over `batches`, as the book does.
    """
    with evaluation_mode(classifier):
        hits = [logits_of(classifier, ids).argmax(dim=-1) == labels for ids, labels in islice(batches, n_batches)]
    return 100 * float(torch.cat(hits).double().mean())


@torch.no_grad()
def label_logits(classifier: nn.Module, ids: Tensor, batch_size: int) -> Tensor:
    """Return the logits of the labels of every row of `ids`, [n, n_labels] float32 on the CPU."""
    with evaluation_mode(classifier):
        return torch.cat([logits_of(classifier, batch).float() for batch in torch.split(ids, batch_size)])


def logits_of(classifier: nn.Module, ids_BT: Tensor) -> Tensor:
    """Return the logits of the labels of a batch on the CPU, [B, n_labels]; several processes share its rows."""
    device = next(classifier.parameters()).device
    return compute_rows(lambda part: classifier(part[0].to(device)), (ids_BT,))
