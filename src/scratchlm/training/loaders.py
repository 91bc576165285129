"""The batches of both splits, as torch's loaders make them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any, NamedTuple, Protocol, cast

import torch
from torch.utils.data import BatchSampler, DataLoader, Dataset, Sampler

from scratchlm.errors import InputError
from scratchlm.training.like_lengths import LikeLengths
from scratchlm.training.loss import Batch

Loader = DataLoader[Any]


LISTED = 1 << 16  # numbers of examples that are Python's objects at a time, of 32 bytes each


class Shuffled(Sampler[int]):
    """The numbers from 0 to n - 1 in random order: those of torch's `RandomSampler`, in 4 bytes each instead of 40."""

    def __init__(self, n: int) -> None:
        self.n = n

    def __len__(self) -> int:
        return self.n

    def __iter__(self) -> Iterator[int]:
        # As torch does, and when it does: at the first number, not before.
        generator = torch.Generator().manual_seed(int(torch.empty((), dtype=torch.int64).random_().item()))
        dtype = torch.int32 if self.n <= torch.iinfo(torch.int32).max else torch.int64
        order = torch.randperm(self.n, generator=generator, dtype=dtype)
        for start in range(0, self.n, LISTED):
            yield from order[start : start + LISTED].tolist()


class Batches(Sampler[list[int]]):
    """The batches of another sampler; the next pass leaves out the first `skipped`, without reading an example."""

    def __init__(self, sampler: Sampler[list[int]]) -> None:
        self.sampler, self.skipped = sampler, 0

    def __len__(self) -> int:
        return len(self.sampler)  # type: ignore[arg-type]

    def __iter__(self) -> Iterator[list[int]]:
        skipped, self.skipped = self.skipped, 0
        # What the other draws is drawn when it would be without this one.
        return islice(iter(self.sampler), skipped, None)


class Loaders(NamedTuple):
    """The batches of both splits."""

    train: Loader
    validation: Loader


class Examples(Protocol):
    """A list of training examples, or anything that can be indexed like one."""

    def __len__(self) -> int: ...
    def __getitem__(self, index: int, /) -> Any: ...


def loaders(
    train_set: Examples,
    validation_set: Examples,
    batch_size: int,
    collate: Callable[[Any], Batch] | None = None,
    length: Callable[[Any], int] | None = None,
) -> Loaders:
    """Return the batches of both splits; only training is shuffled and drops a last, shorter batch.

    With `length`, which returns that of an example, the batches are those of `LikeLengths`.
    Raises InputError if there is no full batch to train on, or nothing to validate with.
    """
    if len(train_set) < batch_size:
        raise InputError(
            f"there are {len(train_set)} training examples, fewer than batch_size ({batch_size}): there is no full "
            "batch to train on; lower the batch size or use more data"
        )
    if not len(validation_set):
        raise InputError("the validation set is empty: use more data or another split")
    if length is None:
        shuffled = Batches(BatchSampler(Shuffled(len(train_set)), batch_size, drop_last=True))
        return Loaders(
            DataLoader(cast(Dataset[Any], train_set), batch_sampler=shuffled, collate_fn=collate),
            DataLoader(cast(Dataset[Any], validation_set), batch_size, collate_fn=collate),
        )

    def grouped(examples: Examples, shuffle: bool) -> Loader:
        lengths = [length(examples[number]) for number in range(len(examples))]
        sampler = LikeLengths(lengths, batch_size, shuffle=shuffle)
        return DataLoader(cast(Dataset[Any], examples), batch_sampler=Batches(sampler), collate_fn=collate)

    return Loaders(grouped(train_set, True), grouped(validation_set, False))
