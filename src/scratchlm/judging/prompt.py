"""What a judge is asked and how its answer is read: a prompt with its parser, of which there are two."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.resources import files
from string import Template
from typing import Any

from scratchlm.assistant.instructions import Entry, format_task
from scratchlm.judging import book_prompt, rubric_prompt
from scratchlm.judging.reading import Reading
from scratchlm.params.choices import PromptName


@dataclass(frozen=True)
class JudgePrompt:
    """A question to a judge and the reading of its answer, both without side effects."""

    name: PromptName
    schema: dict[str, Any] | None  # JSON schema that the server is asked to keep to, None for free text
    reminder: str  # the line that is added when a first answer could not be read
    render: Callable[[Mapping[str, Any], str], str]  # entry, response -> the prompt
    parse: Callable[[str], Reading]
    parse_leniently: Callable[[str], Reading]  # the same where `parse` finds a score, for the last try


def load_prompt(name: PromptName) -> JudgePrompt:
    """Read a prompt's template from the file of its name; an entry is one of data/responses.json."""
    text = files("scratchlm.judging").joinpath(f"prompts/{name}.txt").read_text(encoding="utf-8")
    template = Template(text.removesuffix("\n"))
    if name == "book":
        return JudgePrompt(
            name=name,
            schema=None,  # the book's judge is free to ramble
            reminder="Respond with one integer from 0 to 100 and nothing else.",
            render=lambda entry, response: book_prompt.render(template, _books_task(entry), entry["output"], response),
            parse=book_prompt.parse,
            parse_leniently=book_prompt.parse,  # it needs no format to begin with
        )
    return JudgePrompt(
        name=name,
        schema=rubric_prompt.SCHEMA,
        reminder='Answer with the JSON object alone: {"reason": "<one or two sentences>", "level": <1 to 5>}',
        render=lambda entry, response: rubric_prompt.render(
            template, entry["instruction"], entry["input"], entry["output"], response
        ),
        parse=rubric_prompt.parse,
        parse_leniently=rubric_prompt.parse_leniently,
    )


def _books_task(entry: Mapping[str, Any]) -> str:
    """The instruction and its input as the book's judge is shown them, in whatever style the model was asked."""
    return format_task(Entry(instruction=entry["instruction"], input=entry["input"], output=entry["output"]), "alpaca")
