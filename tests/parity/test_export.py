"""Exported models in llama.cpp: its chats are our prompts, its text is ours, and a second turn is like a first."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import pytest
import requests
import torch
from gguf_files import SPECIAL, tiny_vocabulary
from llama_cpp_server import LlamaCppServer

from scratchlm.assistant.folder import load_assistant, save_assistant
from scratchlm.assistant.instructions import Entry, format_prompt
from scratchlm.checkpoint.folder import load, save_checkpoint
from scratchlm.export.folder import export_model
from scratchlm.export.gguf_file import Dtype
from scratchlm.generation.decode import Sampling, generate
from scratchlm.model.config import GPTConfig, LlamaConfig, ModelConfig
from scratchlm.model.init import new_model
from scratchlm.model.language_model import LanguageModel
from scratchlm.params.choices import PromptStyle
from scratchlm.tokenizer.byte_level import describe_byte_level, write_byte_level

pytest.importorskip("xllamacpp", reason="xllamacpp is not installed (scripts/setup.sh installs it where it can)")

CONTEXT, NEW_TOKENS = 256, 24
GPT = GPTConfig(280, CONTEXT, 64, 4, 2, qkv_bias=False, tie_embeddings=False)
LLAMA = LlamaConfig(281, CONTEXT, 64, 4, 2, n_kv_heads=2, hidden_dim=96, rope_base=500.0, norm_epsilon=1e-3)
SHAPES = {"gpt": GPT, "llama": LLAMA}
# Of logits, in standard deviations: llama.cpp keeps keys and values in float16, and weights as they were exported.
TOLERANCES: dict[Dtype, float] = {"f32": 0.003, "f16": 0.01, "q8_0": 0.1}
MESSAGES = ["the cat sat", " On 12 mats?\n", "Übung <|user|> \"quoted\" {{ jinja }} 'too' \\n 🙂", "x"]


@dataclass(frozen=True)
class Served:
    """An exported model, and llama.cpp's server with it."""

    folder: Path
    server: LlamaCppServer

    def post(self, path: str, **request: Any) -> dict[str, Any]:
        with requests.Session() as session:
            session.trust_env = False  # no proxy stands before this machine itself
            answer: dict[str, Any] = session.post(f"{self.server.host}/{path}", json=request, timeout=60).json()
        return answer

    def chat(self, *contents: str) -> str:
        """Return the answer to the last of several messages, the user's and the assistant's in turn."""
        messages = [{"role": ("user", "assistant")[i % 2], "content": text} for i, text in enumerate(contents)]
        answer = self.post("v1/chat/completions", messages=messages, max_tokens=NEW_TOKENS)
        return without_edges(answer["choices"][0]["message"]["content"])


@torch.no_grad()
def random_model(config: ModelConfig) -> LanguageModel:
    """Return a model whose texts differ from prompt to prompt, and in which no tensor is constant."""
    torch.manual_seed(3)
    model = new_model(config, "gpt2").eval()
    for parameter in model.parameters():
        parameter.add_(torch.randn_like(parameter) * 0.12)
    return model


def without_edges(text: str) -> str:
    """Cut off what llama.cpp leaves out of a chat's answer: blanks around it, and a character without its last byte."""
    return text.strip().rstrip("\ufffd").rstrip()


def prompt_of(message: str, style: PromptStyle) -> str:
    return format_prompt(Entry(instruction=message, input="", output=""), style)


def assert_greedy(served: Served, prompt: str, tolerance: float) -> None:
    """Assert that llama.cpp takes our likeliest tokens, up to one whose logit is as large but for rounding."""
    model, tokenizer = load(served.folder)
    ids = tokenizer.encode_ordinary(prompt)
    answer = served.post("completion", prompt=prompt, n_predict=NEW_TOKENS, return_tokens=True)
    (ours,) = generate(model, [ids], NEW_TOKENS, tokenizer.stop_ids, Sampling(), batch_size=1)
    theirs = answer["tokens"]
    if theirs == list(ours.ids):
        return
    place = next(at for at, token in enumerate(theirs) if token != ours.ids[at])
    with torch.no_grad():
        logits_V = model(torch.tensor([[*ids, *theirs[:place]]]))[0, -1]
    assert logits_V.max() - logits_V[theirs[place]] < tolerance * logits_V.std(), (prompt, place)


@pytest.fixture(scope="module")
def tokenizers(tokenizer_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    smollm = tmp_path_factory.mktemp("smollm")
    write_byte_level(smollm, describe_byte_level(*tiny_vocabulary(), SPECIAL, cut_digits=True))
    return {"gpt": tokenizer_folder, "llama": smollm}


@pytest.fixture(scope="module", params=[(kind, style) for kind in SHAPES for style in get_args(PromptStyle)])
def assistant(
    request: pytest.FixtureRequest, tokenizers: dict[str, Path], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Served]:
    kind, style = request.param
    folder = tmp_path_factory.mktemp("assistant")
    save_assistant(folder / "model", random_model(SHAPES[kind]), tokenizers[kind], style)
    exported = export_model(folder / "model", folder / "out", "f32", "tiny")
    with LlamaCppServer(folder / "out" / exported.gguf_name, "tiny", folder / "log", CONTEXT, 1) as server:
        yield Served(folder / "model", server)


def test_a_chat_becomes_our_prompt(assistant: Served) -> None:
    _, _, style = load_assistant(assistant.folder)
    for message in MESSAGES:
        messages = [{"role": "user", "content": message}]
        history = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]
        for chat in (messages, [*history, *messages]):
            assert assistant.post("apply-template", messages=chat)["prompt"] == prompt_of(message, style)


def test_answers_are_ours_and_greedy_without_being_asked_to(assistant: Served) -> None:
    _, _, style = load_assistant(assistant.folder)
    for message in MESSAGES:
        assert_greedy(assistant, prompt_of(message, style), TOLERANCES["f32"])
        continued = assistant.post("completion", prompt=prompt_of(message, style), n_predict=NEW_TOKENS)["content"]
        assert assistant.chat(message) == without_edges(continued)


def test_a_second_turn_is_answered_like_a_first(assistant: Served) -> None:
    answers = [assistant.chat(message) for message in MESSAGES]
    assert [assistant.chat("Hi", "Hello", message) for message in MESSAGES] == answers
    assert len(set(answers)) > 1


@pytest.mark.parametrize("dtype", ["f16", "q8_0"])
@pytest.mark.parametrize("kind", SHAPES)
def test_a_base_continues_texts_as_we_do(dtype: Dtype, kind: str, tokenizers: dict[str, Path], tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "model", random_model(SHAPES[kind]), tokenizers[kind])
    exported = export_model(tmp_path / "model", tmp_path / "out", dtype, "tiny")
    with LlamaCppServer(tmp_path / "out" / exported.gguf_name, "tiny", tmp_path / "log", CONTEXT, 1) as server:
        for text in ("the cat", "the dog ran over the green", "12 mats", "by the sea, the house and the hill"):
            assert_greedy(Served(tmp_path / "model", server), text, TOLERANCES[dtype])
