"""The fine-tuning of the classifier (chapter 6): messages, training, and the measurements before and after it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from scratchlm.classifier.baseline import classification_scores
from scratchlm.classifier.calibration import Calibration, calibrate
from scratchlm.classifier.classifier import (
    Classifier,
    Messages,
    batch_accuracy,
    encode_messages,
    label_logits,
    label_loss,
    measure_labels,
    measure_logits,
)
from scratchlm.classifier.frozen import classifier_with_stored_features
from scratchlm.classifier.labels import read_labels
from scratchlm.classifier.messages import read_split_csv
from scratchlm.params.choices import Padding
from scratchlm.params.schema import ClassifierParams
from scratchlm.stage.device import autocast
from scratchlm.stage.processes import leave
from scratchlm.stage.snapshots import Snapshots, open_snapshots
from scratchlm.tokenizer.measures import longest_tokens
from scratchlm.tokenizer.protocol import Tokenizer
from scratchlm.training.best import training_metrics
from scratchlm.training.loaders import loaders
from scratchlm.training.loop import train
from scratchlm.training.machine import check_machine
from scratchlm.training.optimizer import n_trained_parameters
from scratchlm.training.state import TrainingState

SPLITS = ("train", "validation", "test")


def read_splits(folder: Path) -> dict[str, pd.DataFrame]:
    """Read the messages of all three splits, columns Label and Text."""
    n_labels = len(read_labels(folder))
    return {split: read_split_csv(folder / f"{split}.csv", n_labels) for split in SPLITS}


def encode_splits(
    frames: Mapping[str, pd.DataFrame],
    tokenizer: Tokenizer,
    max_length: int | None,
    context_length: int,
    padding: Padding = "longest",
) -> tuple[dict[str, Messages], int]:
    """Tokenize all splits, cut and fill them up to one length; return the messages and this length.

    The length is `max_length`, at most the model's context. Without it, the length is that of the longest training
    message with `padding` longest, and the context if not.
    """
    longest = max_length or context_length
    if max_length is None and padding == "longest":
        longest = longest_tokens(tokenizer, frames["train"]["Text"].tolist())
    length = min(longest, context_length)
    messages = {
        split: Messages(encode_messages(frame["Text"].tolist(), tokenizer, length), frame["Label"].tolist())
        for split, frame in frames.items()
    }
    return messages, length


@dataclass(frozen=True)
class Finetuning:
    """The results of the training: accuracy, loss and predictions of every split before and after it, and its curve."""

    prompted_accuracy: float | None  # what `measure_prompted` returned
    initial: dict[str, dict[str, Any]]
    final: dict[str, dict[str, Any]]
    test_labels: list[int]
    n_labels: int
    trained_parameters: int
    calibration: Calibration
    state: TrainingState
    snapshots: Snapshots  # to be finished once the results are written

    def training(self) -> dict[str, float]:
        """Return how much was trained for how long, and the best evaluation, under their names in the metrics."""
        length = training_metrics(self.state, self.final["train"]["loss"], self.final["validation"]["loss"])
        return {"trained_parameters": self.trained_parameters, **length}

    def metrics(self) -> dict[str, float]:
        """Return accuracies (%) and losses (nats) of all splits, the test set's scores (%), and the calibration."""
        scores = classification_scores(self.test_labels, self.final["test"]["predictions"], self.n_labels)
        measured = {
            f"{prefix}{split}_{measure}": measures[split][measure]
            for measure in ("accuracy", "loss")
            for prefix, measures in (("initial_", self.initial), ("", self.final))
            for split in SPLITS
        } | {f"test_{name}": score for name, score in scores.items()}
        return measured | self.calibration.metrics()

    def confusion(self, labels: Sequence[str]) -> list[dict[str, str]]:
        """Return a row per test message, its actual and its predicted label, as DVC's confusion plot wants them."""
        pairs = zip(self.test_labels, self.final["test"]["predictions"], strict=True)
        return [{"actual": labels[label], "predicted": labels[guess]} for label, guess in pairs]


def finetune(
    classifier: Classifier,
    messages: Mapping[str, Messages],
    params: ClassifierParams,
    seed: int,
    measure_prompted: Callable[[], float | None],
    report: Callable[[TrainingState], Any] = lambda state: None,
) -> Finetuning:
    """Train a classifier's unfrozen layers on the training messages, and measure all splits before and after.

    `measure_prompted` is called before the training changes the base's weights, and `report` as by `train`.
    Of several processes that share all this, the first returns the result and the others leave.
    Raises InputError and Interrupted as `train` does.
    """

    def measure() -> dict[str, dict[str, Any]]:
        with autocast(model, params.precision):
            return {split: asdict(measure_labels(model, messages[split], params.batch_size)) for split in SPLITS}

    def measure_epoch(epoch: int) -> dict[str, float]:
        with autocast(model, params.precision):
            accuracies = {
                f"{split}_accuracy": batch_accuracy(model, loader, params.eval_batches)
                for split, loader in batches._asdict().items()
            }
        return {"epoch": epoch, **accuracies}

    reading = classifier.reading
    check_machine("finetune_classifier", params.batch_size)
    snapshots = open_snapshots("finetune_classifier", classifier.head.weight.device)
    prompted_accuracy = snapshots.once("prompted", measure_prompted)
    with autocast(classifier, params.precision):
        model = classifier_with_stored_features(classifier, messages.values(), snapshots)
    initial = snapshots.once("initial", measure)
    batches = loaders(
        messages["train"],
        messages["validation"],
        params.batch_size,
        reading.collate,
        (lambda message: int(reading.n_needed(message[0][None]))) if params.group_by_length else None,
    )
    torch.manual_seed(seed)
    state = train(
        model,
        loss=label_loss,
        batches=batches,
        params=params,
        name="finetune_classifier",
        after_epoch=measure_epoch,
        report=report,
        snapshots=snapshots,
    )
    with autocast(model, params.precision):
        logits = {split: label_logits(model, messages[split].ids, params.batch_size) for split in SPLITS}
    leave()
    final = {split: asdict(measure_logits(logits[split], messages[split].labels)) for split in SPLITS}
    validation, test = ((logits[split], messages[split].labels) for split in ("validation", "test"))
    return Finetuning(
        prompted_accuracy=prompted_accuracy,
        initial=initial,
        final=final,
        test_labels=messages["test"].labels.tolist(),
        n_labels=classifier.head.out_features,
        trained_parameters=n_trained_parameters(classifier),
        calibration=calibrate(validation, test),
        state=state,
        snapshots=snapshots,
    )
