"""Ollama's files: what its template makes of a chat is our prompt, and its parameters keep within the context."""

from __future__ import annotations

import re
from inspect import signature
from pathlib import Path
from typing import Any, get_args

import pytest

from scratchlm import cli
from scratchlm.assistant.instructions import Entry, format_prompt
from scratchlm.export.ollama import go_template, modelfile, parameters
from scratchlm.export.vocabulary import read_vocabulary
from scratchlm.params.choices import PromptStyle
from scratchlm.tokenizer.folder import read_hugging_face_tokenizer

MESSAGES = ["Hi", "Hello", "Name {{ .Prompt }} \\ \"three\" 'fruits'.\n"]


def rendered(template: str, messages: list[str]) -> str:
    """Render what Go renders of this one form of template: a body for each message that ends the list."""
    found = re.fullmatch(
        r"\{\{ range \$i, \$_ := \.Messages \}\}\{\{ if eq \(len \(slice \$\.Messages \$i\)\) 1 \}\}(.*)\{\{ end \}\}"
        r"\{\{ end \}\}",
        template,
        re.DOTALL,
    )
    assert found is not None and found[1].count("{{") == 1
    bodies = [found[1].split("{{ .Content }}") for i in range(len(messages)) if len(messages[i:]) == 1]
    return "".join(before + messages[-1] + after for before, after in bodies)


@pytest.mark.parametrize("style", get_args(PromptStyle))
def test_the_template_makes_our_prompt_of_the_last_message(style: Any) -> None:
    expected = format_prompt(Entry(instruction=MESSAGES[-1], input="", output=""), style)
    assert rendered(go_template(style), MESSAGES) == rendered(go_template(style), MESSAGES[-1:]) == expected


def test_a_model_of_texts_gets_the_text_alone() -> None:
    assert go_template(None) == "{{ .Prompt }}"


def test_answers_are_greedy_and_leave_half_of_the_context_to_the_prompt() -> None:
    assert parameters(160, ["<|end|>"]) == {"num_ctx": 160, "num_predict": 80, "stop": ["<|end|>"], "temperature": 0}
    assert parameters(8192, [])["num_predict"] == signature(cli.ask).parameters["tokens"].default


def test_an_answer_ends_with_every_token_that_ends_ours(smollm_tokenizer: Path) -> None:
    tokenizer = read_hugging_face_tokenizer(smollm_tokenizer)
    assert read_vocabulary(smollm_tokenizer).stops == [
        tokenizer.decode_single_token_bytes(index).decode() for index in sorted(tokenizer.stop_ids)
    ]


def test_the_modelfile_says_the_same_as_the_two_files_of_the_hub() -> None:
    text = modelfile("a-F16.gguf", "{{ .Prompt }}\n", parameters(64, ["<|endoftext|>", "<|im_end|>"]), "")
    assert text.splitlines() == [
        "FROM ./a-F16.gguf",
        'TEMPLATE """{{ .Prompt }}',
        '"""',
        "PARAMETER num_ctx 64",
        "PARAMETER num_predict 32",
        'PARAMETER stop "<|endoftext|>"',
        'PARAMETER stop "<|im_end|>"',
        "PARAMETER temperature 0",
    ]


def test_a_licence_goes_with_the_modelfile() -> None:
    assert modelfile("a", "b", {}, "Be kind.\n").endswith('LICENSE """Be kind.\n"""\n')
