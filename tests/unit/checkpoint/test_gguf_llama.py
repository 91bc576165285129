"""A Llama in a GGUF file becomes a checkpoint with the same logits and tokens, or is refused with every reason."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
import torch
from gguf_files import SPECIAL, tiny_vocabulary, write_llama
from safetensors.torch import load_file

from scratchlm.bases.smollm2 import convert_gguf
from scratchlm.checkpoint import llama_layout
from scratchlm.checkpoint.folder import check_vocabulary, load
from scratchlm.checkpoint.gguf import QUANTIZATIONS
from scratchlm.checkpoint.gguf_llama import gguf_name
from scratchlm.errors import InputError
from scratchlm.model.config import LlamaConfig
from scratchlm.model.init import new_model
from scratchlm.model.language_model import LanguageModel
from scratchlm.tokenizer.byte_level import ByteLevelTokenizer


def llama(tie: bool = True, **changes: Any) -> LanguageModel:
    torch.manual_seed(2)
    shape = {"vocab_size": len(tiny_vocabulary()[0]), "context_length": 40, "emb_dim": 64, "n_heads": 4, "n_layers": 2}
    shape |= {"n_kv_heads": 2, "hidden_dim": 96, "rope_base": 500.0, "norm_epsilon": 1e-5, "tie_embeddings": tie}
    model = new_model(LlamaConfig(**{**shape, **changes}), "gpt2", 0.2).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return model


def converted(folder: Path, model: LanguageModel, **options: Any) -> Path:
    write_llama(folder / "a.gguf", model, **options)
    (folder / "model").mkdir()
    convert_gguf(folder / "a.gguf", folder / "model")
    return folder / "model"


@pytest.mark.parametrize("tie", [True, False])
@pytest.mark.parametrize("n_kv_heads", [1, 2, 4])
def test_the_logits_and_the_shape_are_those_of_the_model(tmp_path: Path, tie: bool, n_kv_heads: int) -> None:
    model = llama(tie, n_kv_heads=n_kv_heads)
    again, tokenizer = load(converted(tmp_path, model))
    assert again.config == model.config
    assert isinstance(tokenizer, ByteLevelTokenizer) and tokenizer.eot_token == 0
    check_vocabulary(tmp_path / "model", tokenizer)
    ids_BT = torch.randint(model.config.vocab_size, (2, 30))
    with torch.no_grad():
        assert torch.equal(again(ids_BT), model(ids_BT))


@pytest.mark.parametrize("kind", QUANTIZATIONS.values(), ids=lambda kind: kind.name)
def test_quantized_weights_are_near_the_model_s(tmp_path: Path, kind: gguf.GGMLQuantizationType) -> None:
    model = llama()
    again, _ = load(converted(tmp_path, model, kind=kind))
    errors = [(a - b).abs().max() for a, b in zip(again.parameters(), model.parameters(), strict=True)]
    assert max(errors) < {"F32": 1e-9, "F16": 0.001, "Q8_0": 0.01, "Q4_1": 0.1}[kind.name]


def test_the_file_is_what_safetensors_itself_writes(tmp_path: Path) -> None:
    folder = converted(tmp_path, llama(tie=False))
    tensors = load_file(folder / "model.safetensors")
    assert all(tensor.dtype == torch.float32 for tensor in tensors.values())
    assert len(tensors) == 2 * 9 + 3
    header_bytes = int.from_bytes((folder / "model.safetensors").read_bytes()[:8], "little")
    assert header_bytes % 8 == 0


def test_the_special_tokens_and_merges_are_the_file_s(tmp_path: Path) -> None:
    _, tokenizer = load(converted(tmp_path, llama()))
    tokens, merges = tiny_vocabulary()
    assert tokenizer.n_vocab == len(tokens) and tokenizer.n_merges == len(merges)
    assert tokenizer.encode("".join(SPECIAL), allowed_special="all") == [0, 1]


def test_transformers_loads_the_folder(tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM

    model = llama()
    theirs = AutoModelForCausalLM.from_pretrained(converted(tmp_path, model), dtype=torch.float32).eval()
    ids_BT = torch.randint(model.config.vocab_size, (2, 30))
    with torch.no_grad():
        assert (theirs(ids_BT).logits - model(ids_BT)).abs().max() < 5e-5  # of 10, in float32


ONES = np.ones((64, 64), np.float32)
PROBLEMS: dict[str, dict[str, Any]] = {
    "holds a model of the kind 'gpt2', wanted 'llama'": {"more": {"general.architecture": "gpt2"}},
    "hidden_size is None, expected a whole number": {"drop": "llama.embedding_length"},
    "rms_norm_eps is missing": {"drop": "llama.attention.layer_norm_rms_epsilon"},
    "num_hidden_layers is 1000000, expected": {"more": {"llama.block_count": 1_000_000}},
    "20 tensors are too few for 900 layers": {"more": {"llama.block_count": 900}},
    "rope_theta is nan": {"more": {"llama.rope.freq_base": float("nan")}},
    "rope_scaling is 'linear', supported: None": {"more": {"llama.rope.scaling.type": "linear"}},
    "head_dim is 8, supported": {"more": {"llama.rope.dimension_count": 8}},
    "vocab_size is None": {"drop": "tokenizer.ggml.tokens"},
    "vocab_size is None, expected": {"more": {"tokenizer.ggml.tokens": 5}},
    r"blk.1.attn_q.weight is missing, expected \[64, 64\]": {"drop": "blk.1.attn_q.weight"},
    "blk.7.attn_q.weight is unknown": {"more": {"blk.7.attn_q.weight": ONES}},
    "rope_freqs.weight is unknown": {"more": {"rope_freqs.weight": np.ones(8, np.float32)}},
    r"blk.0.attn_k.weight has the shape \[64, 64\], expected \[32, 64\]": {"more": {"blk.0.attn_k.weight": ONES}},
    r"token_embd.weight has the shape \[281, 64\], expected \[3, 64\]": {
        "more": {"tokenizer.ggml.tokens": ["a", "b", "c"]}
    },
    "tokenizer.ggml.pre is 'llama3', wanted 'smollm'": {"more": {"tokenizer.ggml.pre": "llama3"}},
    "are not all there": {"drop": "tokenizer.ggml.merges"},
    "are not different texts": {"more": {"tokenizer.ggml.token_type": [1, 2]}},
    "is not a byte-level BPE that can be used": {"more": {"tokenizer.ggml.token_type": [1] * 281}},
    "token_embd.weight holds NaN": {"more": {"token_embd.weight": np.full((281, 64), np.inf, np.float32)}},
}


@pytest.mark.parametrize("problem", PROBLEMS)
def test_a_file_that_does_not_fit_is_refused(tmp_path: Path, problem: str) -> None:
    assert len(tiny_vocabulary()[0]) == 281
    with pytest.raises(InputError, match=problem):
        converted(tmp_path, llama(), **PROBLEMS[problem])


def test_names_are_llama_cpp_s() -> None:
    assert gguf_name("h.12.attn.o_proj.weight") == "blk.12.attn_output.weight"
    assert gguf_name("ln_f.weight") == "output_norm.weight"


def test_a_part_of_a_name_without_a_dot_before_it_is_renamed_at_the_beginning_only() -> None:
    names = {"h.": "blk.", ".q.": ".attn_q."}
    assert llama_layout.renamed("h.0.h.q.weight", names) == "blk.0.h.attn_q.weight"
    assert llama_layout.renamed("q.weight", names) == "q.weight"
