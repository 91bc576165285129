"""POST /v1/chat/completions: an instruction in, an answer out.

The models were trained on one instruction and its answer, so the prompt holds the last user message alone, as the chat
template in the model's folder: what was said before would only disturb. System messages are left out too.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, FailFast, Field
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from scratchlm.assistant.instructions import Entry, format_prompt
from scratchlm.serving.answer import Answer, check_length, unless_left
from scratchlm.serving.bodies import Refused, check, read_body
from scratchlm.serving.engine import NewToken
from scratchlm.serving.events import EventStream
from scratchlm.serving.generation_body import MOST_LOGPROBS, GenerationBody, Tokens
from scratchlm.serving.replies import head, token_text, usage
from scratchlm.serving.shelf import Served, Shelf
from scratchlm.serving.text_stream import TextStream
from scratchlm.tokenizer.protocol import Tokenizer


class TextPart(BaseModel):
    """A part of a message; no other kinds are understood. Clients add further keys, such as `cache_control`."""

    model_config = ConfigDict(strict=True)

    type: Literal["text"]
    text: str


def as_parts(content: Any) -> Any:
    """Turn a single text, or none, into a list of parts."""
    if content is None:
        return []
    return [{"type": "text", "text": content}] if isinstance(content, str) else content


class Message(BaseModel):
    """What the user said; clients add further keys."""

    model_config = ConfigDict(strict=True)

    role: str
    content: Annotated[list[TextPart], FailFast(), BeforeValidator(as_parts)] = []

    def text(self) -> str:
        """Return the content as one text."""
        return "".join(part.text for part in self.content)


class ChatBody(GenerationBody):
    """A chat, of which the last message is answered."""

    messages: list[Any] = Field(min_length=1)  # only the last is read, so the others may be anything
    max_tokens: Annotated[Tokens, Field(ge=1)] | None = None  # None: until the context is full
    max_completion_tokens: Annotated[Tokens, Field(ge=1)] | None = None  # OpenAI's new name for it
    echo: Literal[False] = False
    logprobs: bool = False
    top_logprobs: int = Field(0, ge=0, le=MOST_LOGPROBS)

    def instruction(self) -> str:
        """Return the last message; raise Refused unless it is the user's and has a text."""
        last = check(self.messages[-1], Message, at=f"messages.{len(self.messages) - 1}.")
        if last.role != "user":
            raise Refused(400, f"messages: the last one is of role {last.role}, wanted user", "messages")
        if not last.text().strip():
            raise Refused(400, "messages: the last one is empty, wanted an instruction", "messages")
        return last.text()


def routes(shelf: Shelf) -> list[Route]:
    """Return the route, below /v1."""

    async def chat(request: Request) -> Response:
        body = await read_body(request, ChatBody)
        instruction = body.instruction()
        served = await shelf.find(body.model)
        ids = await run_in_threadpool(prompt_ids, served, instruction)
        check_length(ids, served, "messages")
        limits = [limit for limit in (body.max_tokens, body.max_completion_tokens) if limit is not None]
        longest = min(limits, default=served.model.config.context_length)
        text = TextStream(served.tokenizer, body.stop, strips=True)
        n_logprobs = body.top_logprobs if body.logprobs else None
        answer = Answer(served, ids, longest, body.sampling(), text, n_logprobs)
        if body.stream:
            return EventStream(chunks(body, served, ids, answer), [answer])
        return JSONResponse(await unless_left(request, whole(body, served, ids, answer), [answer]))

    return [Route("/chat/completions", chat, methods=["POST"])]


def prompt_ids(served: Served, instruction: str) -> list[int]:
    """Return the prompt as the model sees it."""
    entry = Entry(instruction=instruction, input="", output="")
    return served.tokenizer.encode_ordinary(format_prompt(entry, served.style))


async def whole(body: ChatBody, served: Served, ids: Sequence[int], answer: Answer) -> dict[str, Any]:
    """Return the reply when the answer has ended."""
    pieces = [piece async for piece in answer.pieces()]
    tokens = [token for piece in pieces for token in piece.tokens]
    message = {"role": "assistant", "content": "".join(piece.text for piece in pieces), "refusal": None}
    choice = {
        "index": 0,
        "message": message,
        **_details(body, served.tokenizer, tokens),
        "finish_reason": answer.finish,
    }
    reply = head("chatcmpl", "chat.completion", body.model)
    reply |= {"choices": [choice], "usage": usage(len(ids), answer.n_tokens)}
    return reply | ({"prompt_token_ids": list(ids)} if body.return_token_ids else {})


async def chunks(body: ChatBody, served: Served, ids: Sequence[int], answer: Answer) -> AsyncIterator[dict[str, Any]]:
    """Yield the events of a stream: the role, the text as it comes, the reason of the end, and perhaps the counts."""
    start = head("chatcmpl", "chat.completion.chunk", body.model)
    if body.stream_options.include_usage:
        start["usage"] = None  # in all events but the last

    def event(delta: dict[str, str], tokens: Sequence[NewToken] = (), finish: str | None = None) -> dict[str, Any]:
        details = _details(body, served.tokenizer, tokens)
        return {**start, "choices": [{"index": 0, "delta": delta, **details, "finish_reason": finish}]}

    first = event({"role": "assistant", "content": ""})
    yield first | ({"prompt_token_ids": list(ids)} if body.return_token_ids else {})
    async for piece in answer.pieces():
        if piece.text or body.logprobs or body.return_token_ids:
            yield event({"content": piece.text}, piece.tokens)
    yield event({}, finish=answer.finish)
    if body.stream_options.include_usage:
        yield {**start, "choices": [], "usage": usage(len(ids), answer.n_tokens)}


def _details(body: ChatBody, tokenizer: Tokenizer, tokens: Sequence[NewToken]) -> dict[str, Any]:
    """Return what a choice says of its tokens, as far as it was asked for."""
    found: dict[str, Any] = {"logprobs": None}
    if body.logprobs and tokens:
        found["logprobs"] = {"content": [_described(tokenizer, token) for token in tokens], "refusal": None}
    if body.return_token_ids:
        found["token_ids"] = [token.id for token in tokens]
    return found


def _described(tokenizer: Tokenizer, token: NewToken) -> dict[str, Any]:
    def one(index: int, logprob: float | None) -> dict[str, Any]:
        content = tokenizer.decode_single_token_bytes(index)
        return {"token": token_text(tokenizer, index), "logprob": logprob, "bytes": list(content)}

    return one(token.id, token.logprob) | {"top_logprobs": [one(*likely) for likely in token.likeliest]}
