"""Sliding windows equal those of the book's dataset, and the ids stay on disk."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.utils.data import DataLoader

from scratchlm.errors import InputError
from scratchlm.files.atomic import write_json
from scratchlm.tokens.folder import n_windows, open_tokens
from scratchlm.tokens.windows import Windows, read_windows


def book_windows(ids: list[int], max_length: int, stride: int) -> list[tuple[list[int], list[int]]]:
    """Chapter 2.6 in the plainest way: every start that leaves a target for the last token."""
    found = []
    start = 0
    while start + max_length + 1 <= len(ids):
        found.append((ids[start : start + max_length], ids[start + 1 : start + max_length + 1]))
        start += stride
    return found


@given(st.integers(0, 60), st.integers(1, 20), st.integers(1, 25), st.sampled_from(["<u2", "<u4"]))
def test_windows_are_the_book_s_for_any_length_and_stride(
    length: int, max_length: int, stride: int, dtype: str
) -> None:
    ids = [1000 + 3 * index for index in range(length)]
    windows = Windows(np.array(ids, dtype=dtype), max_length, stride)
    expected = book_windows(ids, max_length, stride)
    assert len(windows) == n_windows(length, max_length, stride) == len(expected)
    assert [(inputs.tolist(), targets.tolist()) for inputs, targets in windows] == expected
    if expected:
        inputs, targets = windows.__getitems__(list(range(len(windows))))
        assert inputs.dtype == targets.dtype == torch.int64
        assert inputs.tolist() == [one for one, _ in expected]
        assert targets.tolist() == [one for _, one in expected]


def test_indices_from_the_end_and_beyond_it_are_those_of_a_list() -> None:
    windows = Windows(np.arange(11, dtype="<u2"), 4, 2)  # starts 0, 2, 4, 6
    assert windows[-1][0].tolist() == windows[3][0].tolist() == [6, 7, 8, 9]
    for beyond in (4, -5):
        with pytest.raises(IndexError):
            windows[beyond]


def test_with_stride_max_length_every_token_is_an_input_once_but_the_rest() -> None:
    windows = Windows(np.arange(1000, dtype="<u2"), 64, 64)
    inputs = torch.cat([inputs for inputs, _ in windows])
    assert inputs.tolist() == list(range(len(windows) * 64)) and 1000 - len(inputs) <= 64


def test_ids_above_32767_stay_positive() -> None:
    windows = Windows(np.array([65535, 40000, 1], dtype="<u2"), 2, 1)
    assert windows[0][0].tolist() == [65535, 40000]


def test_a_loader_gets_its_batches_gathered() -> None:
    windows = Windows(np.arange(21, dtype="<u2"), 4, 4)
    batches = list(DataLoader(windows, batch_size=2, collate_fn=lambda batch: batch))
    assert [inputs.shape for inputs, _ in batches] == [(2, 4), (2, 4), (1, 4)]
    assert batches[0][0].tolist() == [[0, 1, 2, 3], [4, 5, 6, 7]]
    assert batches[0][1].tolist() == [[1, 2, 3, 4], [5, 6, 7, 8]]


def test_a_token_folder_is_mapped_not_read(tmp_path: Path) -> None:
    counts = dict.fromkeys(("documents", "characters", "tokens", "train_windows", "validation_windows"), 1)
    counts |= dict.fromkeys(("train_tokens", "validation_tokens"), 4)
    counts |= dict.fromkeys(("train_unknown_percent", "validation_unknown_percent"), 0)
    manifest = {**counts, "vocab_size": 100_000, "max_length": 3, "stride": 2, "dtype": "<u4"}
    write_json(tmp_path / "manifest.json", manifest)
    np.arange(70_000, 70_008, dtype="<u4").tofile(tmp_path / "train.bin")
    with pytest.raises(InputError, match=r"train\.bin has 32 bytes, expected 16"):
        open_tokens(tmp_path).ids("train")
    write_json(tmp_path / "manifest.json", {**manifest, "train_tokens": 8, "train_windows": 3})
    windows = read_windows(open_tokens(tmp_path), "train")
    assert isinstance(windows.ids[:2].base.base, np.memmap) and len(windows) == 3
    assert windows[2][1].tolist() == [70_005, 70_006, 70_007]
