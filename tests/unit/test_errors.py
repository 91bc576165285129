"""Only the error for a stage's output says how to build it again."""

from __future__ import annotations

import pytest

from scratchlm.errors import InputError, OutputError, explain


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (InputError("own.csv is empty: give messages"), "own.csv is empty: give messages"),
        (OutputError("a.json is missing"), "a.json is missing; run `make repro` to build it again"),
        (OutputError("two things:\n  - a\n  - b"), "two things:\n  - a\n  - b\nrun `make repro` to build it again"),
    ],
)
def test_what_a_stage_wrote_can_be_built_again(error: InputError, said: str) -> None:
    assert explain(error) == said
