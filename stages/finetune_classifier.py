"""Fine-tune a base into a classifier of messages, and measure three baselines for comparison."""

from functools import partial
from pathlib import Path

from scratchlm.checkpoint.folder import load
from scratchlm.classifier.baseline import describe_accuracies, measure_baselines
from scratchlm.classifier.classifier import choose_trained_layers, new_classifier
from scratchlm.classifier.finetune import encode_splits, finetune, read_splits
from scratchlm.classifier.folder import Description, save_classifier
from scratchlm.classifier.labels import read_labels
from scratchlm.classifier.prompted import measure_prompted
from scratchlm.classifier.reading import Reading
from scratchlm.params.schema import Params
from scratchlm.stage.device import choose_device
from scratchlm.stage.metrics import write_metrics
from scratchlm.stage.tables import write_table
from scratchlm.tokenizer.measures import measure_texts
from scratchlm.training.curve import draw_curve
from scratchlm.training.state import TrainingState

SMS = Path("data/sms")
BASES = Path("models/bases")
MODEL = Path("models/classifier")
LOSSES = Path("data/plots/classifier_loss.csv")
LOSS_FIGURE = Path("data/plots/classifier_loss.png")
ACCURACIES = Path("data/plots/classifier_accuracy.csv")
CONFUSION = Path("data/plots/classifier_confusion.csv")
METRICS = Path("metrics/finetune_classifier.json")


def main(params: Params) -> None:
    settings = params.finetune_classifier
    device = choose_device(settings.precision)
    base, tokenizer = load(BASES / settings.base, settings.drop_rate)
    labels, frames = read_labels(SMS), read_splits(SMS)
    reading = Reading(settings.token, settings.padding, settings.causal_mask, tokenizer.eot_token)
    context = base.config.context_length
    messages, max_length = encode_splits(frames, tokenizer, settings.max_length, context, reading.padding)
    classifier = new_classifier(base, len(labels), reading, settings.weights, params.seed)
    choose_trained_layers(classifier, settings)

    def report(state: TrainingState) -> None:
        write_table(LOSSES, state.curve_rows())
        if state.epoch_notes:
            write_table(ACCURACIES, state.epoch_notes)

    prompt = partial(measure_prompted, base.to(device), tokenizer, frames["test"], labels, settings.batch_size)
    done = finetune(classifier.to(device), messages, settings, params.seed, prompt, report)
    description = Description(labels, max_length, done.calibration.temperature)
    save_classifier(MODEL, classifier, BASES / settings.base, description)
    draw_curve(LOSS_FIGURE, done.state.curve, "Classifier loss", "message", settings.keep)
    write_table(CONFUSION, done.confusion(labels))
    baselines = {"prompted_test_accuracy": done.prompted_accuracy, **measure_baselines(frames)}
    measured = measure_texts(tokenizer, {split: frame["Text"].tolist() for split, frame in frames.items()})
    metrics = {**done.metrics(), **done.training(), **baselines, "max_length": max_length, **measured}
    write_metrics(METRICS, metrics)
    done.snapshots.finish()
    print(describe_accuracies(metrics))
