"""A local server that speaks Ollama's HTTP API, for tests: real sockets, scripted answers and faults.

It answers what the real one answers where scratchlm asks (the shapes are Ollama's API documentation's) and
refuses, with a 400 that fails the test, any request that puts an option where Ollama would ignore it.
"""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any

CREATED_AT = "2025-01-01T00:00:00Z"
OPTIONS = {"seed", "temperature", "num_ctx", "num_predict", "top_k", "top_p", "stop"}
CHAT_FIELDS = {"model", "messages", "stream", "think", "format", "options", "keep_alive", "tools"}


@dataclass(frozen=True)
class Reply:
    """How one chat request is answered; a fault where it says so."""

    content: str = "85"
    done_reason: str = "stop"
    prompt_eval_count: int | None = 100
    eval_count: int = 3
    status: int = 200
    body: bytes | None = None  # sent as it is in place of a chat answer
    content_type: str = "application/json"
    delay_s: float = 0.0
    dropped: bool = False  # closes without a word
    half: bool = False  # promises the whole body, sends half of it and closes


BUSY = Reply(status=503, body=b'{"error": "server busy, please try again"}')
HTML = Reply(body=b"<html><body>Welcome to the proxy</body></html>", content_type="text/html")
DROPPED = Reply(dropped=True)
HALF = Reply(half=True)


@dataclass
class OllamaServer:
    """`with OllamaServer() as server:` listens on 127.0.0.1 at `server.host` until the block ends.

    `replies` are used up in order, then `answer` (given the request) makes the rest. `requests` keeps every
    chat request; requests that Ollama would misread fail the block when it ends.
    """

    models: tuple[str, ...] = ("llama3:latest",)
    replies: list[Reply] = field(default_factory=list)
    answer: Callable[[dict[str, Any]], Reply] = lambda request: Reply()
    requests: list[dict[str, Any]] = field(default_factory=list)
    misread: list[str] = field(default_factory=list)

    def __enter__(self) -> OllamaServer:
        handler = type("Handler", (OllamaHandler,), {"state": self})
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._http.daemon_threads = True
        self._thread = threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.01})
        self._thread.start()
        self.host = f"http://127.0.0.1:{self._http.server_port}"
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stopping.set()  # wakes the slow replies
        self._http.shutdown()
        self._thread.join()
        self._http.server_close()
        if error is None:
            assert not self.misread, f"Ollama would misread these requests: {self.misread}"

    def next_reply(self, request: dict[str, Any]) -> Reply:
        with self._lock:
            self.requests.append(request)
            reply = self.replies.pop(0) if self.replies else self.answer(request)
        self._stopping.wait(reply.delay_s)
        return reply


class OllamaHandler(BaseHTTPRequestHandler):
    state: OllamaServer
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # or every answer waits 40 ms for the client's acknowledgement

    def log_message(self, format: str, *args: object) -> None:
        pass

    def do_GET(self) -> None:
        if self.path == "/":
            self.send(200, b"Ollama is running", "text/plain; charset=utf-8")
        elif self.path == "/api/version":
            self.send_json(200, {"version": "0.6.3"})
        elif self.path == "/api/tags":
            self.send_json(200, {"models": [describe_model(name) for name in self.state.models]})
        else:
            self.send(404, b"404 page not found", "text/plain")

    do_HEAD = do_GET

    def do_POST(self) -> None:
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.path not in ("/api/chat", "/api/show", "/api/pull"):
            self.send(404, b"404 page not found", "text/plain")
        elif self.path == "/api/pull":
            self.send_lines([{"status": "pulling manifest"}, {"status": "success"}])
        elif full_name(request["model"]) not in self.state.models:
            self.send_json(404, {"error": f"model '{request['model']}' not found"})
        elif self.path == "/api/show":
            self.send_json(200, {"details": describe_model(request["model"])["details"], "model_info": {}})
        elif problems := find_misread(request):
            self.state.misread += problems
            self.send_json(400, {"error": "; ".join(problems)})
        else:
            self.chat(request, self.state.next_reply(request))

    def chat(self, request: dict[str, Any], reply: Reply) -> None:
        if reply.dropped:
            self.close_connection = True
            self.connection.shutdown(socket.SHUT_RDWR)
            return
        if reply.body is not None:
            self.send(reply.status, reply.body, reply.content_type)
            return
        answer = {
            "model": request["model"],
            "created_at": CREATED_AT,
            "message": {"role": "assistant", "content": reply.content},
            "done": True,
            "done_reason": reply.done_reason,
            "total_duration": 4_000_000,
            "load_duration": 1_000_000,
            "prompt_eval_duration": 2_000_000,
            "eval_count": reply.eval_count,
            "eval_duration": 1_000_000,
        }
        if reply.prompt_eval_count is not None:
            answer["prompt_eval_count"] = reply.prompt_eval_count
        if request.get("stream", True):  # as Ollama does where the field is absent
            first = {name: answer[name] for name in ("model", "created_at", "message")} | {"done": False}
            self.send_lines([first, answer | {"message": {"role": "assistant", "content": ""}}])
        else:
            body = json.dumps(answer).encode()
            self.send(reply.status, body, "application/json; charset=utf-8", cut=reply.half)

    def send_json(self, status: int, value: object) -> None:
        self.send(status, json.dumps(value).encode(), "application/json; charset=utf-8")

    def send_lines(self, values: list[dict[str, Any]]) -> None:
        self.send(200, b"".join(json.dumps(value).encode() + b"\n" for value in values), "application/x-ndjson")

    def send(self, status: int, body: bytes, content_type: str, cut: bool = False) -> None:
        try:
            self.send_response(status)
            self.send_header("Content-Type", content_type)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body[: len(body) // 2] if cut else body)
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True  # the client gave up waiting
        if cut:
            self.close_connection = True


def find_misread(request: dict[str, Any]) -> list[str]:
    """Options outside `options`, where Ollama ignores them, and names it does not know."""
    problems = [f"{name} outside options" for name in sorted(OPTIONS & set(request))]
    problems += [f"unknown field {name}" for name in sorted(set(request) - CHAT_FIELDS - OPTIONS)]
    problems += [f"unknown option {name}" for name in sorted(set(request.get("options", {})) - OPTIONS)]
    missing = {"seed", "temperature", "num_ctx"} - set(request.get("options", {}))
    return problems + [f"option {name} missing" for name in sorted(missing)]


def full_name(model: str) -> str:
    return model if ":" in model else f"{model}:latest"


def describe_model(name: str) -> dict[str, Any]:
    return {
        "name": name,
        "model": name,
        "modified_at": CREATED_AT,
        "size": 4_661_224_676,
        "digest": digest_of(name),
        "details": {
            "parent_model": "",
            "format": "gguf",
            "family": "llama",
            "families": ["llama"],
            "parameter_size": "8.0B",
            "quantization_level": "Q4_0",
        },
    }


def digest_of(name: str) -> str:
    return name.encode().hex().ljust(64, "0")[:64]


def unused_host() -> str:
    """An address at which nothing listens."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{unused.getsockname()[1]}"
