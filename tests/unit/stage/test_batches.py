"""Work in batches: every result once and in order, stopped and killed or not."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from scratchlm.stage import interruption
from scratchlm.stage.batches import Work, compute_batches
from scratchlm.stage.interruption import Interrupted
from scratchlm.stage.snapshots import Snapshots

NAMES = ["one", "two", "three"]
BATCHES = [[3, 1], [4], [0, 2]]
WHOLE = {name: [f"{name} {number}" for number in range(5)] for name in NAMES}


@pytest.fixture(autouse=True)
def no_request_to_stop(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(interruption.request, "made", False)


class Worker:
    """Computes texts, notes what it was asked for, and dies once after so many batches."""

    def __init__(self, dies_after: int | None = None) -> None:
        self.begun: list[str] = []
        self.batches: list[tuple[str, list[int]]] = []
        self.dies_after = dies_after

    def begin(self, name: str) -> Work:
        self.begun.append(name)

        def compute(numbers: Sequence[int]) -> list[str]:
            if len(self.batches) == self.dies_after:
                self.dies_after = None
                raise MemoryError
            self.batches.append((name, list(numbers)))
            return [f"{name} {number}" for number in numbers]

        return BATCHES, compute

    def run(self, folder: Path, every_s: float = 1e9, n: int = 5) -> dict[str, list[str]]:
        return compute_batches(NAMES, n, "text", self.begin, Snapshots(folder, every_s))


def test_results_stand_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    assert Worker().run(tmp_path) == WHOLE


def test_what_is_complete_is_not_begun_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Worker().run(tmp_path)
    again = Worker()
    assert again.run(tmp_path) == WHOLE
    assert again.begun == []
    assert capsys.readouterr().out == "resuming after 15 of 15 texts\n"


def test_without_anything_to_compute_nothing_is_begun(tmp_path: Path) -> None:
    worker = Worker()
    assert worker.run(tmp_path, n=0) == {name: [] for name in NAMES}
    assert worker.begun == []


@pytest.mark.parametrize("n_batches", range(9))
def test_after_a_death_it_begins_where_it_was_and_computes_nothing_twice(
    n_batches: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    worker = Worker(dies_after=n_batches)
    with pytest.raises(MemoryError):
        worker.run(tmp_path, every_s=0)
    assert worker.run(tmp_path, every_s=0) == WHOLE
    assert worker.batches == [(name, batch) for name in NAMES for batch in BATCHES]
    done = sum(len(numbers) for _, numbers in worker.batches[:n_batches])
    assert capsys.readouterr().out == f"resuming after {done} of 15 texts\n"


def test_a_request_to_stop_is_heard_between_two_batches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    worker = Worker()
    monkeypatch.setattr("scratchlm.stage.snapshots.requested", lambda: len(worker.batches) == 4)
    with pytest.raises(Interrupted, match=r"^after 7 of 15 texts$"):
        worker.run(tmp_path)
    monkeypatch.undo()
    assert worker.run(tmp_path) == WHOLE
    assert len(worker.batches) == len(NAMES) * len(BATCHES)
