"""LoRA: what is drawn, how much is trained, that merging changes no logit, and that nothing big is kept twice."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from transformers import GPT2LMHeadModel

from scratchlm.assistant.folder import load_assistant, save_assistant
from scratchlm.bases.gpt2 import gpt2_config
from scratchlm.classifier.classifier import Classifier
from scratchlm.classifier.folder import Description, load_classifier, save_classifier
from scratchlm.errors import InputError
from scratchlm.generation.decode import Sampling, generate, generate_uncached
from scratchlm.model import linear as linear_module
from scratchlm.model.config import GPTConfig
from scratchlm.model.gpt import GPT
from scratchlm.model.init import empty_model, new_model
from scratchlm.model.language_model import n_parameters
from scratchlm.model.linear import Linear
from scratchlm.model.lora import LowRank, add_lora, merged_state, untied_head
from scratchlm.params.schema import FinetuningParams
from scratchlm.training.optimizer import n_trained_parameters, trained_parameters

CONFIG = GPTConfig(vocab_size=280, context_length=32, emb_dim=24, n_heads=3, n_layers=2)
RANK = 4
TOLERANCE = 1e-5  # float32
SHAPES = list(itertools.product([True, False], [True, False], [16.0, 16.0 / RANK]))  # tied, qkv_bias, scale


@pytest.fixture(autouse=True)
def seed() -> None:
    torch.manual_seed(7)


def assistant(tied: bool = True, qkv_bias: bool = True, scale: float = 16.0, rank: int = RANK) -> GPT:
    """A GPT with LoRA, whose base has nontrivial biases and norms."""
    model = randomized(new_model(replace(CONFIG, tie_embeddings=tied, qkv_bias=qkv_bias), "gpt2"))
    add_lora(model, [model.h, untied_head(model)], rank, scale)
    return model.eval()


def classifier(tied: bool = True, qkv_bias: bool = True, scale: float = 16.0, rank: int = RANK) -> Classifier:
    model = Classifier(randomized(new_model(replace(CONFIG, tie_embeddings=tied, qkv_bias=qkv_bias), "gpt2")))
    add_lora(model, [model.gpt.h, model.head], rank, scale)
    return model.eval()


@torch.no_grad()
def randomized(model: GPT) -> GPT:
    for parameter in model.parameters():
        parameter.add_(torch.randn_like(parameter) * 0.05)
    return model


@torch.no_grad()
def after_training(model: nn.Module) -> None:
    """Give B values that change the logits as much as a training would."""
    for part in low_ranks(model):
        part.B.normal_(std=0.02 / math.sqrt(part.scale))


def low_ranks(model: nn.Module) -> Iterator[LowRank]:
    return (module for module in model.modules() if isinstance(module, LowRank))


def ids(n: int = 3) -> Tensor:
    return torch.randint(CONFIG.vocab_size, (n, 20), generator=torch.Generator().manual_seed(3))


# --- what is trained ----------------------------------------------------------------------------------------


def test_the_published_number_of_parameters_of_the_classifier_is_trained() -> None:
    with torch.device("meta"):
        model = Classifier(empty_model(gpt2_config("124M")))
        add_lora(model, [model.gpt.h, model.head], 16, 16.0)
    assert n_trained_parameters(model) == 2_666_528
    assert n_parameters(model) == 124_441_346 + 2_666_528  # of the book's classifier


@pytest.mark.parametrize("tied", [True, False])
def test_the_published_number_of_parameters_of_the_assistant_is_trained(tied: bool) -> None:
    config = replace(gpt2_config("355M"), tie_embeddings=tied)
    with torch.device("meta"):
        model = empty_model(config)
        before = n_parameters(model)
        add_lora(model, [model.h, untied_head(model)], 16, 16.0)
    assert n_trained_parameters(model) == 7_898_384
    assert n_parameters(model) == before + 7_898_384  # a tied head has no matrix of its own in memory


def test_every_linear_layer_has_its_matrices_and_nothing_else_is_trained() -> None:
    for model in (assistant(tied=True), assistant(tied=False), classifier(tied=True)):
        linears = [name for name, module in model.named_modules() if isinstance(module, Linear)]
        assert len(linears) == 4 * CONFIG.n_layers + 1
        assert [name for name, _ in trained_parameters(model)] == [
            f"{name}.lora.{key}" for name in linears for key in "AB"
        ]


def test_an_output_head_that_a_classifier_does_not_use_is_left_alone() -> None:
    model = classifier(tied=False)
    assert model.gpt.lm_head.lora is None and not model.gpt.lm_head.weight.requires_grad


def test_the_first_matrices_are_drawn_layer_by_layer_and_query_key_and_value_apart() -> None:
    base = new_model(CONFIG, "gpt2")
    torch.manual_seed(123)
    add_lora(base, [base.h, untied_head(base)], RANK, 1.0)
    torch.manual_seed(123)
    D = CONFIG.emb_dim
    for block in base.h:
        expected = [nn.init.kaiming_uniform_(torch.empty(n, RANK), a=math.sqrt(5)) for n in (D, D, D, D, D, 4 * D)]
        parts = (block.attn.c_attn, block.attn.c_proj, block.mlp.c_fc, block.mlp.c_proj)
        drawn = torch.cat([part.lora.A.T for part in parts[:3]]).split(RANK)
        assert all(torch.equal(a.T, b) for a, b in zip(drawn, expected[:5], strict=True))
        assert torch.equal(parts[3].lora.A, expected[5])
        assert expected[5].abs().max() <= 1 / math.sqrt(RANK)
    assert torch.equal(base.lm_head.lora.A, nn.init.kaiming_uniform_(torch.empty(D, RANK), a=math.sqrt(5)))


@pytest.mark.parametrize("tied", [True, False])
def test_nothing_changes_before_the_first_step(tied: bool) -> None:
    base = new_model(replace(CONFIG, tie_embeddings=tied), "gpt2").eval()
    with torch.no_grad():
        before = base(ids())
        add_lora(base, [base.h, untied_head(base)], RANK, 16.0)
        assert torch.equal(base(ids()), before)


def test_the_scale_is_alpha_or_alpha_over_rank() -> None:
    settings = {"lora_rank": 8, "lora_alpha": 12.0}
    assert FinetuningParams.model_construct(**settings, lora_scaling="alpha").lora_scale == 12.0
    assert FinetuningParams.model_construct(**settings, lora_scaling="alpha_over_rank").lora_scale == 1.5


def test_a_layer_adds_the_scaled_product_of_its_pair() -> None:
    layer = Linear(24, 9)
    add_lora(layer, [layer], RANK, 3.0)
    after_training(layer)
    x, pair = torch.randn(5, 24), layer.lora
    expected = nn.functional.linear(x, layer.weight, layer.bias) + 3.0 * (x @ pair.A @ pair.B)
    assert torch.allclose(layer(x), expected, atol=TOLERANCE)


def test_query_key_and_value_learn_apart() -> None:
    model = assistant()
    c_attn = model.h[0].attn.c_attn
    with torch.no_grad():
        c_attn.lora.B[:, CONFIG.emb_dim : 2 * CONFIG.emb_dim] = 1.0  # the keys'
        changed = c_attn.lora(torch.randn(5, CONFIG.emb_dim)).split(CONFIG.emb_dim, dim=1)
    assert [bool(part.any()) for part in changed] == [False, True, False]
    c_attn.lora.zero_grad()
    c_attn.lora(torch.randn(5, CONFIG.emb_dim)).split(CONFIG.emb_dim, dim=1)[1].sum().backward()
    assert [bool(part.any()) for part in c_attn.lora.A.grad.split(RANK, dim=1)] == [False, True, False]


def test_a_rank_above_the_width_is_refused_and_one_above_the_number_of_labels_is_not() -> None:
    assert classifier(rank=CONFIG.emb_dim).head.lora.B.shape == (CONFIG.emb_dim, 2)
    model = new_model(CONFIG, "gpt2")
    with pytest.raises(InputError, match=r"lora_rank is 25, but this model has layers of 24 inputs.* set it to 24 or"):
        add_lora(model, [model.h], 25, 16.0)
    assert all(parameter.requires_grad for parameter in model.parameters())


# --- what is kept in memory ---------------------------------------------------------------------------------


def test_a_tied_head_keeps_the_embeddings_matrix_and_gets_no_copy() -> None:
    model = assistant(tied=True)
    assert model.lm_head.weight is model.wte.weight
    assert not model.config.tie_embeddings
    model.to(torch.float64)  # as moving to a GPU
    assert model.lm_head.weight is model.wte.weight


@pytest.mark.parametrize("width", [24, 256])  # through torch's product, and through oneDNN's where that is faster
def test_the_frozen_weights_get_no_gradient_and_none_is_computed(width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    model = new_model(replace(CONFIG, emb_dim=width, n_heads=4), "gpt2")
    add_lora(model, [model.h, untied_head(model)], RANK, 1.0)
    after_training(model)
    shapes = []
    original = linear_module._product

    def product(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        result = original(x, weight, bias)
        shapes.append(result.shape)
        return result

    monkeypatch.setattr(linear_module, "_product", product)
    model(ids()).sum().backward()
    for name, parameter in model.named_parameters():
        assert (parameter.grad is not None) == (".lora." in name), name
    weights = {part.weight.shape for part in model.modules() if isinstance(part, Linear)}
    assert not weights & set(shapes)


# --- saving -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("tied", "qkv_bias", "scale"), SHAPES)
def test_an_assistant_is_saved_merged_and_transformers_has_the_same_logits(
    tied: bool, qkv_bias: bool, scale: float, tmp_path: Path, tokenizer_folder: Path
) -> None:
    model = assistant(tied, qkv_bias, scale)
    with torch.no_grad():
        base_logits = model(ids())
        after_training(model)
        logits = model(ids())
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    save_assistant(tmp_path / "assistant", model, tokenizer_folder, "phi3")
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())  # may train on

    loaded, _, _ = load_assistant(tmp_path / "assistant")
    theirs = GPT2LMHeadModel.from_pretrained(tmp_path / "assistant").eval()
    with torch.no_grad():
        assert (logits - base_logits).abs().max() > 100 * TOLERANCE
        assert (loaded(ids()) - logits).abs().max() < TOLERANCE
        assert (theirs(ids()).logits - logits).abs().max() < TOLERANCE
    assert loaded.config == replace(CONFIG, tie_embeddings=False, qkv_bias=qkv_bias)
    stored = load_file(tmp_path / "assistant" / "model.safetensors")
    assert not [name for name in stored if "lora" in name]
    assert not torch.equal(stored["lm_head.weight"], stored["transformer.wte.weight"])
    assert torch.equal(stored["transformer.wte.weight"], model.wte.weight)


@pytest.mark.parametrize(("tied", "qkv_bias", "scale"), SHAPES)
def test_a_classifier_is_saved_merged(
    tied: bool, qkv_bias: bool, scale: float, tmp_path: Path, tokenizer_folder: Path
) -> None:
    model = classifier(tied, qkv_bias, scale)
    with torch.no_grad():
        base_logits = model(ids())
        after_training(model)
        logits = model(ids())
    save_classifier(tmp_path / "classifier", model, tokenizer_folder, Description(["ham", "spam"], 20, 1.0))
    loaded, _, _ = load_classifier(tmp_path / "classifier")
    with torch.no_grad():
        assert (logits - base_logits).abs().max() > 100 * TOLERANCE
        assert (loaded(ids()) - logits).abs().max() < TOLERANCE
    assert loaded.gpt.config.tie_embeddings == tied  # the head of the language model is not the classifier's


def test_without_lora_the_merged_state_is_the_state() -> None:
    model = new_model(CONFIG, "gpt2")
    merged = merged_state(model)
    assert list(merged) == list(model.state_dict())
    assert all(tensor.data_ptr() == merged[name].data_ptr() for name, tensor in model.state_dict().items())


# --- use while it trains ------------------------------------------------------------------------------------


def test_generation_with_a_cache_works_before_merging() -> None:
    model, prompts = assistant(), [[5, 6, 7], [8, 9]]

    def texts() -> list[list[int]]:
        return [new.ids for new in generate(model, prompts, 12, (), Sampling(), batch_size=2)]

    before = texts()
    after_training(model)
    assert texts() == [generate_uncached(model, prompt, 12) for prompt in prompts] != before
