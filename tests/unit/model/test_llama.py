"""The parts of a Llama: norms, rotations, groups of queries, gates, initial weights, and both kinds of cache."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any, Literal

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from scratchlm.errors import InputError
from scratchlm.model.config import AttentionKind, LlamaConfig
from scratchlm.model.init import empty_model, new_model
from scratchlm.model.language_model import n_parameters
from scratchlm.model.llama import GatedFeedForward, GroupedQueryAttention, Llama, RMSNorm, rotate, rotation
from scratchlm.stage.device import autocast

TINY = LlamaConfig(50, 16, 24, 6, 2, n_kv_heads=2, hidden_dim=20, rope_base=100.0, tie_embeddings=False)
CLOSE = 1e-5  # float32
SMOLLM2 = LlamaConfig(49_152, 8192, 576, 9, 30, n_kv_heads=3, hidden_dim=1536, rope_base=1e5)
LLAMA_2_7B = LlamaConfig(
    32_000, 4096, 4096, 32, 32, n_kv_heads=32, hidden_dim=11_008, rope_base=1e4, tie_embeddings=False
)


def tiny(**changes: Any) -> Llama:
    """A Llama with large random weights and nontrivial norms."""
    torch.manual_seed(3)
    model = new_model(replace(TINY, **changes), "gpt2", 0.3).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 1:
                parameter.uniform_(0.5, 1.5)
    assert isinstance(model, Llama)
    return model


def ids(n_tokens: int = 12, n_texts: int = 2) -> Tensor:
    return torch.randint(50, (n_texts, n_tokens), generator=torch.Generator().manual_seed(1))


# --- the parts, each beside its formula ---------------------------------------------------------------------


def test_a_norm_divides_by_the_root_mean_square_and_multiplies_by_its_weight() -> None:
    norm = RMSNorm(3, epsilon=0.5)
    with torch.no_grad():
        norm.weight.copy_(torch.tensor([1.0, 2.0, -1.0]))
    root = math.sqrt((9 + 16 + 1) / 3 + 0.5)
    expected = [3 / root, 2 * 4 / root, -1 / root]
    assert norm(torch.tensor([[3.0, 4.0, 1.0]]))[0].tolist() == pytest.approx(expected, rel=1e-6)


def test_a_pair_turns_by_its_frequency_times_the_position() -> None:
    """Head dimension 4: pairs (0, 2) and (1, 3), which turn by 1 and by 1 / sqrt(base) radians per position."""
    x = torch.tensor([1.0, 2.0, 3.0, 4.0]).expand(1, 1, 2, 4)
    turned = rotate(x, rotation(torch.tensor([0, 7]), 4, 100.0))[0, 0]
    assert torch.equal(turned[0], x[0, 0, 0])
    expected = []
    for a, b, angle in ((1, 3, 7.0), (2, 4, 0.7)):
        expected.append((a * math.cos(angle) - b * math.sin(angle), b * math.cos(angle) + a * math.sin(angle)))
    (first, third), (second, fourth) = expected
    assert turned[1].tolist() == pytest.approx([first, second, third, fourth], abs=1e-5)


def test_a_product_of_rotated_vectors_depends_on_their_distance_alone() -> None:
    torch.manual_seed(0)
    q, k = torch.randn(2, 1, 1, 1, 16).double()

    def product(at_query: int, at_key: int) -> float:
        turned = [rotate(x, rotation(torch.tensor([p]), 16, 1e4)) for x, p in ((q, at_query), (k, at_key))]
        return float((turned[0] * turned[1]).sum())

    assert product(5, 3) == pytest.approx(product(105, 103), abs=1e-4)
    assert product(5, 3) != pytest.approx(product(3, 5), abs=1e-2)
    assert product(0, 0) == pytest.approx(float((q * k).sum()))


def test_in_bfloat16_far_positions_are_still_told_apart() -> None:
    x = torch.ones(1, 1, 2, 16, dtype=torch.bfloat16)
    turned = rotate(x, rotation(torch.tensor([4000, 4001]), 16, 1e4))
    assert turned.dtype == torch.bfloat16
    exact = rotate(x.float(), rotation(torch.tensor([4000, 4001]), 16, 1e4))
    assert (turned - exact).abs().max() < 0.01 and (turned[..., 0, :] - turned[..., 1, :]).abs().max() > 0.3


@pytest.mark.parametrize("kind", ["sdpa", "manual", "per_head"])
@pytest.mark.parametrize("n_kv_heads", [1, 2, 3, 6])
def test_each_key_serves_the_neighbouring_queries(kind: AttentionKind, n_kv_heads: int) -> None:
    """Head h of the queries sees head h * G / H of keys and values: written out head by head."""
    torch.manual_seed(0)
    attention = GroupedQueryAttention(replace(TINY, n_kv_heads=n_kv_heads), kind)
    x, turned = torch.randn(2, 7, 24), rotation(torch.arange(7), 4, 100.0)
    q, k, v = attention.queries_keys_values(x, turned)
    assert q.shape == (2, 6, 7, 4) and k.shape == v.shape == (2, n_kv_heads, 7, 4)
    hidden = torch.ones(7, 7, dtype=torch.bool).triu(1)
    heads = []
    for head in range(6):
        served = head * n_kv_heads // 6
        scores = (q[:, head] @ k[:, served].transpose(1, 2) / 2).masked_fill(hidden, -torch.inf)  # sqrt(4) = 2
        heads.append(scores.softmax(dim=-1) @ v[:, served])
    expected = F.linear(torch.cat(heads, dim=-1), attention.o_proj.weight)
    assert torch.allclose(attention(x, turned, None, None), expected, atol=CLOSE)


def test_queries_and_keys_are_turned_and_values_are_not() -> None:
    attention = tiny().h[0].attn
    x = torch.randn(1, 5, 24)
    near, far = (attention.queries_keys_values(x, rotation(torch.arange(5) + n, 4, 100.0)) for n in (0, 3))
    assert torch.equal(near[2], far[2])
    assert all(not torch.allclose(a, b, atol=0.01) for a, b in zip(near[:2], far[:2], strict=True))


def test_the_feed_forward_multiplies_by_silu_of_the_gate() -> None:
    torch.manual_seed(0)
    mlp, x = GatedFeedForward(TINY), torch.randn(3, 24)
    gate, up = x @ mlp.gate_proj.weight.T, x @ mlp.up_proj.weight.T
    expected = (gate / (1 + (-gate).exp()) * up) @ mlp.down_proj.weight.T
    assert torch.allclose(mlp(x), expected, atol=CLOSE)


# --- the model ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("config", "n"), [(SMOLLM2, 134_515_008), (LLAMA_2_7B, 6_738_415_616)])
def test_parameter_counts_are_the_published_ones(config: LlamaConfig, n: int) -> None:
    with torch.device("meta"):
        model = empty_model(config)
    assert n_parameters(model) == n
    assert not any(name.endswith("bias") for name, _ in model.named_parameters())


@pytest.mark.parametrize("init", ["book", "gpt2"])
def test_every_parameter_is_set_by_its_init(init: Literal["book", "gpt2"], monkeypatch: pytest.MonkeyPatch) -> None:
    def llama_of_nan(config: LlamaConfig, attention: AttentionKind) -> Any:
        model = empty_model(config, attention)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.fill_(float("nan"))
        return model

    monkeypatch.setattr("scratchlm.model.init.empty_model", llama_of_nan)
    tensors = new_model(TINY, init).state_dict()
    assert all(torch.isfinite(tensor).all() for tensor in tensors.values())
    norms = [name for name in tensors if "ln_" in name]
    assert len(norms) == 5 and all((tensors[name] == 1).all() for name in norms)


def test_gpt2_init_scales_the_projections_onto_the_shortcut() -> None:
    torch.manual_seed(0)
    model = new_model(LlamaConfig(50, 16, 128, 4, 8, n_kv_heads=2, hidden_dim=96, rope_base=1e4), "gpt2")
    for block in model.h:
        for layer in (block.attn.q_proj, block.attn.v_proj, block.mlp.gate_proj, block.mlp.up_proj):
            assert layer.weight.std().item() == pytest.approx(0.02, rel=0.05)
        for layer in (block.attn.o_proj, block.mlp.down_proj):
            assert layer.weight.std().item() == pytest.approx(0.02 / 4, rel=0.05)  # sqrt(2 * 8) = 4


def test_a_model_larger_than_the_memory_is_refused_before_it_is_built() -> None:
    with pytest.raises(InputError, match=r"takes [\d,]+ GiB, this machine has .* or model\.hidden_dim smaller"):
        new_model(replace(TINY, hidden_dim=2**31 - 1, n_layers=100), "gpt2")


@torch.no_grad()
def test_no_position_sees_the_future() -> None:
    model, text = tiny(), ids(16, 1)
    changed = text.clone()
    changed[0, 9] = (changed[0, 9] + 1) % 50
    same = (model(text) == model(changed)).all(dim=-1)[0]
    assert same.tolist() == [True] * 9 + [False] * 7


@torch.no_grad()
def test_order_and_distance_matter_and_where_a_text_begins_does_not() -> None:
    model, text = tiny(), ids()
    positions = torch.arange(12).expand(2, 12)
    logits = model(text)
    assert torch.allclose(model.head(model.features(text, positions + 1000)), logits, atol=1e-3)
    assert not torch.allclose(model.head(model.features(text, positions * 2)), logits, atol=0.05)
    assert not torch.allclose(model(text.flip(1)).flip(1)[:, -1], logits[:, -1], atol=0.05)


@torch.no_grad()
@pytest.mark.parametrize("attention", ["sdpa", "manual", "per_head"])
def test_the_cache_gives_the_logits_of_the_whole_text(attention: AttentionKind) -> None:
    model = tiny()
    for block in model.h:
        block.attn.kind = attention
    cache = model.new_cache(2, 12)
    assert cache.keys.shape == (2, 2, 2, 12, 4)  # layers, texts, heads of keys, capacity, head_dim
    pieces = ((0, 7), (7, 8), (8, 10), (10, 12))
    parts = [model.head(model.features(ids()[:, a:b], cache=cache)) for a, b in pieces]
    assert torch.allclose(torch.cat(parts, dim=1), model(ids()), atol=CLOSE)


@torch.no_grad()
def test_a_shared_start_and_chosen_positions_give_the_logits_of_whole_texts() -> None:
    model, text = tiny(), ids()
    text[:, :5] = text[0, :5]
    chosen = torch.tensor([6, 11, 12 + 5, 12 + 8])
    whole = model(text).flatten(0, 1)[chosen]
    assert torch.allclose(model(text, chosen), whole, atol=CLOSE)
    assert torch.allclose(model(text, chosen, n_shared=5), whole, atol=CLOSE)


def test_dropout_acts_in_training_only() -> None:
    model = tiny(drop_rate=0.1).train()
    assert not torch.equal(model(ids()), model(ids()))
    model.eval()
    assert torch.equal(model(ids()), model(ids()))


@torch.no_grad()
def test_in_bfloat16_and_under_autocast_logits_are_close() -> None:
    model, text = tiny(), ids()
    exact = model(text)
    with autocast(model, "bfloat16"):
        cast = model(text)
    for logits in (cast, model.to(torch.bfloat16)(text)):
        assert logits.dtype == torch.bfloat16
        assert 0 < (logits.float() - exact).abs().max() < 0.05 * exact.abs().max()


@pytest.mark.slow
def test_a_compiled_llama_is_one_graph() -> None:
    torch.compiler.reset()  # other tests may have compiled as many graphs as torch keeps
    model = tiny()
    compiled = torch.compile(model, backend="eager", fullgraph=True)(ids())
    assert torch.allclose(compiled, model(ids()), atol=CLOSE)
