"""The classifier's messages, encoded to one length that the model can see; its training, and what is measured of it."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from training_settings import classifier_settings

from scratchlm.classifier import finetune as module
from scratchlm.classifier.calibration import fit_temperature
from scratchlm.classifier.classifier import Classifier, Messages, choose_trained_layers, label_logits, measure_labels
from scratchlm.classifier.finetune import SPLITS, encode_splits, finetune, read_splits
from scratchlm.classifier.reading import Reading
from scratchlm.errors import OutputError
from scratchlm.model.config import GPTConfig
from scratchlm.model.init import new_model
from scratchlm.params.choices import Padding
from scratchlm.stage.snapshots import Snapshots
from scratchlm.tokenizer.folder import read_tokenizer
from scratchlm.training.state import TrainingState

SETTINGS = classifier_settings(epochs=2, eval_every=3)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "labels.json").write_text('["ham", "spam"]')
    for split, texts in (
        ("train", ["the cat", "the cat sat on the mat"]),
        ("validation", ["a"]),
        ("test", ["the dog"]),
    ):
        rows = "".join(f'{number % 2},"{text}"\n' for number, text in enumerate(texts))
        (tmp_path / f"{split}.csv").write_text(f'"Label","Text"\n{rows}')
    return tmp_path


@pytest.mark.parametrize(
    ("max_length", "context", "wanted"), [(None, 100, "longest"), (None, 3, 3), (5, 100, 5), (50, 4, 4)]
)
def test_all_splits_get_one_length_that_the_model_can_see(
    folder: Path, tokenizer_folder: Path, max_length: int | None, context: int, wanted: int | str
) -> None:
    tokenizer = read_tokenizer(tokenizer_folder)
    messages, length = encode_splits(read_splits(folder), tokenizer, max_length, context)
    longest = len(tokenizer.encode_ordinary("the cat sat on the mat"))
    assert longest > 3
    assert length == (longest if wanted == "longest" else wanted)
    assert {part.ids.shape[1] for part in messages.values()} == {length}
    assert messages["train"].labels.tolist() == [0, 1]
    kept = min(length, longest)
    assert messages["train"].ids[1, :kept].tolist() == tokenizer.encode_ordinary("the cat sat on the mat")[:kept]


@pytest.mark.parametrize(
    ("padding", "max_length", "wanted"),
    [("context", None, 100), ("none", None, 100), ("none", 5, 5), ("none", 200, 100)],
)
def test_padding_to_the_context_and_none_keep_what_the_model_can_see(
    folder: Path, tokenizer_folder: Path, padding: Padding, max_length: int | None, wanted: int
) -> None:
    tokenizer = read_tokenizer(tokenizer_folder)
    messages, length = encode_splits(read_splits(folder), tokenizer, max_length, 100, padding)
    assert length == wanted == messages["test"].ids.shape[1]


def test_a_split_with_a_label_that_has_no_name_is_refused(folder: Path) -> None:
    (folder / "test.csv").write_text('"Label","Text"\n2,"the dog"\n')
    with pytest.raises(OutputError, match=r"test\.csv, row 1: got \['2', 'the dog'\], wanted a label from 0 to 1"):
        read_splits(folder)
    (folder / "labels.json").write_text('["ham", "news", "spam"]')
    assert read_splits(folder)["test"]["Label"].tolist() == [2]


def test_a_training_reports_while_it_runs_and_measures_each_split_for_what_it_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "open_snapshots", lambda stage, device: Snapshots(tmp_path / stage))
    generator = torch.Generator().manual_seed(0)
    sizes = {"train": 22, "validation": 9, "test": 10}
    messages = {
        split: Messages(torch.randint(40, (n, 6), generator=generator), [number % 3 for number in range(n)])
        for split, n in sizes.items()
    }
    torch.manual_seed(0)
    classifier = Classifier(new_model(GPTConfig(40, 8, 16, 2, 1), "gpt2"), 3)
    reported: list[tuple[int, int]] = []

    def report(state: TrainingState) -> None:
        reported.append((len(state.curve), len(state.epoch_notes)))

    before = {split: measure_labels(classifier, messages[split], 4) for split in SPLITS}
    done = finetune(classifier, messages, SETTINGS, 1, lambda: 50.0, report)
    after = {split: measure_labels(classifier, messages[split], 4) for split in SPLITS}
    # Five steps per epoch, evaluated after steps 0 and 3, 6 and 9.
    assert reported == [(1, 0), (2, 0), (2, 1), (3, 1), (4, 1), (4, 2)]
    assert done.prompted_accuracy == 50.0
    for split in SPLITS:
        for name, found in ((f"initial_{split}", before[split]), (split, after[split])):
            assert done.metrics()[f"{name}_accuracy"] == found.accuracy
            assert done.metrics()[f"{name}_loss"] == found.loss
    assert done.training()["loss_gap"] == after["validation"].loss - after["train"].loss
    fitted = {
        split: fit_temperature(label_logits(classifier, part.ids, 4), part.labels) for split, part in messages.items()
    }
    assert done.metrics()["temperature"] == fitted["validation"] != fitted["test"]


@pytest.mark.parametrize("train_layers", ["all", "last_block"])
def test_messages_of_like_lengths_are_put_together_if_asked(
    train_layers: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = torch.arange(24)[:, None].expand(24, 8).clone()
    for row in range(24):
        ids[row, 1 + row % 6 :] = 39  # padding
    messages = dict.fromkeys(SPLITS, Messages(ids, [0, 1] * 12))
    seen = {}
    for grouped in (False, True):
        monkeypatch.setattr(module, "open_snapshots", lambda stage, device, to=grouped: Snapshots(tmp_path / f"{to}"))
        settings = SETTINGS.model_copy(update={"group_by_length": grouped, "train_layers": train_layers})
        torch.manual_seed(0)
        reading = Reading("last", "none", pad_id=39)
        classifier = Classifier(new_model(GPTConfig(40, 8, 16, 2, 2), "gpt2"), 2, reading)
        choose_trained_layers(classifier, settings)
        seen[grouped] = finetune(classifier, messages, settings, 1, lambda: None).state.tokens_seen
    assert seen[True] == 2 * 4 * (1 + 2 + 3 + 4 + 5 + 6) < seen[False]  # no padding
