"""The project's own server in a thread of the tests' process, so that they can look at its models."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Thread

from scratchlm.serving.app import make_app
from scratchlm.serving.server import listen, make_server
from scratchlm.serving.shelf import Shelf


@contextmanager
def serve_in_thread(shelf: Shelf) -> Iterator[str]:
    """Yield the address of a server with these models, such as http://127.0.0.1:41234."""
    server = make_server(make_app(shelf))
    with listen(0) as listener:
        thread = Thread(target=server.run, args=([listener],))
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        server.should_exit = True
        thread.join(timeout=10)
