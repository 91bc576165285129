"""A server that misbehaves, a download target and short limits, without the user's environment."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from downloads import QUICK, SetLimits
from http_fault_server import FaultServer


@pytest.fixture
def server() -> Iterator[FaultServer]:
    with FaultServer() as running:
        yield running


@pytest.fixture
def limits(monkeypatch: pytest.MonkeyPatch) -> SetLimits:
    """Change some of the limits under which the tests download."""

    def set_limits(**changes: Any) -> None:
        monkeypatch.setattr("scratchlm.download.fetch.LIMITS", replace(QUICK, **changes))

    return set_limits


@pytest.fixture(autouse=True)
def bare_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limits: SetLimits) -> None:
    limits()
    for name in ("SCRATCHLM_MIRROR", "DVC_ROOT", "http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("SCRATCHLM_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "out" / "file.bin"
