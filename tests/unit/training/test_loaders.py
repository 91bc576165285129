"""The order of training: torch's own, without its list, and resumed without reading what was seen."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from scratchlm.training.loaders import Loader, Loaders, Shuffled, loaders
from scratchlm.training.state import TrainingState, remaining_batches


class Read:
    """Examples that note which of them were read."""

    def __init__(self, n: int) -> None:
        self.n = n
        self.read: list[int] = []

    def __len__(self) -> int:
        return self.n

    def __getitem__(self, index: int) -> tuple[int, ...]:
        self.read.append(index)
        return (index,)


def collate(rows: list[tuple[int, ...]]) -> tuple[Tensor, ...]:
    return (torch.tensor(rows),)


def plain(n: int) -> tuple[Read, Loader]:
    examples = Read(n)
    return examples, loaders(examples, Read(1), 4, collate).train  # type: ignore[arg-type]


def like_lengths(n: int) -> tuple[Read, Loader]:
    examples = Read(n)
    made: Loaders = loaders(examples, Read(1), 4, collate, length=lambda row: 1 + row[0] % 7)  # type: ignore[arg-type]
    examples.read.clear()
    return examples, made.train


@pytest.mark.parametrize("n", [4, 5, 1000, 70_000])
def test_the_order_and_the_draws_are_those_of_torch(n: int) -> None:
    torch.manual_seed(5)
    theirs = list(DataLoader(range(n), 4, shuffle=True, drop_last=True))  # type: ignore[arg-type]
    after = torch.get_rng_state()
    torch.manual_seed(5)
    ours = [batch[0].flatten() for batch in plain(n)[1]]
    assert torch.equal(torch.get_rng_state(), after)
    assert len(ours) == len(theirs) and all(map(torch.equal, ours, theirs))


@pytest.mark.parametrize("make", [plain, like_lengths])
@pytest.mark.parametrize("skipped", [1, 10, 24])
def test_a_resumed_epoch_has_the_same_rest_and_reads_nothing_else(
    make: Callable[[int], tuple[Read, Loader]], skipped: int
) -> None:
    torch.manual_seed(5)
    state = TrainingState()
    whole = [batch[0] for batch in remaining_batches(make(100)[1], state)]
    torch.manual_seed(6)  # the steps have drawn for their dropout
    drawn = torch.get_rng_state()
    examples, loader = make(100)
    state.batch = skipped
    rest = remaining_batches(loader, state)
    assert torch.equal(torch.get_rng_state(), drawn)
    batches = [batch[0] for batch in rest]
    assert len(batches) == 25 - skipped and all(map(torch.equal, batches, whole[skipped:]))
    assert examples.read == [int(number) for batch in batches for number in batch]
    assert len(list(loader)) == 25  # the next pass is whole


def test_numbers_take_four_bytes_each_while_they_are_drawn() -> None:
    orders = torch.randperm(1000, generator=torch.Generator().manual_seed(1), dtype=torch.int32)
    assert orders.tolist() == torch.randperm(1000, generator=torch.Generator().manual_seed(1)).tolist()
    assert len(list(Shuffled(1000))) == len(Shuffled(1000)) == 1000
