"""A Llama in a GGUF file: its shape, its tensors under our names, and its tokenizer.

Everything about llama.cpp's names and order of rows in a Llama is in this module; a GPT's are in `export`, as no GPT is
read from such a file.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from gguf.constants import TokenType

from scratchlm.checkpoint import llama_layout
from scratchlm.checkpoint.config_json import SHOWN_PROBLEMS
from scratchlm.checkpoint.gguf import GGUF, read_tensor
from scratchlm.errors import InputError
from scratchlm.files.text import bullets
from scratchlm.model.config import LlamaConfig
from scratchlm.tokenizer.byte_level import describe_byte_level

EPSILON = "rms_norm_eps"
# llama.cpp's keys, which begin with the architecture's name -> those of a config.json.
KEYS = {
    "context_length": "max_position_embeddings",
    "embedding_length": "hidden_size",
    "feed_forward_length": "intermediate_size",
    "block_count": "num_hidden_layers",
    "attention.head_count": "num_attention_heads",
    "attention.head_count_kv": "num_key_value_heads",
    "attention.layer_norm_rms_epsilon": EPSILON,
    "rope.freq_base": "rope_theta",
    "rope.dimension_count": "head_dim",
    "rope.scaling.type": "rope_scaling",  # none is supported
}
# Our names of tensors -> llama.cpp's, in the order in which they are tried.
NAMES = {
    "wte.": "token_embd.",
    "ln_f.": "output_norm.",
    "lm_head.": "output.",
    "h.": "blk.",
    ".ln_1.": ".attn_norm.",
    ".attn.q_proj.": ".attn_q.",
    ".attn.k_proj.": ".attn_k.",
    ".attn.v_proj.": ".attn_v.",
    ".attn.o_proj.": ".attn_output.",
    ".ln_2.": ".ffn_norm.",
    ".mlp.gate_proj.": ".ffn_gate.",
    ".mlp.up_proj.": ".ffn_up.",
    ".mlp.down_proj.": ".ffn_down.",
}
TOKENS, MERGES, TYPES = (f"tokenizer.ggml.{key}" for key in ("tokens", "merges", "token_type"))
BPE = "gpt2"  # llama.cpp's name of every byte pair encoding over bytes
SMOLLM = "smollm"  # and of how SmolLM2 cuts a text into words: digits, then GPT-2's pattern
TOKENIZER = {"tokenizer.ggml.model": BPE, "tokenizer.ggml.pre": SMOLLM}


def gguf_config(gguf: GGUF) -> LlamaConfig:
    """Return the shape of the Llama in a GGUF file.

    Raises InputError if the header describes no Llama that can be used, or if the tensors have other names or shapes
    than that Llama: all are compared before memory is needed for any.
    """
    architecture = gguf.values.get("general.architecture")
    if architecture != llama_layout.MODEL_TYPE:
        raise InputError(f"{gguf.path} holds a model of the kind {architecture!r}, wanted {llama_layout.MODEL_TYPE!r}")
    tokens = gguf.values.get(TOKENS)
    found: dict[str, Any] = {
        theirs: gguf.values[key] for ours, theirs in KEYS.items() if (key := f"{architecture}.{ours}") in gguf.values
    }
    found["vocab_size"] = len(tokens) if isinstance(tokens, list) else None
    found["tie_word_embeddings"] = gguf_name("lm_head.weight") not in gguf.tensors
    problems = llama_layout.config_problems(found)
    if EPSILON not in found:  # a config.json may leave it out, a GGUF file may not
        problems = [f"{EPSILON} is missing", *problems]
    if not problems and found["num_hidden_layers"] > len(gguf.tensors):  # building so many to compare with takes long
        problems = [f"{len(gguf.tensors)} tensors are too few for {found['num_hidden_layers']} layers"]
    if not problems:
        config = llama_layout.config_from_json({**found, EPSILON: shortest(found[EPSILON])})
        problems = tensor_problems(gguf, config)
    if problems:
        raise InputError(f"{gguf.path} is no Llama that can be used:" + bullets(problems, SHOWN_PROBLEMS))
    return config


def shortest(number: float) -> float:
    """Return the shortest decimal number that is this one in single precision, as it was before it was stored so."""
    return float(str(np.float32(number)))


def tensor_problems(gguf: GGUF, config: LlamaConfig) -> list[str]:
    """Return how the tensors in the file differ from those of the model."""
    wanted = {gguf_name(name): shape for name, shape in llama_layout.LlamaLayout(config).stored_shapes().items()}
    problems = [
        f"{name} is missing, expected {list(shape)}" for name, shape in wanted.items() if name not in gguf.tensors
    ]
    for name, stored in gguf.tensors.items():
        if name not in wanted:
            problems.append(f"{name} is unknown")
        elif stored.shape != wanted[name]:
            problems.append(f"{name} has the shape {list(stored.shape)}, expected {list(wanted[name])}")
    return problems


def gguf_name(name: str) -> str:
    """Return llama.cpp's name of a tensor of our model."""
    return llama_layout.renamed(name, NAMES)


def read_parameter(gguf: GGUF, config: LlamaConfig, name: str) -> npt.NDArray[np.float32]:
    """Return the tensor with this name in our model, in the order of rows that transformers and our model use.

    llama.cpp rotates neighbouring elements of a query or key, where ours rotates elements half a head apart; its files
    have the rows of these layers in its own order, which is undone.
    """
    tensor = read_tensor(gguf, gguf_name(name))
    if not is_rotated(name):
        return tensor
    pairs = tensor.reshape(-1, config.head_dim // 2, 2, config.emb_dim)
    return pairs.swapaxes(1, 2).reshape(tensor.shape)


def in_neighbouring_pairs(tensor: npt.NDArray[np.float32], config: LlamaConfig, name: str) -> npt.NDArray[np.float32]:
    """Return the tensor with this name in llama.cpp's order of rows: what `read_parameter` undoes."""
    if not is_rotated(name):
        return tensor
    halves = tensor.reshape(-1, 2, config.head_dim // 2, config.emb_dim)
    return halves.swapaxes(1, 2).reshape(tensor.shape)


def is_rotated(name: str) -> bool:
    """Whether the rows of a layer are elements of queries or keys, which are rotated in pairs."""
    return name.endswith((".q_proj.weight", ".k_proj.weight"))


def gguf_tokenizer(gguf: GGUF) -> dict[str, Any]:
    """Return the tokenizer.json of the tokenizer in a GGUF file; raise InputError if it is not one like SmolLM2's."""
    for key, wanted in TOKENIZER.items():
        if (found := gguf.values.get(key)) != wanted:
            raise InputError(f"{gguf.path}: {key} is {found!r}, wanted {wanted!r}")
    tokens, merges, types = (gguf.values.get(key) for key in (TOKENS, MERGES, TYPES))
    if not (isinstance(tokens, list) and isinstance(merges, list) and isinstance(types, memoryview)):
        problem = "are not all there"
    elif not all(isinstance(text, str) for text in [*tokens, *merges]) or not len(set(tokens)) == len(tokens) == len(
        types
    ):
        problem = "are not different texts, texts, and a number for each of the first"
    else:
        special = [token for token, kind in zip(tokens, types, strict=True) if kind == TokenType.CONTROL]
        return describe_byte_level(tokens, merges, special, cut_digits=True)
    raise InputError(f"{gguf.path}: {TOKENS}, {MERGES} and {TYPES} {problem}; get the file again")
