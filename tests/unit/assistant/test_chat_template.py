"""The chat template: `format_prompt` for the last message of the user, whatever is in it, and nothing else."""

from __future__ import annotations

from pathlib import Path
from typing import Any, get_args

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from jinja2 import TemplateError
from transformers import AutoTokenizer

from scratchlm.assistant.folder import save_assistant
from scratchlm.assistant.instructions import Entry, format_prompt, format_task, split_entries
from scratchlm.model.config import GPTConfig
from scratchlm.model.init import new_model
from scratchlm.params.choices import PromptStyle
from scratchlm.sample.instructions import entries

STYLES: tuple[PromptStyle, ...] = get_args(PromptStyle)
ANY_STYLE = pytest.mark.parametrize("style", STYLES)
SNIPPETS = [
    "{{ 1 }}",
    "{% raw %}",
    "{#",
    "\\n",
    "\n",
    "\r\n",
    "  ",
    "\t",
    '"',
    "'",
    "<b>",
    "&amp;",
    "<|user|>",
    "\0",
    "é",
]
CONTENT = st.text() | st.lists(st.sampled_from(SNIPPETS) | st.text(max_size=3), max_size=8).map("".join)


@pytest.fixture(scope="module")
def tokenizers(tokenizer_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What transformers reads from an assistant's folder of each style."""
    folder = tmp_path_factory.mktemp("assistants")
    for style in STYLES:
        save_assistant(folder / style, new_model(GPTConfig(280, 64, 8, 1, 1), "book"), tokenizer_folder, style)
    return {style: AutoTokenizer.from_pretrained(folder / style) for style in STYLES}


def rendered(tokenizer: Any, *messages: tuple[str, Any]) -> str:
    chat = [{"role": role, "content": content} for role, content in messages]
    text = tokenizer.apply_chat_template(chat, tokenize=False, add_generation_prompt=True)
    assert isinstance(text, str)
    return text


def prompt(content: str, style: PromptStyle) -> str:
    return format_prompt(Entry(instruction=content, input="", output=""), style)


@given(content=CONTENT, style=st.sampled_from(STYLES))
@example(content="", style="alpaca")
@example(content=" \n a \n\n", style="phi3")
def test_a_message_becomes_the_prompt_of_training(tokenizers: dict[str, Any], content: str, style: PromptStyle) -> None:
    assert rendered(tokenizers[style], ("user", content)) == prompt(content, style)


@ANY_STYLE
def test_all_test_instructions_become_their_prompts(tokenizers: dict[str, Any], style: PromptStyle) -> None:
    _, _, test = split_entries(entries(), 0.85, 0.1)
    assert len(test) == 110 and any(entry["input"] for entry in test)
    nothing = format_task(Entry(instruction="", input="", output=""), style)
    for entry in test:
        message = format_task(entry, style).removeprefix(nothing)
        assert rendered(tokenizers[style], ("user", message)) == format_prompt(entry, style)


@given(before=CONTENT, answer=CONTENT, content=CONTENT, style=st.sampled_from(STYLES))
def test_a_later_turn_is_rendered_like_a_first(
    tokenizers: dict[str, Any], before: str, answer: str, content: str, style: PromptStyle
) -> None:
    later = (("system", "Be brief."), ("user", before), ("assistant", answer), ("user", content))
    assert rendered(tokenizers[style], *later) == prompt(content, style)


@ANY_STYLE
@pytest.mark.parametrize(
    "chat", [[("assistant", "Hello.")], [("user", [{"type": "text", "text": "Hello."}])], [("user", None)]]
)
def test_a_chat_without_a_text_of_the_user_is_refused(
    tokenizers: dict[str, Any], style: PromptStyle, chat: list[tuple[str, Any]]
) -> None:
    with pytest.raises(TemplateError, match=r"^wanted a message with the role user and a text as its content: "):
        rendered(tokenizers[style], *chat)
