"""Multi-head attention: three ways to compute it, one result, whatever the mask and the cache."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from scratchlm.model.attention import MultiHeadAttention, attention_weights
from scratchlm.model.config import AttentionKind
from scratchlm.model.kv_cache import KVCache

KINDS: tuple[AttentionKind, ...] = ("sdpa", "manual", "per_head")
B, T, D, H, K = 3, 8, 24, 4, 6
EQUAL = 1e-6  # float32; relative for numbers above 1


def attentions(drop_rate: float = 0.0, qkv_bias: bool = True) -> list[MultiHeadAttention]:
    """One attention of each kind, all with the same weights, large enough for uneven attention."""
    torch.manual_seed(0)
    made = [MultiHeadAttention(D, H, drop_rate, qkv_bias, kind) for kind in KINDS]
    with torch.no_grad():
        made[0].c_attn.weight.mul_(3)
    for other in made[1:]:
        other.load_state_dict(made[0].state_dict())
    return made


def random_text() -> Tensor:
    return torch.randn(B, T, D, generator=torch.Generator().manual_seed(1))


def assert_close(got: Tensor, wanted: Tensor) -> None:
    torch.testing.assert_close(got, wanted, atol=EQUAL, rtol=EQUAL)


def padding_mask(lengths: list[int]) -> Tensor:
    """The mask of texts padded on the left, [B, 1, T, T]; padding sees only itself."""
    columns_T = torch.arange(T)
    real_BS = columns_T >= T - torch.tensor(lengths)[:, None]
    causal_TT = columns_T[:, None] >= columns_T
    return ((causal_TT & real_BS[:, None]) | torch.eye(T, dtype=torch.bool))[:, None]


MASKS = {
    "causal": None,
    "padded": padding_mask([8, 5, 1]),
    "all see all": torch.ones(1, 1, T, T, dtype=torch.bool),
    "holes": torch.eye(T).bool() | (torch.rand(B, 1, T, T, generator=torch.Generator().manual_seed(2)) < 0.5),
}


def empty_cache() -> KVCache:
    return KVCache(2, B, H, T, K, torch.float32, torch.device("cpu"))


@pytest.mark.parametrize("mask", MASKS.values(), ids=MASKS)
@pytest.mark.parametrize("qkv_bias", [False, True])
def test_all_kinds_give_the_same_values_and_gradients(mask: Tensor | None, qkv_bias: bool) -> None:
    probe_BTD = torch.randn(B, T, D, generator=torch.Generator().manual_seed(3)) / (B * T)
    results = []
    for attention in attentions(qkv_bias=qkv_bias):
        x_BTD = random_text().requires_grad_()
        y_BTD = attention(x_BTD, mask, None)
        (y_BTD * probe_BTD).sum().backward()
        gradients = {name: parameter.grad for name, parameter in attention.named_parameters()}
        results.append({"values": y_BTD.detach(), "input": x_BTD.grad, **gradients})
    for other in results[1:]:
        assert other.keys() == results[0].keys()
        for name, wanted in results[0].items():
            assert torch.allclose(other[name], wanted, atol=EQUAL, rtol=EQUAL), name
    assert len(results) == 3 and all(gradient.abs().max() > 1e-3 for gradient in results[0].values())


@pytest.mark.parametrize("mask", MASKS.values(), ids=MASKS)
def test_only_visible_tokens_change_the_output(mask: Tensor | None) -> None:
    """A hidden token can be anything; a visible one makes a difference."""
    visible = torch.ones(T, T, dtype=torch.bool).tril() if mask is None else mask
    seen_BTS = visible.expand(B, H, T, T).any(dim=1)
    for attention in attentions():
        with torch.no_grad():
            before = attention(random_text(), mask, None)
            for column in range(T):
                changed_BTD = random_text()
                changed_BTD[:, column] += 1
                differs_BT = (attention(changed_BTD, mask, None) != before).any(dim=-1)
                # Changing a token changes its own query, so its own row differs if it sees more than itself.
                others = torch.arange(T) != column
                assert torch.equal(differs_BT[:, others], seen_BTS[:, others, column])


@pytest.mark.parametrize("pieces", [[8], [5, 3], [4, 1, 1, 2], [1] * 8])
@pytest.mark.parametrize("kind", KINDS)
def test_the_cache_gives_the_same_as_the_whole_text(kind: AttentionKind, pieces: list[int]) -> None:
    attention = attentions()[KINDS.index(kind)]
    cache = empty_cache()
    parts = []
    with torch.no_grad():
        for x_BTD in random_text().split(pieces, dim=1):
            parts.append(attention(x_BTD, None, cache.layer(1)))
            cache.length += x_BTD.shape[1]
        whole_BTD = attention(random_text(), None, None)
    assert_close(torch.cat(parts, dim=1), whole_BTD)


@pytest.mark.parametrize("kind", KINDS)
def test_padded_texts_with_the_cache_give_the_same_as_each_alone(kind: AttentionKind) -> None:
    attention = attentions()[KINDS.index(kind)]
    lengths = [8, 5, 2]
    mask = padding_mask(lengths)
    cache = empty_cache()
    x_BTD = random_text()
    with torch.no_grad():
        attention(x_BTD[:, :-1], mask[:, :, :-1, :-1], cache.layer(0))
        cache.length = T - 1
        last_BD = attention(x_BTD[:, -1:], mask[:, :, -1:], cache.layer(0))[:, 0]
        for row, length in enumerate(lengths):
            alone_BD = attention(x_BTD[[row], T - length :], None, None)[:, -1]
            assert_close(last_BD[[row]], alone_BD)


@pytest.mark.parametrize("mask", MASKS.values(), ids=MASKS)
def test_the_manual_formula_has_the_same_dropout_as_sdpa(mask: Tensor | None) -> None:
    outputs = []
    for attention in attentions(drop_rate=0.3)[:2]:
        torch.manual_seed(4)
        outputs.append(attention(random_text(), mask, None).detach())
        assert not torch.allclose(attention(random_text(), mask, None), outputs[-1], atol=1e-3)  # another random stream
    assert_close(outputs[1], outputs[0])


def test_dropout_acts_in_training_only_and_keeps_the_mean() -> None:
    for attention in attentions(drop_rate=0.3):
        with torch.no_grad():
            wanted = attention.eval()(random_text(), None, None)
            assert torch.equal(attention(random_text(), None, None), wanted)
            attention.train()
            torch.manual_seed(5)
            draws = torch.stack([attention(random_text(), None, None) for _ in range(1000)])
        sigmas = (draws.mean(dim=0) - wanted) / (draws.std(dim=0) / 1000**0.5)
        assert sigmas.abs().max() < 5 and draws.std(dim=0).min() > 0.01


@pytest.mark.parametrize("mask", MASKS.values(), ids=MASKS)
def test_rows_of_weights_sum_to_one_and_hidden_ones_are_zero(mask: Tensor | None) -> None:
    q_BHTK, k_BHSK, _ = attentions()[0].queries_keys_values(random_text())
    weights_BHTS = attention_weights(q_BHTK, k_BHSK, mask)
    visible = torch.ones(T, T, dtype=torch.bool).tril() if mask is None else mask
    assert_close(weights_BHTS.sum(dim=-1), torch.ones(B, H, T))
    assert torch.equal(weights_BHTS > 0, visible.expand(B, H, T, T))


def test_the_queries_are_those_of_the_last_tokens() -> None:
    q_BHTK, k_BHSK, _ = attentions()[0].queries_keys_values(random_text())
    all_BHTS = attention_weights(q_BHTK, k_BHSK)
    assert_close(attention_weights(q_BHTK[:, :, -3:], k_BHSK), all_BHTS[:, :, -3:])


def test_scores_are_divided_by_the_root_of_the_width() -> None:
    q_BHTK = torch.full((1, 1, 1, 16), 0.5)
    k_BHSK = torch.stack([torch.zeros(16), torch.ones(16)])[None, None]
    weights = attention_weights(q_BHTK, k_BHSK, torch.tensor([[True, True]]))
    # scores 0 and 8, divided by 4
    assert weights[0, 0, 0].tolist() == pytest.approx(torch.tensor([0.0, 2.0]).softmax(dim=0).tolist())
