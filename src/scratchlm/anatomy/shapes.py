"""The shape of every tensor on the way from text to logits (the shape check of chapter 4.1).

The model runs on torch's meta device, where a tensor has a shape but no numbers. The shapes are those of the real
computation, but even the largest model needs no memory and almost no time.

Shape suffixes as in model.py: B texts, T tokens, D emb_dim, H n_heads, K head_dim = D / H, V vocab_size.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

import torch
from torch import Size, Tensor, nn

from scratchlm.errors import InputError
from scratchlm.files.text import shorten
from scratchlm.model.attention import attention_weights
from scratchlm.model.config import GPTConfig
from scratchlm.model.gpt import GPT, Block
from scratchlm.model.language_model import n_parameters

EXAMPLES = ("Every effort moves you", "Every day holds a")  # the book's two texts
GPT2_EXAMPLE_IDS = ((6109, 3626, 6100, 345), (6109, 1110, 6622, 257))  # their ids in GPT-2's tokenizer
LEGEND = "B texts, T tokens, D emb_dim, H n_heads, K head_dim = D / H, V vocab_size"
LINE = 80  # columns
FLOAT32_BYTES, MIB = 4, 2**20
BTD = ("B", "T", "D")


@dataclass(frozen=True)
class Step:
    """One tensor: what makes it, its shape in letters and in numbers, and the section of the book."""

    name: str
    letters: tuple[str, ...]
    shape: tuple[int, ...]
    part: str
    parameters: int = 0  # of the module that makes it
    inside_block: bool = False


def trace_shapes(config: GPTConfig, n_texts: int, n_tokens: int) -> list[Step]:
    """Return the steps of `n_texts` texts of `n_tokens` tokens through a GPT; only the first block is in detail.

    Raises InputError if the texts have no token, or more than the model can see.
    """
    if not 0 < n_tokens <= config.context_length:
        raise InputError(
            f"the text has {n_tokens} tokens, this model takes 1 to {config.context_length}: give a "
            f"{'shorter' if n_tokens else 'longer'} one"
        )
    with torch.device("meta"):  # where any operation, even an addition, imports torch's compiler: 0.9 s
        model = GPT(config).eval()
        ids_BT = torch.zeros(n_texts, n_tokens, dtype=torch.int64)
    got: dict[str, Size] = {}
    made: dict[str, Size] = {}

    def watch(name: str, module: nn.Module) -> None:
        def keep(module: nn.Module, inputs: tuple[Any, ...], output: Tensor) -> None:
            got[name], made[name] = inputs[0].shape, output.shape

        module.register_forward_hook(keep)

    for name, module in model.named_modules():
        watch(name, module)
    with torch.no_grad():
        logits_BTV = model(ids_BT)
    first, *rest = (cast(Block, block) for block in model.h)
    others = []
    if rest:
        last = f"h.{len(rest)}"
        name = "h.1" if last == "h.1" else f"h.1 to {last}"
        others = [
            Step(name, BTD, made[last], "4.5 block" if last == "h.1" else "4.5 blocks", sum(map(n_parameters, rest)))
        ]
    if config.tie_embeddings:
        head = Step("wte as head", ("B", "T", "V"), logits_BTV.shape, "4.6 logits")
    else:
        head = Step("lm_head", ("B", "T", "V"), logits_BTV.shape, "4.6 logits", n_parameters(model.lm_head))
    return [
        Step("ids", ("B", "T"), ids_BT.shape, "2.5 token ids"),
        Step("wte", BTD, made["wte"], "2.7 tokens", n_parameters(model.wte)),
        Step("wpe", ("T", "D"), made["wpe"], "2.8 positions", n_parameters(model.wpe)),
        Step("wte + wpe", BTD, got["dropout"], "2.8 their sum"),
        *_block_steps(first, got, made),
        Step("h.0", BTD, made["h.0"], "4.5 block", n_parameters(first)),
        *others,
        Step("ln_f", BTD, made["ln_f"], "4.2 layer norm", n_parameters(model.ln_f)),
        head,
    ]


def _block_steps(block: Block, got: dict[str, Size], made: dict[str, Size]) -> Iterator[Step]:
    """Yield the steps inside the first block; `got` and `made` are the input and output shapes of each module."""
    q_BHTK, k_BHTK, _ = block.attn.queries_keys_values(torch.empty(got["h.0.attn"], device="meta"))
    heads, wide = ("B", "H", "T", "K"), ("B", "T", "4D")

    def inside(name: str, letters: tuple[str, ...], shape: Size, part: str) -> Step:
        return Step(name, letters, shape, part, inside_block=True)

    def module(name: str, letters: tuple[str, ...], part: str) -> Step:
        return replace(
            inside(name, letters, made[f"h.0.{name}"], part), parameters=n_parameters(block.get_submodule(name))
        )

    yield module("ln_1", BTD, "4.2 layer norm")
    yield module("attn.c_attn", ("B", "T", "3D"), "3.6 q, k and v")
    yield inside("q, k, v", heads, q_BHTK.shape, "3.6 heads apart")
    yield inside("weights", ("B", "H", "T", "T"), attention_weights(q_BHTK, k_BHTK).shape, "3.5 attention")
    yield inside("weights @ v", BTD, got["h.0.attn.c_proj"], "3.6 heads joined")
    yield module("attn.c_proj", BTD, "3.6 projection")
    if block.shortcuts:
        yield inside("+ shortcut", BTD, got["h.0.ln_2"], "4.4 shortcut")
    yield module("ln_2", BTD, "4.2 layer norm")
    yield module("mlp.c_fc", wide, "4.3 feed-forward")
    yield inside(block.mlp.activation, wide, got["h.0.mlp.c_proj"], "4.3 activation")
    yield module("mlp.c_proj", BTD, "4.3 feed-forward")
    if block.shortcuts:
        yield inside("+ shortcut", BTD, made["h.0"], "4.4 shortcut")


def describe_shapes(config: GPTConfig, texts: Sequence[str], ids: Sequence[Sequence[int]]) -> str:
    """Return texts, ids, the table of all steps and the numbers of parameters as text.

    Lines have at most 80 columns for up to 9 texts of fewer than 1,000 tokens.
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
    return "\n".join([*lines, "", *_table(steps), "", LEGEND, "", *_totals(config, steps)]) + "\n"


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


def _totals(config: GPTConfig, steps: Sequence[Step]) -> Iterator[str]:
    total = sum(step.parameters for step in steps if not step.inside_block)
    head = config.vocab_size * config.emb_dim
    tied = total if config.tie_embeddings else total - head
    yield f"{'':31}{'parameters':>13}{'MiB in float32':>16}"
    for is_tied, name, parameters in ((True, "head tied to wte", tied), (False, "head of its own", tied + head)):
        this = " (this model)" if is_tied == config.tie_embeddings else ""
        yield f"{name + this:31}{parameters:13,}{parameters * FLOAT32_BYTES / MIB:16,.2f}"
