"""The shape of every tensor on the way from text to logits (the shape check of chapter 4.1).

The model runs on torch's meta device, where a tensor has a shape but no numbers. The shapes are those of the real
computation, but even the largest model needs no memory and almost no time.

Shape suffixes as in gpt.py and llama.py: B texts, T tokens, D emb_dim, H n_heads, K head_dim = D / H, V vocab_size,
and in a Llama G n_kv_heads, I hidden_dim.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Size, Tensor, nn

from scratchlm.errors import InputError
from scratchlm.files.text import shorten
from scratchlm.model.attention import attention_weights, for_each_query_head
from scratchlm.model.config import LlamaConfig, ModelConfig
from scratchlm.model.gpt import Block
from scratchlm.model.init import model_of
from scratchlm.model.language_model import n_parameters
from scratchlm.model.llama import LlamaBlock

EXAMPLES = ("Every effort moves you", "Every day holds a")  # the book's two texts
GPT2_EXAMPLE_IDS = ((6109, 3626, 6100, 345), (6109, 1110, 6622, 257))  # their ids in GPT-2's tokenizer
LEGEND = "B texts, T tokens, D emb_dim, H n_heads, K head_dim = D / H, V vocab_size"
LLAMA_LEGEND = "G n_kv_heads, I hidden_dim"
LINE = 80  # columns
FLOAT32_BYTES, MIB = 4, 2**20
BTD, BTI, BTV = ("B", "T", "D"), ("B", "T", "I"), ("B", "T", "V")
BHTK, BGTK, BHTT = ("B", "H", "T", "K"), ("B", "G", "T", "K"), ("B", "H", "T", "T")


@dataclass(frozen=True)
class Step:
    """One tensor: what makes it, its shape in letters and in numbers, and the section of the book."""

    name: str
    letters: tuple[str, ...]
    shape: tuple[int, ...]
    part: str
    parameters: int = 0  # of the module that makes it
    inside_block: bool = False


class Pass:
    """One pass of a model on the meta device: what each module got and what it made."""

    def __init__(self, config: ModelConfig, n_texts: int, n_tokens: int) -> None:
        self.got: dict[str, tuple[Any, ...]] = {}
        self.made: dict[str, Size] = {}
        with torch.device("meta"):  # where any operation, even an addition, imports torch's compiler: 0.9 s
            self.model = model_of(config).eval()
            self.ids_BT = torch.zeros(n_texts, n_tokens, dtype=torch.int64)
        for name, module in self.model.named_modules():
            self._watch(name, module)
        with torch.no_grad():
            self.logits_BTV = self.model(self.ids_BT)

    def _watch(self, name: str, module: nn.Module) -> None:
        def keep(module: nn.Module, inputs: tuple[Any, ...], output: Tensor) -> None:
            self.got[name], self.made[name] = inputs, output.shape

        module.register_forward_hook(keep)

    def module(self, name: str, letters: tuple[str, ...], part: str) -> Step:
        """Return the step of what a module makes."""
        return Step(name, letters, self.made[name], part, n_parameters(self.model.get_submodule(name)))

    def in_block(self, name: str, letters: tuple[str, ...], part: str) -> Step:
        """Return the step of what a module of the first block makes."""
        parameters = n_parameters(self.model.h[0].get_submodule(name))
        return Step(name, letters, self.made[f"h.0.{name}"], part, parameters, inside_block=True)

    def between(self, name: str, letters: tuple[str, ...], part: str, before: str) -> Step:
        """Return the step of what a module of the first block gets from no other module."""
        return Step(name, letters, self.got[f"h.0.{before}"][0].shape, part, inside_block=True)


def trace_shapes(config: ModelConfig, n_texts: int, n_tokens: int) -> list[Step]:
    """Return the steps of `n_texts` texts of `n_tokens` tokens through a model; only the first block is in detail.

    The section of a Llama's part is that of the GPT's part in whose place it stands.
    Raises InputError if the texts have no token, or more than the model can see.
    """
    if not 0 < n_tokens <= config.context_length:
        raise InputError(
            f"the text has {n_tokens} tokens, this model takes 1 to {config.context_length}: give a "
            f"{'shorter' if n_tokens else 'longer'} one"
        )
    run = Pass(config, n_texts, n_tokens)
    first, *rest = run.model.h
    others = []
    if rest:
        last = f"h.{len(rest)}"
        name = "h.1" if last == "h.1" else f"h.1 to {last}"
        part = "4.5 block" if last == "h.1" else "4.5 blocks"
        others = [Step(name, BTD, run.made[last], part, sum(map(n_parameters, rest)))]
    is_llama = isinstance(config, LlamaConfig)
    return [
        Step("ids", ("B", "T"), run.ids_BT.shape, "2.5 token ids"),
        run.module("wte", BTD, "2.7 tokens"),
        *([] if is_llama else _learned_positions(run)),
        *(_llama_block(run, cast(LlamaBlock, first)) if is_llama else _gpt_block(run, cast(Block, first))),
        run.module("h.0", BTD, "4.5 block"),
        *others,
        run.module("ln_f", BTD, "4.2 RMS norm" if is_llama else "4.2 layer norm"),
        Step("wte as head", BTV, run.logits_BTV.shape, "4.6 logits")
        if config.tie_embeddings
        else run.module("lm_head", BTV, "4.6 logits"),
    ]


def _learned_positions(run: Pass) -> Iterator[Step]:
    yield run.module("wpe", ("T", "D"), "2.8 positions")
    yield Step("wte + wpe", BTD, run.got["dropout"][0].shape, "2.8 their sum")


def _gpt_block(run: Pass, block: Block) -> Iterator[Step]:
    q_BHTK, k_BHTK, _ = block.attn.queries_keys_values(run.got["h.0.attn"][0])
    weights_BHTT = attention_weights(q_BHTK, k_BHTK)
    wide = ("B", "T", "4D")
    yield run.in_block("ln_1", BTD, "4.2 layer norm")
    yield run.in_block("attn.c_attn", ("B", "T", "3D"), "3.6 q, k and v")
    yield Step("q, k, v", BHTK, q_BHTK.shape, "3.6 heads apart", inside_block=True)
    yield Step("weights", BHTT, weights_BHTT.shape, "3.5 attention", inside_block=True)
    yield run.between("weights @ v", BTD, "3.6 heads joined", before="attn.c_proj")
    yield run.in_block("attn.c_proj", BTD, "3.6 projection")
    if block.shortcuts:
        yield run.between("+ shortcut", BTD, "4.4 shortcut", before="ln_2")
    yield run.in_block("ln_2", BTD, "4.2 layer norm")
    yield run.in_block("mlp.c_fc", wide, "4.3 feed-forward")
    yield run.between(block.mlp.activation, wide, "4.3 activation", before="mlp.c_proj")
    yield run.in_block("mlp.c_proj", BTD, "4.3 feed-forward")
    if block.shortcuts:
        yield Step("+ shortcut", BTD, run.made["h.0"], "4.4 shortcut", inside_block=True)


def _llama_block(run: Pass, block: LlamaBlock) -> Iterator[Step]:
    x_BTD, angles, *_ = run.got["h.0.attn"]
    q_BHTK, k_BGTK, v_BGTK = block.attn.queries_keys_values(x_BTD, angles)
    weights_BHTT = attention_weights(q_BHTK, for_each_query_head(k_BGTK, q_BHTK.shape[1]))
    for_groups = ("B", "T", "GK")
    yield run.in_block("ln_1", BTD, "4.2 RMS norm")
    yield run.in_block("attn.q_proj", BTD, "3.6 q")
    yield run.in_block("attn.k_proj", for_groups, "3.6 k")
    yield run.in_block("attn.v_proj", for_groups, "3.6 v")
    yield Step("q turned", BHTK, q_BHTK.shape, "2.8 rotation", inside_block=True)
    yield Step("k turned", BGTK, k_BGTK.shape, "2.8 rotation", inside_block=True)
    yield Step("v", BGTK, v_BGTK.shape, "3.6 heads apart", inside_block=True)
    yield Step("weights", BHTT, weights_BHTT.shape, "3.5 attention", inside_block=True)
    yield run.between("weights @ v", BTD, "3.6 heads joined", before="attn.o_proj")
    yield run.in_block("attn.o_proj", BTD, "3.6 projection")
    yield run.between("+ shortcut", BTD, "4.4 shortcut", before="ln_2")
    yield run.in_block("ln_2", BTD, "4.2 RMS norm")
    yield run.in_block("mlp.gate_proj", BTI, "4.3 gate")
    yield run.in_block("mlp.up_proj", BTI, "4.3 feed-forward")
    yield run.between("gate * up", BTI, "4.3 SwiGLU", before="mlp.down_proj")
    yield run.in_block("mlp.down_proj", BTD, "4.3 feed-forward")
    yield Step("+ shortcut", BTD, run.made["h.0"], "4.4 shortcut", inside_block=True)


def describe_shapes(config: ModelConfig, texts: Sequence[str], ids: Sequence[Sequence[int]]) -> str:
    """Return texts, ids, the table of all steps and the numbers of parameters as text.

    Lines have at most 80 columns for up to 9 texts of fewer than 1,000 tokens, in a model of fewer than a billion
    parameters.
    Raises InputError if the texts have different numbers of tokens, or a number that the model cannot take.
    """
    if len({len(row) for row in ids}) > 1:
        counts = ", ".join(
            f"{len(row)} ({shorten(json.dumps(text), 30)})" for text, row in zip(texts, ids, strict=True)
        )
        raise InputError(
            f"the texts have different numbers of tokens: {counts}; a batch is one tensor, so give texts of equally "
            "many tokens, or one text"
        )
    steps = trace_shapes(config, len(ids), len(ids[0]))
    lines = [
        shorten(f"{json.dumps(text, ensure_ascii=False)}  {' '.join(map(str, row))}", LINE)
        for text, row in zip(texts, ids, strict=True)
    ]
    legend = [LEGEND, LLAMA_LEGEND] if isinstance(config, LlamaConfig) else [LEGEND]
    return "\n".join([*lines, "", *_table(steps), "", *legend, "", *_totals(config, steps)]) + "\n"


def _table(steps: Sequence[Step]) -> Iterator[str]:
    rows = [("step", "shape", "", "section and part", "parameters")]
    for step in steps:
        rows.append(
            (
                f"  {step.name}" if step.inside_block else step.name,
                f"[{', '.join(step.letters)}]",
                str(list(step.shape)),
                step.part,
                f"{step.parameters:,}" if step.parameters else "",
            )
        )
    name, letters, shape, part, parameters = (max(map(len, column)) for column in zip(*rows, strict=True))
    for row in rows:
        equals = "=" if row[2] else " "
        line = f"{row[0]:{name}}  {row[1]:{letters}} {equals} {row[2]:{shape}}  {row[3]:{part}}  {row[4]:>{parameters}}"
        yield line.rstrip()


def _totals(config: ModelConfig, steps: Sequence[Step]) -> Iterator[str]:
    total = sum(step.parameters for step in steps if not step.inside_block)
    head = config.vocab_size * config.emb_dim
    tied = total if config.tie_embeddings else total - head
    yield f"{'':31}{'parameters':>13}{'MiB in float32':>16}"
    for is_tied, name, parameters in ((True, "head tied to wte", tied), (False, "head of its own", tied + head)):
        this = " (this model)" if is_tied == config.tie_embeddings else ""
        yield f"{name + this:31}{parameters:13,}{parameters * FLOAT32_BYTES / MIB:16,.2f}"
