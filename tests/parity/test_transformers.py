"""The model against transformers' GPT-2: the same checkpoint, the same logits, the same greedy text."""

from __future__ import annotations

from pathlib import Path
from typing import Any, get_args

import pytest
import torch
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForCausalLM,
    AutoTokenizer,
    GPT2Config,
    GPT2LMHeadModel,
    GPT2Model,
)

from scratchlm.checkpoint.folder import load, load_checkpoint, save_checkpoint
from scratchlm.generation.decode import Sampling, generate
from scratchlm.model.config import Activation, GPTConfig
from scratchlm.model.gpt import GPT
from scratchlm.model.init import new_model

TOLERANCE = 1e-5  # float32


def random_model(tie: bool, qkv_bias: bool, activation: Activation = "gelu_tanh", shortcuts: bool = True) -> GPT:
    torch.manual_seed(7)
    config = GPTConfig(
        vocab_size=280,
        context_length=32,
        emb_dim=48,
        n_heads=4,
        n_layers=3,
        drop_rate=0.1,
        qkv_bias=qkv_bias,
        tie_embeddings=tie,
        activation=activation,
        shortcuts=shortcuts,
    )
    model = new_model(config, "gpt2").eval()
    with torch.no_grad():  # large weights, so that logits differ, and nontrivial biases and norms
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.05)
    return model


@pytest.mark.parametrize("tie", [True, False])
@pytest.mark.parametrize("qkv_bias", [True, False])
def test_transformers_loads_our_folder_with_equal_logits(
    tie: bool, qkv_bias: bool, tmp_path: Path, tokenizer_folder: Path
) -> None:
    ours = random_model(tie, qkv_bias)
    save_checkpoint(tmp_path / "model", ours, tokenizer_folder)
    theirs = GPT2LMHeadModel.from_pretrained(tmp_path / "model").eval()
    ids = torch.randint(280, (3, 32))
    with torch.no_grad():
        assert (ours(ids) - theirs(ids).logits).abs().max() < TOLERANCE
        assert (load_checkpoint(tmp_path / "model")(ids) == ours(ids)).all()


@pytest.mark.parametrize("activation", get_args(Activation))
def test_transformers_computes_each_activation_as_we_do(
    activation: Activation, tmp_path: Path, tokenizer_folder: Path
) -> None:
    ours = random_model(tie=True, qkv_bias=True, activation=activation)
    save_checkpoint(tmp_path / "model", ours, tokenizer_folder)
    theirs = GPT2LMHeadModel.from_pretrained(tmp_path / "model").eval()
    ids = torch.randint(280, (3, 32))
    with torch.no_grad():
        expected = theirs(ids).logits
        assert (ours(ids) - expected).abs().max() < TOLERANCE
        for other in {"gelu_tanh", "gelu", "relu"} - {activation}:  # the two forms of GELU are nearly equal
            model = random_model(tie=True, qkv_bias=True, activation=other)
            assert (model(ids) - expected).abs().max() > 2 * TOLERANCE


@pytest.mark.parametrize("name", ["gelu_new", "gelu_pytorch_tanh", "gelu", "relu"])
def test_we_compute_each_activation_as_transformers_names_it(name: str, tmp_path: Path) -> None:
    torch.manual_seed(11)
    config = GPT2Config(
        vocab_size=300,
        n_positions=24,
        n_embd=32,
        n_layer=2,
        n_head=2,
        activation_function=name,
        initializer_range=0.2,
        eos_token_id=299,
        bos_token_id=299,
    )
    theirs = GPT2LMHeadModel(config).eval()
    theirs.save_pretrained(tmp_path)
    ids = torch.randint(300, (2, 24))
    with torch.no_grad():
        assert (load_checkpoint(tmp_path)(ids) - theirs(ids).logits).abs().max() < TOLERANCE


@pytest.mark.parametrize("loader", [GPT2LMHeadModel, GPT2Model, AutoModelForCausalLM, AutoModel, AutoConfig])
def test_transformers_refuses_a_model_without_shortcuts(loader: Any, tmp_path: Path, tokenizer_folder: Path) -> None:
    ours = random_model(tie=True, qkv_bias=True, shortcuts=False)
    save_checkpoint(tmp_path / "model", ours, tokenizer_folder)
    with pytest.raises((KeyError, ValueError), match=r"(gpt2|gelu_new)_without_shortcuts"):
        loader.from_pretrained(tmp_path / "model")
    ids = torch.randint(280, (3, 32))
    with torch.no_grad():
        assert (load_checkpoint(tmp_path / "model")(ids) == ours(ids)).all()


@pytest.mark.parametrize("tie", [True, False])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_we_load_a_folder_of_transformers_with_equal_logits(tie: bool, dtype: torch.dtype, tmp_path: Path) -> None:
    torch.manual_seed(11)
    config = GPT2Config(
        vocab_size=300,
        n_positions=24,
        n_embd=32,
        n_layer=2,
        n_head=2,
        tie_word_embeddings=tie,
        initializer_range=0.2,
        eos_token_id=299,
        bos_token_id=299,
    )
    theirs = GPT2LMHeadModel(config).eval().to(dtype)
    theirs.save_pretrained(tmp_path)
    ours = load_checkpoint(tmp_path)
    ids = torch.randint(300, (2, 24))
    with torch.no_grad():
        assert (ours(ids) - theirs.float()(ids).logits).abs().max() < TOLERANCE


def test_greedy_text_of_ragged_prompts_equals_transformers(tmp_path: Path, tokenizer_folder: Path) -> None:
    ours = random_model(tie=True, qkv_bias=True)
    save_checkpoint(tmp_path / "model", ours, tokenizer_folder)
    theirs = GPT2LMHeadModel.from_pretrained(tmp_path / "model").eval()
    prompts = [torch.randint(279, (length,)).tolist() for length in (1, 5, 3, 9, 2)]
    continuations = generate(ours, prompts, 12, (), Sampling(), batch_size=3)
    for prompt, continuation in zip(prompts, continuations, strict=True):
        expected = theirs.generate(
            torch.tensor([prompt]),
            attention_mask=torch.ones(1, len(prompt), dtype=torch.int64),
            max_new_tokens=12,
            do_sample=False,
            eos_token_id=None,
            pad_token_id=0,
        )
        assert continuation.ids == expected[0, len(prompt) :].tolist()


def test_transformers_tokenizes_as_we_do_from_the_same_folder(tmp_path: Path, tokenizer_folder: Path) -> None:
    save_checkpoint(tmp_path / "model", random_model(tie=True, qkv_bias=True), tokenizer_folder)
    _, tokenizer = load(tmp_path / "model")
    theirs = AutoTokenizer.from_pretrained(tmp_path / "model")
    for text in ("the cat sat on a mat", "  Two  spaces\n\nand lines ", "Ünïcödé 🙂 don't", "<|endoftext|>"):
        assert theirs.encode(text) == tokenizer.encode(text, allowed_special="all")
