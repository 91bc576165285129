"""The server with tiny models, in this process and on a real socket."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from openai import OpenAI
from served_shelf import serve_in_thread
from tiny_project import make_project

from scratchlm.serving.shelf import Shelf


@pytest.fixture(scope="session")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shelf]:
    """The models of a finished project; those that the server below uses."""
    root = tmp_path_factory.mktemp("project")
    make_project(root)
    shelf = Shelf(root)
    yield shelf
    shelf.close()


@pytest.fixture(scope="session")
def address(shelf: Shelf) -> Iterator[str]:
    """The address of a server, such as http://127.0.0.1:41234."""
    with serve_in_thread(shelf) as address:
        yield address


@pytest.fixture(scope="session")
def client(address: str) -> Iterator[OpenAI]:
    """The official client."""
    with OpenAI(base_url=f"{address}/v1", api_key="none", max_retries=0, timeout=30) as client:
        yield client
