"""The GPT: the book's figures of chapter 4, causality, initial weights."""

from __future__ import annotations

from typing import Literal

import pytest
import torch

from scratchlm.model.config import AttentionKind, GPTConfig
from scratchlm.model.gpt import GPT
from scratchlm.model.init import empty_model, new_model
from scratchlm.model.language_model import n_parameters

TINY = GPTConfig(50, 16, 24, 3, 2, 0.1, qkv_bias=False, tie_embeddings=False)


@pytest.mark.parametrize(
    ("emb_dim", "n_layers", "n_heads", "untied", "tied"),
    [
        (768, 12, 12, 163_009_536, 124_412_160),
        (1024, 24, 16, 406_212_608, 354_749_440),
        (1280, 36, 20, 838_220_800, 773_891_840),
        (1600, 48, 25, 1_637_792_000, 1_557_380_800),
    ],
)
def test_parameter_counts_are_the_books(emb_dim: int, n_layers: int, n_heads: int, untied: int, tied: int) -> None:
    for tie_embeddings, expected in ((False, untied), (True, tied)):
        with torch.device("meta"):
            model = GPT(
                GPTConfig(50257, 1024, emb_dim, n_heads, n_layers, 0.1, qkv_bias=False, tie_embeddings=tie_embeddings)
            )
        assert n_parameters(model) == expected


def test_the_untrained_124m_model_generates_what_the_book_prints() -> None:
    torch.manual_seed(123)
    model = new_model(GPTConfig(50257, 1024, 768, 12, 12, 0.1, qkv_bias=False, tie_embeddings=False), "book").eval()
    ids = torch.tensor([[15496, 11, 314, 716]])  # "Hello, I am"
    with torch.no_grad():
        for _ in range(6):
            ids = torch.cat([ids, model(ids)[:, -1].argmax(dim=-1, keepdim=True)], dim=1)
    # " Featureiman Byeswickattribute argue"
    assert ids[0, 4:].tolist() == [27018, 24086, 47843, 30961, 42348, 7267]


def test_the_books_init_equals_building_its_modules_one_by_one() -> None:
    torch.manual_seed(5)
    model = new_model(TINY, "book")
    torch.manual_seed(5)
    expected = [torch.nn.Embedding(50, 24).weight, torch.nn.Embedding(16, 24).weight]
    for _ in range(2):
        query, key, value = (torch.nn.Linear(24, 24, bias=False).weight for _ in range(3))
        expected.append(torch.cat([query, key, value]))
        for linear in (torch.nn.Linear(24, 24), torch.nn.Linear(24, 96), torch.nn.Linear(96, 24)):
            expected += [linear.weight, linear.bias]
    expected.append(torch.nn.Linear(24, 50, bias=False).weight)
    drawn = [parameter for name, parameter in model.named_parameters() if "ln_" not in name]
    assert len(drawn) == len(expected)
    assert all(torch.equal(ours, theirs) for ours, theirs in zip(drawn, expected, strict=True))


@pytest.mark.parametrize("init", ["book", "gpt2"])
def test_every_parameter_is_set_by_its_init(init: Literal["book", "gpt2"], monkeypatch: pytest.MonkeyPatch) -> None:
    def gpt_of_nan(config: GPTConfig, attention: AttentionKind) -> GPT:
        model = empty_model(config, attention)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.fill_(float("nan"))
        return model

    monkeypatch.setattr("scratchlm.model.init.empty_model", gpt_of_nan)
    tensors = new_model(GPTConfig(50, 16, 24, 3, 2, 0.1, qkv_bias=True, tie_embeddings=False), init).state_dict()
    assert all(torch.isfinite(tensor).all() for tensor in tensors.values())
    norms = [name for name in tensors if "ln_" in name]
    assert len(norms) == 10
    assert all((tensors[name] == float(name.endswith("weight"))).all() for name in norms)


def test_gpt2_init_scales_the_projections_onto_the_shortcut() -> None:
    torch.manual_seed(0)
    model = new_model(GPTConfig(50, 16, 128, 4, 8, 0.0, qkv_bias=True, tie_embeddings=True), "gpt2")
    for block in model.h:
        assert block.attn.c_attn.weight.std().item() == pytest.approx(0.02, rel=0.05)
        assert block.mlp.c_proj.weight.std().item() == pytest.approx(0.02 / 4, rel=0.05)  # sqrt(2 * 8) = 4
        assert not block.attn.c_attn.bias.any()


def test_no_position_sees_the_future() -> None:
    torch.manual_seed(0)
    model = new_model(TINY, "book").eval()
    ids = torch.randint(50, (1, 16))
    changed = ids.clone()
    changed[0, 9] = (changed[0, 9] + 1) % 50
    with torch.no_grad():
        same = (model(ids) == model(changed)).all(dim=-1)[0]
    assert same.tolist() == [True] * 9 + [False] * 7


def test_the_cache_gives_the_logits_of_the_whole_text() -> None:
    torch.manual_seed(0)
    model = new_model(TINY, "book").eval()
    ids = torch.randint(50, (2, 12))
    cache = model.new_cache(2, 12)
    with torch.no_grad():
        whole = model(ids)
        parts = [model.head(model.features(ids[:, a:b], cache=cache)) for a, b in ((0, 7), (7, 8), (8, 9))]
    assert torch.allclose(torch.cat(parts, dim=1), whole[:, :9], atol=1e-5)


def test_dropout_acts_in_training_only() -> None:
    torch.manual_seed(0)
    model = new_model(TINY, "book")
    ids = torch.randint(50, (1, 16))
    assert not torch.equal(model(ids), model(ids))
    model.eval()
    assert torch.equal(model(ids), model(ids))
