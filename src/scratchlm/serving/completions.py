"""POST /v1/completions: texts or token ids in, their continuations out; with `echo`, how likely the texts are."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Sequence
from typing import Annotated, Any

from pydantic import Field, PlainValidator
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from scratchlm.model.likelihood import score_tokens
from scratchlm.serving.answer import Answer, Piece, check_length, unless_left
from scratchlm.serving.bodies import Refused, read_body
from scratchlm.serving.engine import NewToken
from scratchlm.serving.events import EventStream
from scratchlm.serving.generation_body import MOST_LOGPROBS, GenerationBody, Tokens
from scratchlm.serving.replies import head, token_text, usage
from scratchlm.serving.shelf import Served, Shelf
from scratchlm.serving.side_thread import compute
from scratchlm.serving.text_stream import TextStream
from scratchlm.tokenizer.protocol import Tokenizer

MOST_PROMPTS = 64
SCORED_AT_ONCE = 4096  # tokens; the keys and values of more would take much memory

Prompt = str | list[int]


def as_prompts(value: Any) -> list[Prompt]:
    """Turn what OpenAI allows as a prompt into a list of prompts; raise ValueError for anything else."""
    prompts = [value] if isinstance(value, str) or (isinstance(value, list) and _are_ids(value)) else value
    if not isinstance(prompts, list) or not 0 < len(prompts) <= MOST_PROMPTS:
        raise ValueError(f"a text, a list of token ids, or a list of 1 to {MOST_PROMPTS} of these")
    if not (all(isinstance(one, str) for one in prompts) or all(isinstance(one, list) for one in prompts)):
        raise ValueError("either texts or lists of token ids")
    if not all(isinstance(one, str) or _are_ids(one) for one in prompts):
        raise ValueError("token ids, which are whole numbers")
    return prompts


def _are_ids(value: list[Any]) -> bool:
    return bool(value) and all(type(one) is int for one in value)


class CompletionBody(GenerationBody):
    """Prompts to continue."""

    prompt: Annotated[list[Prompt], PlainValidator(as_prompts)]
    max_tokens: Tokens = 16  # OpenAI's default; 0 with echo, to score a text alone
    echo: bool = False  # the prompt is a part of the text, and of the logprobs
    logprobs: int | None = Field(None, ge=0, le=MOST_LOGPROBS)  # so many likeliest tokens at each place


class Choice:
    """One prompt of a request, and its answer."""

    def __init__(self, body: CompletionBody, served: Served, index: int, ids: list[int]) -> None:
        self.index, self.ids = index, ids
        self.answer: Answer | None = None
        self._body, self._served = body, served
        self._text = TextStream(served.tokenizer, body.stop, before=ids)
        self._logprobs = None if body.logprobs is None else Logprobs(served.tokenizer, [] if body.echo else ids)

    def start(self) -> Answer:
        """Hand the prompt to the engine; raise Refused if it takes no more."""
        body = self._body
        # What evaluates a model drops the last token of an echo, so the end of the text must be one.
        shows_end = body.logprobs is not None
        answer = Answer(
            self._served, self.ids, body.max_tokens, body.sampling(self.index), self._text, body.logprobs, shows_end
        )
        self.answer = answer
        return answer

    async def whole(self, echoed: Sequence[NewToken]) -> dict[str, Any]:
        """Return the choice when the answer has ended."""
        pieces = [piece async for piece in self._pieces()]
        text = self._echo() + "".join(piece.text for piece in pieces)
        return self._part(text, echoed, [token for piece in pieces for token in piece.tokens], self._finish(), True)

    async def parts(self, echoed: Sequence[NewToken]) -> AsyncIterator[dict[str, Any]]:
        """Yield the choice in parts: the echo if there is one, what comes, and in the last the reason of the end."""
        yield self._part(self._echo(), echoed, (), is_first=True)
        async for piece in self._pieces():
            yield self._part(piece.text, (), piece.tokens)
        yield self._part("", (), (), self._finish())

    def n_new(self) -> int:
        """Return how many tokens were added to the prompt."""
        return 0 if self.answer is None else self.answer.n_tokens

    def _echo(self) -> str:
        if not self._body.echo:
            return ""
        # What the prompt leaves unfinished, an answer completes.
        return self._served.tokenizer.decode(self.ids) if self.answer is None else self._text.before

    def _finish(self) -> str | None:
        return "length" if self.answer is None else self.answer.finish

    async def _pieces(self) -> AsyncIterator[Piece]:
        if self.answer is not None:
            async for piece in self.answer.pieces():
                yield piece

    def _part(
        self,
        text: str,
        echoed: Sequence[NewToken],
        new: Sequence[NewToken],
        finish: str | None = None,
        is_first: bool = False,
    ) -> dict[str, Any]:
        part: dict[str, Any] = {"index": self.index, "text": text, "logprobs": None, "finish_reason": finish}
        if self._logprobs is not None and (echoed or new):
            part["logprobs"] = self._logprobs.describe([*echoed, *new])
        if self._body.return_token_ids:
            part["token_ids"] = [token.id for token in new]
            if is_first:
                part["prompt_token_ids"] = self.ids
        return part


class Logprobs:
    """What OpenAI says of an answer's tokens, in four lists; `before` are the prompt's, unless it is echoed."""

    def __init__(self, tokenizer: Tokenizer, before: Sequence[int]) -> None:
        self._tokenizer = tokenizer
        self._text = TextStream(tokenizer, before=before)
        self._offset = 0  # characters of the text before the next token

    def describe(self, tokens: Iterable[NewToken]) -> dict[str, list[Any]]:
        """Return the lists for the next tokens."""
        found: dict[str, list[Any]] = {"tokens": [], "token_logprobs": [], "top_logprobs": [], "text_offset": []}
        for token in tokens:
            name = token_text(self._tokenizer, token.id)
            top = {token_text(self._tokenizer, index): logprob for index, logprob in token.likeliest}
            found["tokens"].append(name)
            found["token_logprobs"].append(token.logprob)
            # Nothing says how likely the first token of a text is. The chosen one is always there.
            found["top_logprobs"].append(None if token.logprob is None else {name: token.logprob} | top)
            found["text_offset"].append(self._offset)
            self._offset += len(self._text.push(token.id))
        return found


def routes(shelf: Shelf) -> list[Route]:
    """Return the route, below /v1."""

    async def complete(request: Request) -> Response:
        body = await read_body(request, CompletionBody)
        served = await shelf.find(body.model)
        prompts = await run_in_threadpool(encode, served.tokenizer, body.prompt)
        for ids in prompts:
            check_length(ids, served, "prompt", n_new=min(body.max_tokens, 1))
        echoed: list[list[NewToken]] = [[] for _ in prompts]
        if body.echo and body.logprobs is not None:
            echoed = await unless_left(request, score(served, prompts, body.logprobs))
        choices = [Choice(body, served, index, ids) for index, ids in enumerate(prompts)]
        answers = start(choices) if body.max_tokens else []
        if body.stream:
            return EventStream(chunks(body, choices, echoed), answers)
        return JSONResponse(await unless_left(request, whole(body, choices, echoed), answers))

    return [Route("/completions", complete, methods=["POST"])]


def encode(tokenizer: Tokenizer, prompts: Sequence[Prompt]) -> list[list[int]]:
    """Return the ids of each prompt, in which special tokens count as such; raise Refused for unknown ids."""
    found = []
    for prompt in prompts:
        ids = tokenizer.encode(prompt, allowed_special="all") if isinstance(prompt, str) else prompt
        if not all(0 <= token < tokenizer.n_vocab for token in ids):
            raise Refused(400, f"prompt: wanted token ids from 0 to {tokenizer.n_vocab - 1}", "prompt")
        found.append(ids)
    return found


async def score(served: Served, prompts: Sequence[list[int]], n_likeliest: int) -> list[list[NewToken]]:
    """Return the prompts' tokens with how likely they are, several prompts at once."""
    found: list[list[NewToken]] = []
    while len(found) < len(prompts):
        batch = [prompts[len(found)]]
        while len(found) + len(batch) < len(prompts):
            longer = [*batch, prompts[len(found) + len(batch)]]
            if len(longer) * max(map(len, longer)) > SCORED_AT_ONCE:
                break
            batch = longer
        scores = await compute(score_tokens, served.model, batch, n_likeliest)
        for ids, scored in zip(batch, scores, strict=True):
            rows = zip(
                ids[1:],
                scored.log_probs_S.tolist(),
                scored.likeliest.tolist(),
                scored.likeliest_log_probs.tolist(),
                strict=True,
            )
            tokens = [
                NewToken(token, logprob, tuple(zip(top, values, strict=True))) for token, logprob, top, values in rows
            ]
            found.append([NewToken(ids[0]), *tokens])
    return found


def start(choices: Sequence[Choice]) -> list[Answer]:
    """Start all answers; raise Refused, with none started, if the engine takes no more."""
    answers: list[Answer] = []
    try:
        for choice in choices:
            answers.append(choice.start())
    except Refused:
        for answer in answers:
            answer.cancel()
        raise
    return answers


async def whole(
    body: CompletionBody, choices: Sequence[Choice], echoed: Sequence[Sequence[NewToken]]
) -> dict[str, Any]:
    """Return the reply when all answers have ended."""
    found = await asyncio.gather(*(choice.whole(tokens) for choice, tokens in zip(choices, echoed, strict=True)))
    return head("cmpl", "text_completion", body.model) | {"choices": found, "usage": _usage(choices)}


async def chunks(
    body: CompletionBody, choices: Sequence[Choice], echoed: Sequence[Sequence[NewToken]]
) -> AsyncIterator[dict[str, Any]]:
    """Yield the events of a stream, one choice after the other, and perhaps the counts."""
    start = head("cmpl", "text_completion", body.model)
    if body.stream_options.include_usage:
        start["usage"] = None  # in all events but the last
    for choice, tokens in zip(choices, echoed, strict=True):
        async for part in choice.parts(tokens):
            if part["text"] or part["finish_reason"] or part["logprobs"] or "token_ids" in part:
                yield {**start, "choices": [part]}
    if body.stream_options.include_usage:
        yield {**start, "choices": [], "usage": _usage(choices)}


def _usage(choices: Sequence[Choice]) -> dict[str, int]:
    return usage(sum(len(choice.ids) for choice in choices), sum(choice.n_new() for choice in choices))
