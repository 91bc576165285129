"""A local server that speaks the OpenAI-compatible API, for tests: scripted, with the faults of scripted_server.py.

It is as strict as the strictest: it requires its key and refuses unknown parameters and schemas that strict mode
would refuse.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from typing import Any, ClassVar

from scripted_server import ApiHandler, Reply, ScriptedServer

CREATED = 1_735_689_600
CHAT_FIELDS = {
    *("model", "messages", "temperature", "top_p", "n", "stop", "seed", "stream"),
    *("max_tokens", "max_completion_tokens", "response_format"),
}


class OpenAiHandler(ApiHandler):
    def do_GET(self) -> None:
        if not self.let_in():
            return
        if self.path == "/v1/models":
            listed = [
                # No part of the API, but some servers tell one.
                {"id": name, "object": "model", "created": CREATED, "owned_by": "us", "digest": f"of {name}"}
                for name in self.state.models
            ]
            self.send_json(200, {"object": "list", "data": listed})
        else:
            self.send_error_object(404, f"Unknown request URL: GET {self.path}", None)

    def do_POST(self) -> None:
        request = self.read_request()
        if not self.let_in():
            return
        if self.path != "/v1/chat/completions":
            self.send_error_object(404, f"Unknown request URL: POST {self.path}", None)
        elif request.get("model") not in self.state.models:
            self.send_error_object(404, f"The model `{request.get('model')}` does not exist", "model_not_found")
        elif problems := find_refused(request, self.state.refused):
            self.send_error_object(400, "; ".join(problems), None)
        else:
            self.chat(request)

    def let_in(self) -> bool:
        """Note the request's Authorization and refuse a wrong one, with the key in the message, as some gateways do."""
        state = self.state
        given = self.headers.get("Authorization")
        state.authorizations.append(given)
        if state.moved_to:
            self.send_json(307, {}, Location=state.moved_to + self.path)
        elif state.key is not None and given != f"Bearer {state.key}":
            self.send_error_object(401, f"Incorrect API key provided: {given}", "invalid_api_key")
        else:
            return True
        return False

    def send_error_object(self, status: int, message: str, code: str | None) -> None:
        error = {"message": message, "type": "invalid_request_error", "param": None, "code": code}
        self.send_json(status, {"error": error})

    def chat_body(self, request: dict[str, Any], reply: Reply) -> tuple[bytes, str]:
        message = {"role": "assistant", "content": reply.content, "refusal": None}
        answer: dict[str, Any] = {
            "id": "chatcmpl-1",
            "object": "chat.completion",
            "created": CREATED,
            "model": request["model"],
            "choices": [{"index": 0, "message": message, "logprobs": None, "finish_reason": reply.done_reason}],
        }
        if reply.prompt_eval_count is not None:
            answer["usage"] = {
                "prompt_tokens": reply.prompt_eval_count,
                "completion_tokens": reply.eval_count,
                "total_tokens": reply.prompt_eval_count + reply.eval_count,
            }
        return json.dumps(answer).encode(), reply.content_type


@dataclass
class OpenAiServer(ScriptedServer):
    """An OpenAI-compatible server as a ScriptedServer; `url` is what OPENAI_BASE_URL holds.

    `key` None lets everyone in. `authorizations` keeps the Authorization header of every request, None where there
    was none. `refused` are parameters that this server does not take; `moved_to` sends everyone to another address.
    """

    models: tuple[str, ...] = ("tiny",)
    key: str | None = None
    refused: frozenset[str] = frozenset()
    moved_to: str = ""
    authorizations: list[str | None] = field(default_factory=list)
    handler: ClassVar[type[ApiHandler]] = OpenAiHandler

    @property
    def url(self) -> str:
        return f"{self.host}/v1"


def find_refused(request: dict[str, Any], refused: frozenset[str]) -> list[str]:
    """Return a strict server's objection to a request's parameters, nothing if it accepts them."""
    unknown = sorted((request.keys() - CHAT_FIELDS) | (request.keys() & refused))
    problems = [f"Unrecognized request argument supplied: {name}" for name in unknown]
    if not all(message.get("role") in ("system", "user", "assistant") for message in request.get("messages", [{}])):
        problems.append("Invalid value: 'messages'")
    form = request.get("response_format")
    if form is None or form == {"type": "text"}:
        return problems
    schema = form.get("json_schema", {})
    if form.get("type") != "json_schema" or not re.fullmatch(r"[a-zA-Z0-9_-]{1,64}", schema.get("name", "")):
        problems.append("Invalid value: 'response_format'")
    elif schema.get("strict"):
        shape = schema["schema"]
        if shape.get("additionalProperties") is not False or set(shape["required"]) != set(shape["properties"]):
            problems.append("Invalid schema: strict wants additionalProperties false and all properties required")
    return problems
