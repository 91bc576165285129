"""A local server that speaks Ollama's HTTP API, for tests, with the scripted answers and faults of scripted_server.py.

It answers scratchlm's requests as the real one does (in the shapes of Ollama's API documentation). A request with
an option where Ollama would ignore it gets a 400, which fails the test.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, ClassVar

from scripted_server import BUSY as BUSY
from scripted_server import DROPPED as DROPPED
from scripted_server import HALF as HALF
from scripted_server import HTML as HTML
from scripted_server import ApiHandler, Reply, ScriptedServer
from scripted_server import unused_host as unused_host

CREATED_AT = "2025-01-01T00:00:00Z"
OPTIONS: dict[str, type | tuple[type, ...]] = {
    "seed": int,
    "temperature": (int, float),
    "num_ctx": int,
    "num_predict": int,
    "top_k": int,
    "top_p": (int, float),
    "stop": list,
}
NEEDED_OPTIONS = {"seed", "temperature", "num_ctx"}
CHAT_FIELDS = {"model", "messages", "stream", "think", "format", "options", "keep_alive", "tools"}
NDJSON = "application/x-ndjson"


class OllamaHandler(ApiHandler):
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
        request = self.read_request()
        if self.path not in ("/api/chat", "/api/show", "/api/pull"):
            self.send(404, b"404 page not found", "text/plain")
        elif self.path == "/api/pull":
            self.pull(request)
        elif full_name(request["model"]) not in self.state.models:
            self.send_json(404, {"error": f"model '{request['model']}' not found"})
        elif self.path == "/api/show":
            self.send_json(200, {"details": describe_model(request["model"])["details"], "model_info": {}})
        elif problems := find_misread(request):
            self.state.misread += problems
            self.send_json(400, {"error": "; ".join(problems)})
        else:
            self.chat(request)

    def pull(self, request: dict[str, Any]) -> None:
        name = full_name(request["model"])
        digest = f"sha256:{digest_of(name)}"
        steps = [
            {"status": "pulling manifest"},
            {"status": f"pulling {digest[7:19]}", "digest": digest, "total": 4096, "completed": 4096},
            {"status": "verifying sha256 digest"},
            {"status": "writing manifest"},
            {"status": "success"},
        ]
        self.state.models = tuple({*self.state.models, name})
        if request.get("stream", True):
            self.send(200, lines(steps), NDJSON)
        else:
            self.send_json(200, steps[-1])

    def chat_body(self, request: dict[str, Any], reply: Reply) -> tuple[bytes, str]:
        answer: dict[str, Any] = {
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
        if not request.get("stream", True):  # Ollama streams where the field is absent
            return json.dumps(answer).encode(), reply.content_type
        first = {name: answer[name] for name in ("model", "created_at", "message")} | {"done": False}
        return lines([first, answer | {"message": {"role": "assistant", "content": ""}}]), NDJSON


@dataclass
class OllamaServer(ScriptedServer):
    """Ollama with these models, as a ScriptedServer."""

    models: tuple[str, ...] = ("llama3:latest",)
    handler: ClassVar[type[ApiHandler]] = OllamaHandler


def find_misread(request: dict[str, Any]) -> list[str]:
    """Return options that Ollama would misread: outside `options`, of unknown name, or with values of another type."""
    options = request.get("options", {})
    problems = [f"{name} outside options" for name in sorted(OPTIONS.keys() & request.keys())]
    problems += [f"unknown field {name}" for name in sorted(request.keys() - CHAT_FIELDS - OPTIONS.keys())]
    problems += [f"unknown option {name}" for name in sorted(options.keys() - OPTIONS.keys())]
    problems += [f"option {name} missing" for name in sorted(NEEDED_OPTIONS - options.keys())]
    problems += [
        f"option {name} is {value!r}"
        for name, value in options.items()
        if name in OPTIONS and not isinstance(value, OPTIONS[name])
    ]
    if not isinstance(request.get("format", {}), dict):
        problems.append(f"format is {request['format']!r}, no schema")
    return problems


def lines(values: list[dict[str, Any]]) -> bytes:
    return b"".join(json.dumps(value).encode() + b"\n" for value in values)


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
