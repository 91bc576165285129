"""The server with tiny models, in this process and on a real socket."""

from __future__ import annotations

from collections.abc import Iterator
from threading import Thread

import pytest
from openai import OpenAI
from tiny_project import make_project

from scratchlm.serving.app import make_app
from scratchlm.serving.server import listen, make_server
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
    server = make_server(make_app(shelf), "ready")
    with listen(0) as listener:
        thread = Thread(target=server.run, args=([listener],))
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        server.should_exit = True
        thread.join(timeout=10)


@pytest.fixture(scope="session")
def client(address: str) -> Iterator[OpenAI]:
    """The official client."""
    with OpenAI(base_url=f"{address}/v1", api_key="none", max_retries=0, timeout=30) as client:
        yield client
