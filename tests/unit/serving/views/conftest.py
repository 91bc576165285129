"""What the page's views ask a server with tiny models."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from starlette.testclient import TestClient
from tiny_project import make_project

from scratchlm.serving.app import make_app
from scratchlm.serving.shelf import Shelf


@pytest.fixture(scope="module")
def viewed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shelf]:
    """The models of a finished project of this module's own."""
    root = tmp_path_factory.mktemp("project")
    make_project(root)
    shelf = Shelf(root)
    yield shelf
    shelf.close()


@pytest.fixture(scope="module")
def page(viewed: Shelf) -> TestClient:
    """A client of the server that has these models."""
    return TestClient(make_app(viewed), base_url="http://127.0.0.1")


@pytest.fixture
def data(viewed: Shelf) -> Path:
    """The project's data folder."""
    return viewed.root / "data"
