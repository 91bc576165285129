"""Train a spam classifier on top of a pretrained GPT, and a TF-IDF baseline beside it."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from scratchlm.checkpoint.folder import load
from scratchlm.classifier.baseline import classification_scores, tfidf_accuracies
from scratchlm.classifier.classifier import (
    Classifier,
    Messages,
    batch_accuracy,
    choose_trained_layers,
    encode_messages,
    label_loss,
    measure_labels,
    save_classifier,
)
from scratchlm.classifier.messages import LABELS, read_split_csv
from scratchlm.params.schema import Params
from scratchlm.stage.device import choose_device
from scratchlm.stage.metrics import write_metrics
from scratchlm.stage.run import run
from scratchlm.stage.snapshots import Snapshots
from scratchlm.stage.tables import write_table
from scratchlm.tokenizer.measures import longest_tokens, unknown_percent
from scratchlm.training.loop import loaders, train

SMS = Path("data/sms")
TOKENIZER = Path("data/tokenizer")
BASES = Path("models/bases")
MODEL = Path("models/classifier")
LOSSES = Path("data/plots/classifier_loss.csv")
ACCURACIES = Path("data/plots/classifier_accuracy.csv")
CONFUSION = Path("data/plots/classifier_confusion.csv")
METRICS = Path("metrics/finetune_classifier.json")

SPLITS = ("train", "validation", "test")


def main(params: Params) -> None:
    settings = params.finetune_classifier
    device = choose_device()
    gpt, tokenizer = load(BASES / settings.base)
    frames = {split: read_split_csv(SMS / f"{split}.csv") for split in SPLITS}
    texts = {split: frame["Text"].tolist() for split, frame in frames.items()}
    longest = settings.max_length or longest_tokens(tokenizer, texts["train"])
    max_length = min(longest, gpt.config.context_length)
    messages = {
        split: Messages(encode_messages(texts[split], tokenizer, max_length), frame["Label"].tolist())
        for split, frame in frames.items()
    }
    torch.manual_seed(params.seed)
    classifier = Classifier(gpt)
    choose_trained_layers(classifier, settings.train_layers)
    classifier.to(device)

    def measure() -> dict[str, Any]:
        return {split: asdict(measure_labels(classifier, messages[split], settings.batch_size)) for split in SPLITS}

    snapshots = Snapshots.of_stage("finetune_classifier", device)
    initial = snapshots.once("initial", measure)
    batches = loaders(messages["train"], messages["validation"], settings.batch_size)

    def measure_epoch(epoch: int) -> dict[str, float]:
        train_accuracy, validation_accuracy = (
            batch_accuracy(classifier, split, settings.eval_batches) for split in batches
        )
        return {"epoch": epoch, "train_accuracy": train_accuracy, "validation_accuracy": validation_accuracy}

    torch.manual_seed(params.seed)
    loss = label_loss(classifier)
    done = train(classifier, loss, *batches, settings, device, "finetune_classifier", measure_epoch, snapshots)
    final = measure()
    test_labels = frames["test"]["Label"].tolist()
    scores = classification_scores(test_labels, final["test"]["predictions"])
    baseline = tfidf_accuracies(frames["train"], frames["validation"], frames["test"])
    save_classifier(MODEL, classifier, TOKENIZER, max_length)
    write_table(LOSSES, [asdict(evaluation) for evaluation in done.curve])
    write_table(ACCURACIES, done.epoch_notes)
    predictions = zip(test_labels, final["test"]["predictions"], strict=True)
    write_table(CONFUSION, [{"actual": LABELS[label], "predicted": LABELS[guess]} for label, guess in predictions])
    write_metrics(
        METRICS,
        {
            **{f"initial_{split}_accuracy": initial[split]["accuracy"] for split in SPLITS},
            **{f"{split}_accuracy": final[split]["accuracy"] for split in SPLITS},
            **{f"initial_{split}_loss": initial[split]["loss"] for split in SPLITS},
            **{f"{split}_loss": final[split]["loss"] for split in SPLITS},
            **{f"test_{name}": scores[name] for name in ("precision", "recall", "f1")},
            **{f"baseline_{split}_accuracy": accuracy for split, accuracy in baseline.items()},
            "max_length": max_length,
            "longest_tokens": max(longest_tokens(tokenizer, texts[split]) for split in SPLITS),
            "unknown_percent": unknown_percent(tokenizer, texts["train"]),
        },
    )
    snapshots.finish()
    print(f"test accuracy {final['test']['accuracy']:.2f} %, TF-IDF baseline {baseline['test']:.2f} %")


if __name__ == "__main__":
    run(main)
