"""Stored features: each text once, in batches of like length, the same after an interruption, and no half-full disk."""

from __future__ import annotations

import errno
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from scratchlm.errors import InputError
from scratchlm.stage import interruption
from scratchlm.stage.interruption import Interrupted
from scratchlm.stage.snapshots import Snapshots
from scratchlm.training import features as module
from scratchlm.training.features import batches_of, compute_features

WIDTH = 3
FILE = "features.scratch"
LENGTHS = [4, 1, 4, 2, 5, 3, 1, 4]


@pytest.fixture(autouse=True)
def few_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "TOKENS_AT_ONCE", 8)


def texts() -> list[Tensor]:
    """Return texts of which the first and the last are equal."""
    generator = torch.Generator().manual_seed(1)
    made = [torch.randint(50, (length,), generator=generator) for length in LENGTHS]
    return [*made[:-1], made[0].clone()]


class Computing:
    """Computes the features of texts, and keeps what it was asked for; fails at one of the batches."""

    def __init__(self, fails_at: int = -1) -> None:
        self.batches: list[list[list[int]]] = []
        self.fails_at = fails_at

    def __call__(self, batch: list[Tensor]) -> Tensor:
        if len(self.batches) == self.fails_at:
            raise KeyboardInterrupt
        self.batches.append([text.tolist() for text in batch])
        ids_BT = pad_sequence(batch, batch_first=True, padding_value=-1)
        return ids_BT[:, :, None] * torch.tensor([1.0, 10.0, 100.0])


def expected(text: Tensor) -> Tensor:
    return text[:, None] * torch.tensor([1.0, 10.0, 100.0])


def stored(folder: Path, compute: Callable[[list[Tensor]], Tensor], **options: Any) -> module.Features:
    snapshots = Snapshots(folder)
    try:
        return compute_features(texts(), WIDTH, compute, snapshots, **options)
    finally:
        snapshots.lock.release()


def test_the_rows_of_texts_come_back_filled_up_with_zeros(tmp_path: Path) -> None:
    found = stored(tmp_path, Computing()).of([texts()[1], texts()[4], texts()[7]])
    assert found.shape == (3, 5, WIDTH) and found.dtype == torch.float32
    for row, text in zip(found, (texts()[1], texts()[4], texts()[0]), strict=True):
        assert torch.equal(row[: len(text)], expected(text)) and not row[len(text) :].any()
    assert (tmp_path / FILE).stat().st_size == 4 * WIDTH * sum(LENGTHS[:-1])


def test_rows_are_read_from_the_file_and_not_from_a_copy_in_memory(tmp_path: Path) -> None:
    features = stored(tmp_path, Computing())
    with (tmp_path / FILE).open("r+b") as file:  # opened to write: nothing is cut off under the mapping
        file.write(np.array([7, 8, 9], np.float32).tobytes())
    assert features.of([texts()[1]]).tolist() == [[[7, 8, 9]]]  # the first of the shortest texts


def test_equal_texts_are_computed_once_and_those_of_like_length_together(tmp_path: Path) -> None:
    computing = Computing()
    stored(tmp_path, computing)
    assert [[len(text) for text in batch] for batch in computing.batches] == [[1, 1, 2], [3, 4], [4], [5]]
    flat = [tuple(text) for batch in computing.batches for text in batch]
    assert len(set(flat)) == len(flat) == len(LENGTHS) - 1


def test_a_text_may_have_one_row_only(tmp_path: Path) -> None:
    features = stored(
        tmp_path, lambda batch: torch.stack([text[-1:, None].expand(1, WIDTH) for text in batch]), one_row=True
    )
    assert features.of(texts()).tolist() == [[[float(text[-1])] * WIDTH] for text in texts()]
    assert (tmp_path / FILE).stat().st_size == 4 * WIDTH * (len(LENGTHS) - 1)


def test_a_text_longer_than_fits_is_a_batch_of_its_own() -> None:
    assert list(batches_of([3, 20, 30])) == [(0, 1), (1, 2), (2, 3)]


@pytest.mark.parametrize("cut_bytes", [0, 1, 4 * WIDTH, 5 * 4 * WIDTH])
@pytest.mark.parametrize("fails_at", [0, 1, 3, 4])
def test_a_killed_run_goes_on_where_it_was_and_ends_with_the_same_bytes(
    tmp_path: Path, fails_at: int, cut_bytes: int
) -> None:
    whole = Computing()
    stored(tmp_path / "whole", whole)
    first, second = Computing(fails_at), Computing()
    try:
        stored(tmp_path / "cut", first)
    except KeyboardInterrupt:
        assert fails_at < 4
    path = tmp_path / "cut" / FILE
    content = path.read_bytes()
    path.write_bytes(content[: max(0, len(content) - cut_bytes)])
    features = stored(tmp_path / "cut", second)
    assert path.read_bytes() == (tmp_path / "whole" / FILE).read_bytes()
    assert all(torch.equal(features.of([text])[0], expected(text)) for text in texts())
    if not cut_bytes:
        assert first.batches + second.batches == whole.batches


def test_a_request_to_stop_waits_for_the_batch_and_keeps_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(interruption.request, "made", True)
    computing = Computing()
    with pytest.raises(Interrupted, match="after the features of 3 of 7 texts"):
        stored(tmp_path, computing)
    assert len(computing.batches) == 1 and (tmp_path / FILE).stat().st_size == 4 * 4 * WIDTH


def test_a_second_process_computes_its_own_and_leaves_no_file(tmp_path: Path) -> None:
    with Snapshots(tmp_path).lock:
        other = Snapshots(tmp_path)
        assert not other.are_kept
        features = compute_features(texts(), WIDTH, Computing(), other)
        assert [path.name for path in tmp_path.iterdir()] == ["lock"]
    assert torch.equal(features.of(texts()[:1])[0], expected(texts()[0]))


def test_a_second_process_that_is_to_stop_says_nothing_of_saved_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(interruption.request, "made", True)
    computing = Computing()
    with Snapshots(tmp_path).lock, pytest.raises(KeyboardInterrupt):
        compute_features(texts(), WIDTH, computing, Snapshots(tmp_path))
    assert len(computing.batches) == 1


def test_a_disk_without_room_is_named_before_anything_is_computed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    needed = 4 * WIDTH * sum(LENGTHS[:-1])
    usage = shutil.disk_usage(tmp_path)._replace(free=needed - 1)
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage)
    computing = Computing()
    with pytest.raises(InputError, match=rf"no space left in {tmp_path}: {needed} bytes are needed, {needed - 1} are"):
        stored(tmp_path, computing)
    assert not computing.batches


def test_a_disk_that_is_full_meanwhile_is_one_clear_error(tmp_path: Path) -> None:
    def compute(batch: list[Tensor]) -> Tensor:
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(
        InputError, match=rf"no space left in {tmp_path}: .* bytes are needed \(No space left on device\)"
    ):
        stored(tmp_path, compute)
