"""The messages that the classifier trains on: read, encoded to one length, and no longer than the model can see."""

from __future__ import annotations

from pathlib import Path

import pytest

from scratchlm.classifier.finetune import encode_splits, read_splits
from scratchlm.errors import OutputError
from scratchlm.tokenizer.folder import read_tokenizer


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


def test_a_split_with_a_label_that_has_no_name_is_refused(folder: Path) -> None:
    (folder / "test.csv").write_text('"Label","Text"\n2,"the dog"\n')
    with pytest.raises(OutputError, match=r"test\.csv, row 1: got \['2', 'the dog'\], wanted a label from 0 to 1"):
        read_splits(folder)
    (folder / "labels.json").write_text('["ham", "news", "spam"]')
    assert read_splits(folder)["test"]["Label"].tolist() == [2]
