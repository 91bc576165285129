"""The memory that one training step of a model needs: weights, gradients, moments, activations, logits and loss.

It is computed from shapes alone, for steps that this machine could not take too. Activations are what the backward pass
needs of the forward pass: what torch's autograd keeps for the code in `model`, part by part. Tests compare the numbers
with what it keeps, and with the peaks of real steps.

Letters as in gpt.py and llama.py: T tokens, D emb_dim, H n_heads, V vocab_size, I hidden_dim; R LoRA's rank.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, cast

import torch

from scratchlm.errors import InputError
from scratchlm.model.config import AttentionKind, GPTConfig, LlamaConfig, ModelConfig
from scratchlm.model.cut import train_upper_blocks
from scratchlm.model.head_loss import rows_at_once
from scratchlm.model.init import empty_model
from scratchlm.model.language_model import LanguageModel, n_parameters
from scratchlm.model.lora import add_lora, untied_head
from scratchlm.training.optimizer import n_trained_parameters

FLOAT32_BYTES, BFLOAT16_BYTES, INDEX_BYTES, GIB = 4, 2, 8, 2**30
# While the gradient of the logits is computed: their log-probabilities, the gradient of these, and that of the logits.
LOGIT_BYTES = 3 * FLOAT32_BYTES
GATHERED_BLOCKS = 2  # of sharded weights: the one that is computed, and the next one, which is on its way
LINE = 80  # columns


@dataclass(frozen=True)
class TrainingStep:
    """What decides the memory of a step besides the shape of the model.

    All `rows` texts of a batch are shared by `processes`, each of which computes `micro_batch` of them at a time (all
    of its share if None). With more than one process, weights, gradients and moments are shared too (FSDP2). All of the
    model is trained, or its `upper_blocks`, or LoRA's matrices of a rank.
    """

    rows: int
    tokens: int  # of each text
    precision: Literal["float32", "bfloat16"] = "float32"
    micro_batch: int | None = None
    processes: int = 1
    upper_blocks: int | None = None
    lora_rank: int | None = None
    attention: AttentionKind = "sdpa"
    on_cpu: bool = True

    @property
    def own_rows(self) -> int:
        return self.rows // self.processes

    @property
    def rows_at_once(self) -> int:
        return min(self.micro_batch or self.own_rows, self.own_rows)

    @property
    def product_bytes(self) -> int:
        """The bytes of a number that a matrix product takes or returns."""
        return BFLOAT16_BYTES if self.precision == "bfloat16" else FLOAT32_BYTES


class Need(NamedTuple):
    """A part of the memory: its size, and how that is computed."""

    name: str
    size_bytes: int
    formula: str


@dataclass(frozen=True)
class Memory:
    """The memory of a step in each process.

    What a block keeps is for one token. Gradients are there at the start of a backward pass only if an earlier
    micro-batch of the step has made some.
    """

    weights: list[Need]  # and all else that stays from step to step
    gradients: list[Need]
    activations: list[Need]  # and logits and loss
    end: list[Need]  # what only the end of the backward pass needs
    block: list[Need]
    has_earlier_gradients: bool

    @property
    def start_bytes(self) -> int:
        """What is held when the backward pass starts: activations and logits are all there."""
        earlier = self.gradients if self.has_earlier_gradients else []
        return total_bytes([*self.weights, *earlier, *self.activations])

    @property
    def end_bytes(self) -> int:
        """What is held when the backward pass ends: gradients are all there, and activations are gone."""
        return total_bytes([*self.weights, *self.gradients, *self.end])

    @property
    def peak_bytes(self) -> int:
        return max(self.start_bytes, self.end_bytes)


def memory_of(config: ModelConfig, step: TrainingStep) -> Memory:
    """Return the memory that each process needs for a training step.

    Raises InputError if the texts are too long for the model, or the model has fewer blocks or narrower layers than are
    to be trained.
    """
    if not 0 < step.tokens <= config.context_length:
        raise InputError(f"got texts of {step.tokens} tokens, this model takes 1 to {config.context_length}")
    if step.rows % step.processes:
        raise InputError(f"got {step.rows} rows for {step.processes} processes, wanted as many rows for each")
    if step.upper_blocks is not None and step.lora_rank is not None:
        raise InputError("both upper blocks and LoRA are given: choose one")
    if step.upper_blocks is not None and step.upper_blocks > config.n_layers:
        raise InputError(f"got {step.upper_blocks} upper blocks to train, this model has {config.n_layers}")
    model = _model_to_train(config, step)
    trains_embeddings = model.wte.weight.requires_grad
    n_blocks = config.n_layers if step.upper_blocks is None else step.upper_blocks
    n_tokens = step.rows_at_once * step.tokens
    block = list(_llama_block(config, step) if isinstance(config, LlamaConfig) else _gpt_block(config, step))
    return Memory(
        weights=list(_weights(model, step)),
        gradients=list(_gradients(model, step)),
        activations=[
            *_copies(model, step, n_blocks),
            _product("blocks", total_bytes(block), (n_blocks, "blocks"), (n_tokens, "tokens")),
            _product("embeddings, final norm", _ends_bytes(config, step, trains_embeddings), (n_tokens, "tokens")),
            *_loss(model, step, n_tokens),
        ],
        end=[_product("wte's second gradient", FLOAT32_BYTES, (model.wte.weight.numel(), "parameters"))]
        if trains_embeddings and config.tie_embeddings
        else [],
        block=block,
        has_earlier_gradients=step.rows_at_once < step.own_rows,
    )


def _model_to_train(config: ModelConfig, step: TrainingStep) -> LanguageModel:
    with torch.device("meta"):  # where a tensor has a shape but no numbers
        model = empty_model(config)
        if step.lora_rank is not None:
            add_lora(model, [model.h, untied_head(model)], step.lora_rank, scale=1.0)
        elif step.upper_blocks is not None:
            train_upper_blocks(model, step.upper_blocks)
            if not config.tie_embeddings:
                model.lm_head.requires_grad_(True)
    return model


def _weights(model: LanguageModel, step: TrainingStep) -> Iterator[Need]:
    share = step.processes
    yield _product("weights", FLOAT32_BYTES, (n_parameters(model), "parameters"), share=share)
    yield _product("AdamW's moments", 2 * FLOAT32_BYTES, (n_trained_parameters(model), "trained"), share=share)
    if share > 1:
        yield _product("gathered weights", FLOAT32_BYTES, (_n_gathered(model), "parameters"))


def _gradients(model: LanguageModel, step: TrainingStep) -> Iterator[Need]:
    share = step.processes
    yield _product("gradients", FLOAT32_BYTES, (n_trained_parameters(model), "trained"), share=share)
    if share > 1:
        yield _product("gathered gradients", FLOAT32_BYTES, (_n_gathered(model), "parameters"))


def _n_gathered(model: LanguageModel) -> int:
    """Count the parameters that are whole in every process: all but the blocks, and a few of these at a time."""
    blocks = [n_parameters(block) for block in model.h]
    return n_parameters(model) - sum(blocks) + sum(blocks[:GATHERED_BLOCKS])


def _copies(model: LanguageModel, step: TrainingStep, n_blocks: int) -> Iterator[Need]:
    """Yield the copies of weights that autocast makes; the backward pass needs them too."""
    if step.precision == "bfloat16":
        head = model.wte if model.config.tie_embeddings else model.lm_head
        matrices = [
            parameter.numel()
            for part in [*list(model.h)[len(model.h) - n_blocks :], head]
            for parameter in part.parameters()
            if parameter.ndim > 1
        ]
        yield _product("weights in bfloat16", BFLOAT16_BYTES, (sum(matrices), "in matrices"))


def _loss(model: LanguageModel, step: TrainingStep, n_tokens: int) -> Iterator[Need]:
    """Yield what the loss needs: many logits are computed in parts, each with its share of the gradients."""
    V = model.config.vocab_size
    at_once, head = rows_at_once(V), model.wte if model.config.tie_embeddings else model.lm_head
    yield _product("logits and loss", LOGIT_BYTES, (min(n_tokens, at_once), "tokens"), (V, "words"))
    in_parts = not step.on_cpu or n_tokens > at_once
    if in_parts and head.weight.requires_grad:
        # The sum of the parts' gradients, and that of one part to be added.
        each_bytes = FLOAT32_BYTES + step.product_bytes
        yield _product("gradient of the head", each_bytes, (head.weight.numel(), "parameters"))


def _gpt_block(config: ModelConfig, step: TrainingStep) -> Iterator[Need]:
    D, B = config.emb_dim, step.product_bytes
    n_wide = 4 if cast(GPTConfig, config).activation == "relu" else 8  # of ReLU, the output is enough
    yield _kept("norms' inputs, mean and deviation", FLOAT32_BYTES, 2 * D + 4, f"2 x {D:,} + 4")
    yield _kept("inputs of c_attn and c_fc", B, 2 * D, f"2 x {D:,}")
    yield from _attention(config, step)
    yield _kept(
        "input of mlp.c_proj" if n_wide == 4 else "inputs of GELU and mlp.c_proj", B, n_wide * D, f"{n_wide} x {D:,}"
    )
    yield from _dropout(config, step)
    if step.lora_rank is not None:
        yield _kept("LoRA's inputs of B", B, 6 * step.lora_rank, f"6 x {step.lora_rank}")  # c_attn has three


def _llama_block(config: LlamaConfig, step: TrainingStep) -> Iterator[Need]:
    D, B, hidden = config.emb_dim, step.product_bytes, config.hidden_dim
    # On a CPU torch computes the norm in steps and keeps what it scales. Autocast casts once for each product.
    n_norms, n_inputs = 4 if step.on_cpu else 2, 5 if step.precision == "bfloat16" else 2
    yield _kept("norms' inputs, root mean squares", FLOAT32_BYTES, n_norms * D + 2, f"{n_norms} x {D:,} + 2")
    yield _kept("inputs of q, k, v, gate and up", B, n_inputs * D, f"{n_inputs} x {D:,}")
    yield from _attention(config, step)
    if step.on_cpu and not _keeps_matrices(config, step):
        yield _kept("input of o_proj", B, D, f"{D:,}")
    yield _kept("gate, its silu, up, and product", B, 4 * hidden, f"4 x {hidden:,}")
    yield from _dropout(config, step)
    if step.lora_rank is not None:
        yield _kept("LoRA's inputs of B", B, 7 * step.lora_rank, f"7 x {step.lora_rank}")


def _attention(config: ModelConfig, step: TrainingStep) -> Iterator[Need]:
    D, H, T, B = config.emb_dim, config.n_heads, step.tokens, step.product_bytes
    if not _keeps_matrices(config, step):
        yield _kept("q, k, v, and attention's result", B, 4 * D, f"4 x {D:,}")
        yield _kept("logarithms of softmax's sums", FLOAT32_BYTES, H, f"{H}")
        return
    # torch's own attention, where it has to form the matrix, does so in float32.
    bytes_each = FLOAT32_BYTES if step.attention == "sdpa" else B
    n_matrices = 3 if config.drop_rate else 1  # and with dropout: the noise, and what is left
    yield _kept("q, k and v", bytes_each, 3 * D, f"3 x {D:,}")
    yield _kept("attention weights", bytes_each, n_matrices * H * T, f"{n_matrices} x {H} x {T:,}")
    yield _kept("attention's result", B, D, f"{D:,}")


def _keeps_matrices(config: ModelConfig, step: TrainingStep) -> bool:
    """True if attention forms the matrix of T x T weights: written out, or torch's own with dropout on a CPU."""
    return step.attention != "sdpa" or (step.on_cpu and config.drop_rate > 0)


def _dropout(config: ModelConfig, step: TrainingStep) -> Iterator[Need]:
    if config.drop_rate:
        yield _kept(
            "dropout's noise", _noise_bytes(step, step.product_bytes), 2 * config.emb_dim, f"2 x {config.emb_dim:,}"
        )


def _noise_bytes(step: TrainingStep, number_bytes: int) -> int:
    return number_bytes if step.on_cpu else 1  # a GPU keeps one byte, whether a number is kept


def _ends_bytes(config: ModelConfig, step: TrainingStep, trains_embeddings: bool) -> int:
    """Return what is kept of each token outside of the blocks: ids, dropout, final norm, the head's input, targets."""
    D, is_llama = config.emb_dim, isinstance(config, LlamaConfig)
    norm = (2 if is_llama and step.on_cpu else 1) * D + (1 if is_llama else 2)
    noise = _noise_bytes(step, FLOAT32_BYTES) * D if config.drop_rate and trains_embeddings else 0
    n_indices = 3 if trains_embeddings else 2  # ids, places of targets, targets
    return FLOAT32_BYTES * norm + step.product_bytes * D + noise + INDEX_BYTES * n_indices


def _product(name: str, each_bytes: int, *counts: tuple[int, str], share: int = 1) -> Need:
    size_bytes, factors = each_bytes, [f"{each_bytes:,} bytes"]
    for count, unit in counts:
        size_bytes *= count
        factors.append(f"{count:,} {unit}")
    divided = f" / {share}" if share > 1 else ""
    return Need(name, -(-size_bytes // share), " x ".join(factors) + divided)


def _kept(name: str, bytes_each: int, count: int, formula: str) -> Need:
    return Need(
        name, bytes_each * count, f"{bytes_each} x ({formula})" if "+" in formula else f"{bytes_each} x {formula}"
    )


def total_bytes(needs: Sequence[Need]) -> int:
    """Return the sum of the sizes."""
    return sum(need.size_bytes for need in needs)


def describe_memory(config: ModelConfig, step: TrainingStep) -> str:
    """Return the memory of a step as a table, with a formula for each part; at most 80 columns.

    Raises InputError as `memory_of` does.
    """
    memory = memory_of(config, step)
    table = [*memory.weights, *memory.gradients, *memory.activations, *memory.end]
    later = [*([] if memory.has_earlier_gradients else ["gradients"]), *(["the last line"] if memory.end else [])]
    start = f"all but {' and '.join(later)}" if later else "all"
    sums = [
        Need("backward pass starts", memory.start_bytes, start),
        Need("backward pass ends", memory.end_bytes, "all but activations, logits and loss"),
        Need("peak", memory.peak_bytes, "the larger of both"),
    ]
    width = max(len(need.name) for need in [*table, *sums])
    lines = [_title(step), "", f"{'part':{width}}{'GiB':>9}  computed as"]
    lines += [f"{name:{width}}{size_bytes / GIB:9.3f}  {formula}" for name, size_bytes, formula in table]
    lines += ["", *(f"{name:{width}}{size_bytes / GIB:9.3f}  {formula}" for name, size_bytes, formula in sums)]
    width = max(len(need.name) for need in memory.block)
    lines += ["", f"{'a block keeps of each token':{width}}{'bytes':>9}"]
    lines += [f"{name:{width}}{size_bytes:9,}  {formula}" for name, size_bytes, formula in memory.block]
    return "\n".join(line.rstrip() for line in lines) + "\n"


def _title(step: TrainingStep) -> str:
    parts = [f"a training step of {step.rows:,} x {step.tokens:,} tokens in {step.precision}"]
    if step.processes > 1:
        parts.append(f"in each of {step.processes} processes")
    if step.rows_at_once < step.own_rows:
        parts.append(f"{step.rows_at_once} at a time")
    return ", ".join(parts)
