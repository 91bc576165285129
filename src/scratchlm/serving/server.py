"""Listening on 127.0.0.1, and ending in good order."""

from __future__ import annotations

import errno
import socket
from collections.abc import Sequence
from types import FrameType

import uvicorn
from starlette.types import ASGIApp

from scratchlm.errors import InputError

HOST = "127.0.0.1"  # no other machine can ask, and there is no option for it
GRACE_S = 30  # that running answers have to end after a request to stop


class Server(uvicorn.Server):
    """uvicorn's server, which the second signal of either kind ends at once, and neither kills.

    When it is ready for requests and signals it prints `greeting`, if there is one.
    """

    def __init__(self, config: uvicorn.Config, greeting: str | None) -> None:
        super().__init__(config)
        self._greeting = greeting

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to answer."""
        await super().startup(sockets)
        if self._greeting is not None:
            print(self._greeting, flush=True)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Stop listening and let running answers end; the second time do not wait for them."""
        self.force_exit = self.should_exit
        self.should_exit = True


def listen(port: int) -> socket.socket:
    """Return a socket at a port of 127.0.0.1, 0 for any free one; raise InputError if it is not to be had."""
    # Naming TCP makes asyncio send each event at once; else the kernel may keep it back for 40 ms (Nagle's algorithm).
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # the same port again right after a stop
    try:
        listener.bind((HOST, port))
        listener.listen()
    except OSError as error:
        listener.close()
        why = "another program has it" if error.errno == errno.EADDRINUSE else error.strerror
        raise InputError(f"--port: cannot listen on port {port} ({why}): give another one, or 0 for any free") from None
    return listener


def describe(listener: socket.socket, names: Sequence[str]) -> str:
    """Return where the page is, which models there are, and how a program asks the last one."""
    address = f"http://{HOST}:{listener.getsockname()[1]}"
    question = f'{{"model": "{names[-1]}", "messages": [{{"role": "user", "content": "Name a colour."}}]}}'
    return (
        f"page:    {address} (Ctrl-C ends the server)\n"
        f"models:  {', '.join(names)}\n"
        f"openai:  OPENAI_BASE_URL={address}/v1 OPENAI_API_KEY=none\n"
        f"curl:    curl {address}/v1/chat/completions -H 'Content-Type: application/json' -d '{question}'"
    )


def make_server(app: ASGIApp, greeting: str | None = None) -> Server:
    """Return a server of which `run` prints the greeting, and answers requests until SIGINT or SIGTERM.

    Then it returns when the running answers have ended, or after `GRACE_S`. It logs nothing, neither requests nor what
    it cuts off in the end; the application prints its defects.
    """
    config = uvicorn.Config(
        app,
        http="h11",
        ws="none",
        lifespan="off",
        log_config=None,
        log_level="critical",
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=GRACE_S,
    )
    return Server(config, greeting)
