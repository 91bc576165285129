"""The batches of both splits, as torch's loaders make them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol, cast

from torch.utils.data import DataLoader, Dataset

from scratchlm.errors import InputError
from scratchlm.training.like_lengths import LikeLengths
from scratchlm.training.loss import Batch

Loader = DataLoader[Any]


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
        return Loaders(
            DataLoader(cast(Dataset[Any], train_set), batch_size, shuffle=True, drop_last=True, collate_fn=collate),
            DataLoader(cast(Dataset[Any], validation_set), batch_size, collate_fn=collate),
        )

    def grouped(examples: Examples, shuffle: bool) -> Loader:
        lengths = [length(examples[number]) for number in range(len(examples))]
        sampler = LikeLengths(lengths, batch_size, shuffle=shuffle)
        return DataLoader(cast(Dataset[Any], examples), batch_sampler=sampler, collate_fn=collate)

    return Loaders(grouped(train_set, True), grouped(validation_set, False))
