"""GGUF files that we write: every number is where llama.cpp looks for it, and what it cannot compute is refused."""

from __future__ import annotations

import ctypes
import importlib.util
from dataclasses import replace
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
import torch
from gguf.constants import GGMLQuantizationType as Kind
from safetensors.torch import load_file, save_file
from tiny_exports import GPT, LLAMA, Checkpoint

from scratchlm.checkpoint.folder import save_checkpoint
from scratchlm.checkpoint.gguf import read_gguf
from scratchlm.checkpoint.gguf_llama import gguf_config, gguf_tokenizer, read_parameter
from scratchlm.checkpoint.weights import WEIGHTS
from scratchlm.errors import InputError, OutputError
from scratchlm.export.gguf_file import write_gguf
from scratchlm.export.vocabulary import read_vocabulary
from scratchlm.files.text import read_json
from scratchlm.model.init import new_model
from scratchlm.tokenizer.protocol import HF_TOKENIZER
from scratchlm.tokenizer.words import build_vocabulary, write_vocabulary


def tensors_of(path: Path) -> dict[str, Any]:
    return {tensor.name: tensor for tensor in gguf.GGUFReader(path).tensors}


@pytest.mark.parametrize("tied", [True, False])
def test_our_reader_gets_back_the_llama_that_was_written(tied: bool, checkpoint: Checkpoint, tmp_path: Path) -> None:
    folder, model = checkpoint(replace(LLAMA, tie_embeddings=tied))
    write_gguf(tmp_path / "a.gguf", folder, read_vocabulary(folder), "f32", "a", None)
    found = read_gguf(tmp_path / "a.gguf")
    assert gguf_config(found) == model.config
    assert gguf_tokenizer(found) == read_json(folder / HF_TOKENIZER, "")
    for name, parameter in model.state_dict().items():
        assert np.array_equal(read_parameter(found, gguf_config(found), name), parameter.numpy()), name


@pytest.mark.parametrize("options", [{}, {"qkv_bias": True}, {"tie_embeddings": False}])
def test_a_gpt_has_its_weights_output_first_and_zeros_for_biases_it_lacks(
    options: dict[str, bool], checkpoint: Checkpoint, tmp_path: Path
) -> None:
    folder, model = checkpoint(replace(GPT, **options))
    write_gguf(tmp_path / "a.gguf", folder, read_vocabulary(folder), "f32", "a", None)
    tensors, state = tensors_of(tmp_path / "a.gguf"), model.state_dict()
    ours = {
        "token_embd.weight": "wte.weight",
        "position_embd.weight": "wpe.weight",
        "blk.1.attn_qkv.weight": "h.1.attn.c_attn.weight",
        "blk.0.attn_output.weight": "h.0.attn.c_proj.weight",
        "blk.1.ffn_up.weight": "h.1.mlp.c_fc.weight",
        "blk.0.ffn_down.weight": "h.0.mlp.c_proj.weight",
        "blk.0.ffn_norm.bias": "h.0.ln_2.bias",
        "output_norm.weight": "ln_f.weight",
    }
    for theirs, name in ours.items():
        assert np.array_equal(tensors[theirs].data, state[name].numpy()), theirs
    bias = state.get("h.1.attn.c_attn.bias", torch.zeros(96))
    assert np.array_equal(tensors["blk.1.attn_qkv.bias"].data, bias.numpy())
    assert ("output.weight" in tensors) == ("lm_head.weight" in state)
    # With all of llama.cpp's tensors and no other: 12 of a block, two embeddings, the last norm, and a head.
    assert len(tensors) == 2 * 12 + 4 + ("lm_head.weight" in state)


def test_the_header_says_what_llama_cpp_must_know(checkpoint: Checkpoint, tmp_path: Path) -> None:
    folder, _ = checkpoint(LLAMA)
    write_gguf(tmp_path / "a.gguf", folder, read_vocabulary(folder), "q8_0", "my-model", "{{ messages }}")
    values = read_gguf(tmp_path / "a.gguf").values
    assert {key: value for key, value in values.items() if not isinstance(value, list | memoryview)} == {
        "general.architecture": "llama",
        "general.type": "model",
        "general.name": "my-model",
        "general.file_type": 7,
        "general.quantization_version": 2,
        "general.sampling.temp": 0.0,
        "llama.context_length": 64,
        "llama.embedding_length": 64,
        "llama.feed_forward_length": 96,
        "llama.block_count": 2,
        "llama.attention.head_count": 4,
        "llama.attention.head_count_kv": 2,
        "llama.attention.layer_norm_rms_epsilon": pytest.approx(1e-3),
        "llama.rope.freq_base": 500.0,
        "llama.rope.dimension_count": 16,
        "llama.vocab_size": 281,
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": "smollm",
        "tokenizer.ggml.bos_token_id": 0,
        "tokenizer.ggml.eos_token_id": 0,
        "tokenizer.ggml.add_bos_token": False,
        "tokenizer.chat_template": "{{ messages }}",
    }
    assert list(values["tokenizer.ggml.token_type"])[:3] == [3, 3, 1]


@pytest.mark.parametrize(("dtype", "kind"), [("f32", Kind.F32), ("f16", Kind.F16), ("q8_0", Kind.Q8_0)])
def test_matrices_have_the_type_asked_for_and_the_rest_float32(
    dtype: Any, kind: Kind, checkpoint: Checkpoint, tmp_path: Path
) -> None:
    folder, _ = checkpoint(GPT)
    write_gguf(tmp_path / "a.gguf", folder, read_vocabulary(folder), dtype, "a", None)
    for name, tensor in tensors_of(tmp_path / "a.gguf").items():
        small = len(tensor.shape) == 1 or name == "position_embd.weight"
        assert tensor.tensor_type == (Kind.F32 if small else kind), name


def test_rows_that_are_no_whole_blocks_stay_in_float16(checkpoint: Checkpoint, tmp_path: Path) -> None:
    folder, model = checkpoint(replace(GPT, emb_dim=40))
    write_gguf(tmp_path / "a.gguf", folder, read_vocabulary(folder), "q8_0", "a", None)
    tensors = tensors_of(tmp_path / "a.gguf")
    assert tensors["token_embd.weight"].tensor_type == Kind.F16  # rows of 40
    assert tensors["blk.0.ffn_down.weight"].tensor_type == Kind.Q8_0  # rows of 160
    assert np.array_equal(tensors["token_embd.weight"].data, model.state_dict()["wte.weight"].half().numpy())


def test_q8_0_is_what_llama_cpps_own_quantizer_gives(checkpoint: Checkpoint, tmp_path: Path) -> None:
    found = importlib.util.find_spec("xllamacpp")
    if found is None or found.origin is None:
        pytest.skip("xllamacpp is not installed (scripts/setup.sh installs it where it can)")
    (library,) = Path(found.origin).parent.glob("xllamacpp.*.so")
    quantize = ctypes.CDLL(str(library)).ggml_quantize_chunk
    quantize.restype = ctypes.c_size_t
    quantize.argtypes = [ctypes.c_int, *[ctypes.c_void_p] * 2, *[ctypes.c_int64] * 3, ctypes.c_void_p]
    folder, _ = checkpoint(LLAMA)
    for dtype in ("f32", "q8_0"):
        write_gguf(tmp_path / f"{dtype}.gguf", folder, read_vocabulary(folder), dtype, "a", None)
    exact, quantized = (tensors_of(tmp_path / f"{dtype}.gguf") for dtype in ("f32", "q8_0"))
    compared = [name for name, tensor in quantized.items() if tensor.tensor_type == Kind.Q8_0]
    for name in compared:
        rows = np.ascontiguousarray(exact[name].data)
        theirs = np.empty(quantized[name].data.shape, np.uint8)
        quantize(Kind.Q8_0, rows.ctypes.data, theirs.ctypes.data, 0, *rows.shape, None)
        assert np.array_equal(theirs, quantized[name].data), name
    assert len(compared) == 2 * 7 + 1


def test_bfloat16_is_exported_as_it_is_in_float32(checkpoint: Checkpoint, tmp_path: Path) -> None:
    folder, _ = checkpoint(LLAMA)
    stored = {name: tensor.bfloat16() for name, tensor in load_file(folder / WEIGHTS).items()}
    save_file(stored, folder / WEIGHTS, metadata={"format": "pt"})
    write_gguf(tmp_path / "a.gguf", folder, read_vocabulary(folder), "f32", "a", None)
    tensors = tensors_of(tmp_path / "a.gguf")
    assert np.array_equal(tensors["token_embd.weight"].data, stored["model.embed_tokens.weight"].float().numpy())


def test_tensors_come_in_an_order_that_no_set_decides(checkpoint: Checkpoint, tmp_path: Path) -> None:
    folder, _ = checkpoint(replace(GPT, n_layers=9))
    write_gguf(tmp_path / "a.gguf", folder, read_vocabulary(folder), "f16", "a", None)
    biases = [name for name in tensors_of(tmp_path / "a.gguf") if name.endswith("attn_qkv.bias")]
    assert biases == [f"blk.{layer}.attn_qkv.bias" for layer in range(9)]


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"activation": "relu"}, "its activation is relu: set model.activation to gelu_tanh, and train it again"),
        ({"activation": "gelu"}, "its activation is gelu: set"),
        ({"shortcuts": False}, "it has no shortcuts: set model.shortcuts to true"),
    ],
)
def test_a_model_that_llama_cpp_would_compute_otherwise_is_refused(
    options: dict[str, Any], problem: str, checkpoint: Checkpoint, tmp_path: Path
) -> None:
    folder, _ = checkpoint(replace(GPT, **options))
    with pytest.raises(InputError, match=problem):
        write_gguf(tmp_path / "a.gguf", folder, read_vocabulary(folder), "f16", "a", None)
    assert not (tmp_path / "a.gguf").exists()


def test_a_tokenizer_of_words_is_refused(tmp_path: Path) -> None:
    words = tmp_path / "words"
    write_vocabulary(words, build_vocabulary(["the cat"], 5))
    save_checkpoint(tmp_path / "checkpoint", new_model(replace(GPT, vocab_size=4), "gpt2"), words)
    with pytest.raises(InputError, match=r"llama\.cpp knows no tokenizer of words: set tokenizer.kind to bpe or gpt2"):
        read_vocabulary(tmp_path / "checkpoint")


def change(folder: Path, name: str, value: float) -> None:
    stored = load_file(folder / WEIGHTS)
    stored[name].view(-1)[1] = value
    save_file(stored, folder / WEIGHTS, metadata={"format": "pt"})


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_numbers_that_are_none_are_refused(value: float, checkpoint: Checkpoint, tmp_path: Path) -> None:
    folder, _ = checkpoint(GPT)
    change(folder, "transformer.wte.weight", value)
    with pytest.raises(OutputError, match=r"wte\.weight holds NaN or infinity"):
        write_gguf(tmp_path / "a.gguf", folder, read_vocabulary(folder), "f32", "a", None)


def test_numbers_too_large_for_float16_are_refused_with_what_helps(checkpoint: Checkpoint, tmp_path: Path) -> None:
    folder, _ = checkpoint(GPT)
    change(folder, "transformer.wte.weight", -70_000.0)
    with pytest.raises(InputError, match=r"wte\.weight holds numbers above 65,504.*--dtype f32"):
        write_gguf(tmp_path / "a.gguf", folder, read_vocabulary(folder), "f16", "a", None)
    write_gguf(tmp_path / "a.gguf", folder, read_vocabulary(folder), "f32", "a", None)


def test_biases_that_the_model_ignores_are_refused(checkpoint: Checkpoint, tmp_path: Path) -> None:
    folder, _ = checkpoint(GPT)
    change(folder, "transformer.h.1.attn.c_attn.bias", 1.0)
    with pytest.raises(OutputError, match=r"set qkv_bias to true in config\.json"):
        write_gguf(tmp_path / "a.gguf", folder, read_vocabulary(folder), "f32", "a", None)
