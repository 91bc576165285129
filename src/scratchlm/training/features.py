"""What the frozen part of a model computes for each text: once for a whole training, and kept in a file."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from scratchlm.files.room import check_room, writable
from scratchlm.stage.interruption import Interrupted, deferred, requested
from scratchlm.stage.processes import any_of, from_first, is_first
from scratchlm.stage.progress import progress_bar
from scratchlm.stage.snapshots import Snapshots

NAME = "features"  # of the file, in the folder of the run's snapshots
# Tokens of the texts that are computed together. On 2 threads of a Zen 5, texts of 120 tokens took half the time in
# batches of 32 that they took in batches of 4, and no less in batches of 64.
TOKENS_AT_ONCE = 4096

Rows = tuple[int, int]  # of the file: from one to before another


class Features:
    """The features of texts: for each text one or more rows of floats, found by its token ids.

    They are mapped from a file, so that the system may keep in memory as much of it as there is room for.
    """

    def __init__(self, rows_ND: Tensor, places: dict[bytes, Rows]) -> None:
        self.rows_ND, self.places = rows_ND, places

    def __deepcopy__(self, memo: object) -> Features:
        return self  # never changed, and as large as the disk

    def of(self, texts: Iterable[Tensor]) -> Tensor:
        """Return the rows of texts, each int64 [T], filled up with zeros to the longest: [B, rows, D] float32."""
        return pad_sequence([self.rows_ND[slice(*self.places[key_of(text)])] for text in texts], batch_first=True)


def key_of(text: Tensor) -> bytes:
    return text.numpy().tobytes()


def compute_features(
    texts: Iterable[Tensor],
    width: int,
    compute: Callable[[list[Tensor]], Tensor],
    snapshots: Snapshots,
    *,
    one_row: bool = False,
) -> Features:
    """Compute the features of texts, each int64 [T] on the CPU, or take those that an interrupted run has computed.

    Equal texts are computed once, and texts of like length together. `compute` gets such texts and returns their
    features, [B, T, `width`] on any device; those beyond a text's length are left out. With `one_row` a text has one
    row, [B, 1, `width`]. Of several processes the first computes them, and the others read its file. Raises InputError
    if the disk has no room, and Interrupted between two batches if a stop was requested.
    """
    distinct = sorted({key_of(text): text for text in texts}.values(), key=len)  # of one length in the order they came
    ends = np.cumsum([1 if one_row else len(text) for text in distinct]).tolist()
    places = {
        key_of(text): (end - (1 if one_row else len(text)), end) for text, end in zip(distinct, ends, strict=True)
    }
    is_shared = any_of(snapshots.are_kept)  # if not, each process has a file of its own, which has no name
    if is_shared and not is_first():
        path = from_first(None)
        return Features(torch.from_numpy(np.memmap(path, np.float32, "r+", shape=(ends[-1], width))), places)
    row_bytes, total_bytes = 4 * width, 4 * width * ends[-1]
    with writable(snapshots.folder, total_bytes), snapshots.scratch_file(NAME) as file:
        written_bytes = file.seek(0, os.SEEK_END)
        check_room(snapshots.folder, total_bytes - written_bytes)
        with deferred(), progress_bar(len(distinct), NAME, "text") as bar:
            for first, last in batches_of([len(text) for text in distinct]):
                batch, end_bytes = distinct[first:last], row_bytes * ends[last - 1]
                if written_bytes < end_bytes:
                    file.truncate(row_bytes * places[key_of(batch[0])][0])  # a kill may have cut the batch
                    file.write(compute_rows(batch, compute, one_row))
                    file.flush()
                    if requested():
                        done = f"after the features of {last} of {len(distinct)} texts"
                        raise Interrupted(done) if snapshots.are_kept else KeyboardInterrupt
                bar.update(len(batch))
        file.truncate(total_bytes)
        rows = np.memmap(file, np.float32, "r+", shape=(ends[-1], width))
        if is_shared:
            from_first(file.name)
    return Features(torch.from_numpy(rows), places)


def batches_of(lengths: Sequence[int]) -> Iterator[Rows]:
    """Yield the first text of each batch and the one after its last; lengths do not decrease from text to text."""
    first = 0
    for last, length in enumerate(lengths):
        if (last + 1 - first) * length > TOKENS_AT_ONCE and last > first:
            yield first, last
            first = last
    yield first, len(lengths)


@torch.no_grad()
def compute_rows(texts: Sequence[Tensor], compute: Callable[[list[Tensor]], Tensor], one_row: bool) -> bytes:
    """Return the rows of a batch of texts as they are stored: float32, one text after the other."""
    features_BTD = compute(list(texts)).float().cpu()
    rows = [features[: 1 if one_row else len(text)] for features, text in zip(features_BTD, texts, strict=True)]
    return torch.cat(rows).numpy().tobytes()
