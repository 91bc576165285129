"""Fine-tune a base into a spam classifier, and train a TF-IDF baseline for comparison."""

from pathlib import Path

import torch

from scratchlm.checkpoint.folder import load
from scratchlm.classifier.baseline import tfidf_accuracies
from scratchlm.classifier.classifier import Classifier, choose_trained_layers, save_classifier
from scratchlm.classifier.finetune import encode_splits, finetune, read_splits
from scratchlm.params.schema import Params
from scratchlm.stage.device import choose_device
from scratchlm.stage.metrics import write_metrics
from scratchlm.stage.tables import write_table
from scratchlm.tokenizer.measures import measure_texts
from scratchlm.training.curve import draw_curve
from scratchlm.training.state import TrainingState

SMS = Path("data/sms")
TOKENIZER = Path("data/tokenizer")
BASES = Path("models/bases")
MODEL = Path("models/classifier")
LOSSES = Path("data/plots/classifier_loss.csv")
LOSS_FIGURE = Path("data/plots/classifier_loss.png")
ACCURACIES = Path("data/plots/classifier_accuracy.csv")
CONFUSION = Path("data/plots/classifier_confusion.csv")
METRICS = Path("metrics/finetune_classifier.json")


def main(params: Params) -> None:
    settings = params.finetune_classifier
    device = choose_device()
    gpt, tokenizer = load(BASES / settings.base, settings.drop_rate)
    frames = read_splits(SMS)
    messages, max_length = encode_splits(frames, tokenizer, settings.max_length, gpt.config.context_length)
    torch.manual_seed(params.seed)
    classifier = Classifier(gpt)
    choose_trained_layers(classifier, settings.train_layers)

    def report(state: TrainingState) -> None:
        write_table(LOSSES, state.curve_rows())
        if state.epoch_notes:
            write_table(ACCURACIES, state.epoch_notes)

    done = finetune(classifier.to(device), messages, settings, params.seed, report)
    baseline = tfidf_accuracies(frames["train"], frames["validation"], frames["test"])
    save_classifier(MODEL, classifier, TOKENIZER, max_length)
    draw_curve(LOSS_FIGURE, done.state.curve, "Classifier loss", "message", settings.keep)
    write_table(CONFUSION, done.confusion())
    baselines = {f"baseline_{split}_accuracy": accuracy for split, accuracy in baseline.items()}
    measured = measure_texts(tokenizer, {split: frame["Text"].tolist() for split, frame in frames.items()})
    write_metrics(METRICS, {**done.metrics(), **done.training(), **baselines, "max_length": max_length, **measured})
    done.snapshots.finish()
    print(f"test accuracy {done.final['test']['accuracy']:.2f} %, TF-IDF baseline {baseline['test']:.2f} %")
