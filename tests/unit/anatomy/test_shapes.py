"""The table of shapes has the shapes of the real computation."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch

from scratchlm.anatomy.shapes import (
    EXAMPLES,
    GPT2_EXAMPLE_IDS,
    LEGEND,
    LLAMA_LEGEND,
    Step,
    describe_shapes,
    trace_shapes,
)
from scratchlm.bases.gpt2 import SHAPES, gpt2_config
from scratchlm.errors import InputError
from scratchlm.model.config import GPTConfig, LlamaConfig, ModelConfig
from scratchlm.model.init import new_model
from scratchlm.model.language_model import LanguageModel, n_parameters
from scratchlm.tokenizer.folder import read_tokenizer

BOOK_124M = GPTConfig(50257, 1024, 768, 12, 12, 0.1, qkv_bias=False, tie_embeddings=False)


def tiny(n_layers: int = 3, shortcuts: bool = True, tie: bool = True, bias: bool = True) -> GPTConfig:
    return GPTConfig(70, 20, 24, 3, n_layers, 0.1, qkv_bias=bias, tie_embeddings=tie, shortcuts=shortcuts)


def tiny_llama(n_layers: int = 3, tie: bool = True, n_kv_heads: int = 2) -> LlamaConfig:
    sizes = {"n_kv_heads": n_kv_heads, "hidden_dim": 40, "rope_base": 1e4}
    return LlamaConfig(70, 20, 32, 4, n_layers, 0.1, tie_embeddings=tie, **sizes)


SMOLLM2_135M = LlamaConfig(49152, 8192, 576, 9, 30, n_kv_heads=3, hidden_dim=1536, rope_base=1e5)
SIZES = {"B": 2, "T": 5, "D": 24, "3D": 72, "4D": 96, "H": 3, "K": 8, "V": 70}
LLAMA_SIZES = {"B": 2, "T": 5, "D": 32, "H": 4, "G": 2, "K": 8, "GK": 16, "I": 40, "V": 70}
VARIANTS = [
    tiny(),
    tiny(n_layers=1),
    tiny(n_layers=2, bias=False),
    tiny(shortcuts=False),
    tiny(tie=False),
    tiny_llama(),
    tiny_llama(n_layers=2, tie=False),
]


def by_name(steps: Sequence[Step]) -> dict[str, Step]:
    return {step.name: step for step in steps}


@pytest.mark.parametrize("config", VARIANTS)
def test_letters_stand_for_the_numbers_beside_them(config: ModelConfig) -> None:
    sizes = LLAMA_SIZES if isinstance(config, LlamaConfig) else SIZES
    for step in trace_shapes(config, 2, 5):
        assert tuple(sizes[letter] for letter in step.letters) == tuple(step.shape), step


@pytest.mark.parametrize("config", VARIANTS)
def test_shapes_and_parameters_are_those_of_a_model_with_numbers(config: ModelConfig) -> None:
    model = new_model(config, "gpt2").eval()
    seen = {}
    for name, module in model.named_modules():
        module.register_forward_hook(lambda module, inputs, output, name=name: seen.update({name: output.shape}))
    logits = model(torch.zeros(2, 5, dtype=torch.int64))
    steps = trace_shapes(config, 2, 5)
    compared = 0
    for step in steps:
        name = f"h.0.{step.name}" if step.inside_block else step.name
        if name in seen:
            assert step.shape == seen[name]
            assert step.parameters == n_parameters(model.get_submodule(name))
            compared += 1
    # If there are two blocks, the second has its own line; a tied head is no module.
    n_always = 12 if isinstance(config, LlamaConfig) else 10
    assert compared == n_always + (config.n_layers == 2) + (not config.tie_embeddings)
    assert steps[-1].shape == logits.shape
    assert sum(step.parameters for step in steps if not step.inside_block) == n_parameters(model)
    inside = sum(step.parameters for step in steps if step.inside_block)
    assert inside == by_name(steps)["h.0"].parameters


def test_the_other_blocks_share_one_line() -> None:
    assert "h.1 to h.4" in by_name(trace_shapes(tiny(n_layers=5), 1, 1))
    assert "h.1" in by_name(trace_shapes(tiny(n_layers=2), 1, 1))
    assert [step.name for step in trace_shapes(tiny(n_layers=1), 1, 1)][-3:] == ["h.0", "ln_f", "wte as head"]


def test_a_llama_shows_groups_rotation_and_gate_but_no_positions() -> None:
    steps = by_name(trace_shapes(tiny_llama(n_kv_heads=1), 2, 5))
    assert steps["q turned"].shape == (2, 4, 5, 8)
    assert steps["k turned"].shape == steps["v"].shape == (2, 1, 5, 8)
    assert steps["weights"].shape == (2, 4, 5, 5)
    assert steps["gate * up"].shape == (2, 5, 40)
    assert not {"wpe", "wte + wpe"} & steps.keys()


def test_the_legend_explains_every_letter_and_no_other() -> None:
    for config, expected in ((tiny(), [LEGEND]), (tiny_llama(), [LEGEND, LLAMA_LEGEND])):
        lines = describe_shapes(config, ["a"], [[1]]).splitlines()
        assert lines[lines.index(LEGEND) :][: len(expected) + 1] == [*expected, ""]
        explained = {part.split()[0] for line in expected for part in line.split(", ")}
        used = {letter for step in trace_shapes(config, 1, 1) for letters in step.letters for letter in letters}
        assert used - set("34") == explained


def test_without_shortcuts_the_table_has_none() -> None:
    assert "+ shortcut" in by_name(trace_shapes(tiny(), 1, 1))
    assert "+ shortcut" not in by_name(trace_shapes(tiny(shortcuts=False), 1, 1))


def test_the_books_two_texts_give_the_books_shapes_and_counts() -> None:
    lines = describe_shapes(BOOK_124M, EXAMPLES, GPT2_EXAMPLE_IDS).splitlines()
    assert lines[0] == '"Every effort moves you"  6109 3626 6100 345'
    assert any(re.fullmatch(r"ids +\[B, T\] += \[2, 4\] +2.5 token ids", line) for line in lines)
    assert any(re.fullmatch(r"lm_head +\[B, T, V\] += \[2, 4, 50257\] +4.6 logits +38,597,376", line) for line in lines)
    # The size is the book's too, in section 4.6.
    assert lines[-2].split() == ["head", "tied", "to", "wte", "124,412,160", "474.59"]
    assert lines[-1].split() == ["head", "of", "its", "own", "(this", "model)", "163,009,536", "621.83"]


@pytest.mark.mirror
def test_the_ids_of_the_books_texts_are_gpt2s(mirror: Path) -> None:
    tokenizer = read_tokenizer(mirror)
    assert tuple(tuple(tokenizer.encode_ordinary(text)) for text in EXAMPLES) == GPT2_EXAMPLE_IDS


@pytest.mark.parametrize(
    ("config", "n_steps"),
    [*((gpt2_config(size), 20) for size in SHAPES), (SMOLLM2_135M, 23)],
    ids=[*SHAPES, "SmolLM2"],
)
def test_lines_fit_80_columns_and_shapes_stand_in_one(config: ModelConfig, n_steps: int) -> None:
    lines = describe_shapes(config, ["a text " * 50] * 9, [[40000] * 999] * 9).splitlines()
    assert max(map(len, lines)) <= 80
    table = [line for line in lines if " = [" in line]
    assert len({line.index(" = [") for line in table}) == 1
    assert len(table) == n_steps


def test_nothing_is_computed(monkeypatch: pytest.MonkeyPatch) -> None:
    devices = set()
    forward = LanguageModel.forward

    def watched(self: LanguageModel, ids_BT: torch.Tensor) -> torch.Tensor:
        logits = forward(self, ids_BT)
        devices.update({logits.device.type, *(parameter.device.type for parameter in self.parameters())})
        return logits

    monkeypatch.setattr(LanguageModel, "forward", watched)
    for config in (gpt2_config("1558M"), SMOLLM2_135M):
        trace_shapes(config, 2, 4)
    assert devices == {"meta"}


def test_texts_of_different_lengths_are_refused_with_their_lengths() -> None:
    with pytest.raises(InputError, match=r'different numbers of tokens: 1 \("a"\), 2 \("a b"\); a batch is one tensor'):
        describe_shapes(tiny(), ["a", "a b"], [[1], [1, 2]])


@pytest.mark.parametrize(("n_tokens", "what"), [(0, "longer"), (21, "shorter")])
def test_a_text_that_the_model_cannot_take_is_refused(n_tokens: int, what: str) -> None:
    with pytest.raises(InputError, match=f"has {n_tokens} tokens, this model takes 1 to 20: give a {what} one"):
        trace_shapes(tiny(), 1, n_tokens)
