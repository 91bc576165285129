"""A classifier's folder: a checkpoint with its head, the names of its labels, and how to read its logits."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, get_args

from scratchlm.checkpoint.config_json import read_description
from scratchlm.checkpoint.folder import load, save_checkpoint
from scratchlm.checkpoint.weights import load_tensors
from scratchlm.classifier.calibration import HIGHEST, LOWEST
from scratchlm.classifier.classifier import Classifier
from scratchlm.classifier.labels import checked_labels
from scratchlm.classifier.reading import Reading
from scratchlm.errors import OutputError
from scratchlm.files.atomic import atomic_path, write_json
from scratchlm.files.tensors import save_tensors
from scratchlm.model.lora import merged_state
from scratchlm.params.choices import Padding, Token
from scratchlm.tokenizer.protocol import Tokenizer

HEAD, DESCRIPTION = "classifier_head.safetensors", "classifier.json"
READINGS: dict[str, tuple[Any, ...]] = {
    "token": get_args(Token),
    "padding": get_args(Padding),
    "causal_mask": (True, False),
}


@dataclass(frozen=True)
class Description:
    """The names of the labels, the length to which texts are padded, and the temperature of the probabilities."""

    labels: list[str]
    max_length: int
    temperature: float


def save_classifier(folder: Path, classifier: Classifier, tokenizer_folder: Path, description: Description) -> None:
    """Write a checkpoint with two more files: the head and the description."""
    with atomic_path(folder) as temporary:
        save_checkpoint(temporary, classifier.gpt, tokenizer_folder)
        save_tensors(temporary / HEAD, merged_state(classifier.head))
        reading = {key: getattr(classifier.reading, key) for key in READINGS}
        write_json(temporary / DESCRIPTION, asdict(description) | reading)


def load_classifier(folder: Path) -> tuple[Classifier, Tokenizer, Description]:
    """Load a classifier folder; return the model, its tokenizer and its description.

    Raises OutputError if the folder holds no classifier.
    """
    path = folder / DESCRIPTION
    found = read_description(path, "classifier")
    gpt, tokenizer = load(folder)
    labels, max_length, temperature = (found.get(key) for key in ("labels", "max_length", "temperature"))
    longest = gpt.config.context_length
    if type(max_length) is not int or not 0 < max_length <= longest:
        raise OutputError(f"{path}: max_length is {max_length!r}, wanted a number from 1 to {longest}")
    if type(temperature) is not float or not LOWEST <= temperature <= HIGHEST:
        raise OutputError(
            f"{path}: temperature is {temperature!r}, wanted a number from {LOWEST:g} to {HIGHEST:g}, such as 1.0"
        )
    description = Description(checked_labels(labels, path), max_length, temperature)
    classifier = Classifier(gpt, len(description.labels), read_reading(found, path, tokenizer.eot_token))
    classifier.head.load_state_dict(load_tensors(folder / HEAD, classifier.head))
    return classifier.eval(), tokenizer, description


def read_reading(found: Mapping[str, Any], path: Path, pad_id: int) -> Reading:
    """Return the reading in a description that was read from `path`; raise OutputError for an unknown choice."""
    for key, wanted in READINGS.items():
        if found.get(key) not in [*wanted]:
            raise OutputError(f"{path}: {key} is {found.get(key)!r}, wanted {' or '.join(map(repr, wanted))}")
    return Reading(**{key: found[key] for key in READINGS}, pad_id=pad_id)
