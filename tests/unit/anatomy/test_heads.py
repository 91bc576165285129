"""Chapter 3 step by step: the book's printed values, and each step a special case of the next, with shared weights."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from scratchlm.anatomy.heads import (
    CausalHead,
    LinearHead,
    ParameterHead,
    StackedHeads,
    attend_without_weights,
    merge_heads,
)
from scratchlm.errors import InputError
from scratchlm.model.attention import MultiHeadAttention
from scratchlm.model.config import AttentionKind

# "Your journey starts with one step", the book's embedding of six tokens in three numbers (section 3.3.1).
JOURNEY_TD = torch.tensor(
    [
        [0.43, 0.15, 0.89],
        [0.55, 0.87, 0.66],
        [0.57, 0.85, 0.64],
        [0.22, 0.58, 0.33],
        [0.77, 0.25, 0.10],
        [0.05, 0.80, 0.55],
    ]
)
PRINTED = 5e-5  # half a unit of the book's fourth decimal
EQUAL = 1e-6  # float32, numbers around 1


def random_text(n_tokens: int = 7, d_in: int = 6, batch_size: int = 2) -> Tensor:
    return torch.randn(batch_size, n_tokens, d_in, generator=torch.Generator().manual_seed(1))


def assert_close(got: Tensor, wanted: Tensor | list[float], tolerance: float = EQUAL) -> None:
    torch.testing.assert_close(got, torch.as_tensor(wanted), atol=tolerance, rtol=0)


def test_attention_without_weights_gives_the_books_values() -> None:
    weights_TT, contexts_TD = attend_without_weights(JOURNEY_TD)
    assert_close(weights_TT[1], [0.1385, 0.2379, 0.2333, 0.1240, 0.1082, 0.1581], PRINTED)
    assert_close(contexts_TD[1], [0.4419, 0.6515, 0.5683], PRINTED)
    assert_close(weights_TT.sum(dim=-1), torch.ones(6))


def test_heads_give_the_books_values() -> None:
    torch.manual_seed(123)
    assert_close(ParameterHead(3, 2)(JOURNEY_TD)[0], [0.2996, 0.8053], PRINTED)
    torch.manual_seed(789)
    assert_close(LinearHead(3, 2)(JOURNEY_TD)[0], [-0.0739, 0.0713], PRINTED)


def test_stacked_heads_give_the_books_values() -> None:
    torch.manual_seed(123)
    stacked = StackedHeads(CausalHead(3, 2, drop_rate=0.0) for _ in range(2))
    contexts_BTD = stacked(torch.stack([JOURNEY_TD, JOURNEY_TD]))
    assert contexts_BTD.shape == (2, 6, 4)
    assert_close(contexts_BTD[0, 0], [-0.4519, 0.2216, 0.4772, 0.1063], PRINTED)
    assert torch.equal(contexts_BTD[0], contexts_BTD[1])


@pytest.mark.parametrize("kind", ["sdpa", "manual", "per_head"])
def test_multi_head_attention_gives_the_books_values(kind: AttentionKind) -> None:
    """The book maps 3 numbers to 2 with two heads; ours is as wide as its input.

    So the book's weights become two of four heads of width 1, and all other weights are zero.
    """
    torch.manual_seed(123)
    query, key, value = (nn.Linear(3, 2, bias=False) for _ in range(3))
    out_proj = nn.Linear(2, 2)
    attention = MultiHeadAttention(4, 4, 0.0, qkv_bias=False, kind=kind)
    with torch.no_grad():
        for parameter in attention.parameters():
            parameter.zero_()
        for part, linear in enumerate((query, key, value)):
            attention.c_attn.weight[4 * part : 4 * part + 2, :3] = linear.weight
        attention.c_proj.weight[:2, :2] = out_proj.weight
        attention.c_proj.bias[:2] = out_proj.bias
        contexts_BTD = attention(nn.functional.pad(JOURNEY_TD, (0, 1))[None], None, None)
    assert_close(contexts_BTD[0, 0], [0.3190, 0.4858, 0.0, 0.0], PRINTED)


def test_no_weights_are_identity_weights_with_the_scale_undone() -> None:
    _, contexts_TD = attend_without_weights(JOURNEY_TD)
    head = ParameterHead.without_weights(3)
    assert_close(head(JOURNEY_TD), contexts_TD)
    with torch.no_grad():
        head.query.copy_(torch.eye(3))
        assert_close(head(JOURNEY_TD * 3**0.25), 3**0.25 * attend_without_weights(JOURNEY_TD)[1])
        assert not torch.allclose(head(JOURNEY_TD), contexts_TD, atol=1e-3)


def test_a_parameter_head_is_a_linear_head_with_transposed_weights() -> None:
    torch.manual_seed(0)
    parameters = ParameterHead(6, 4)
    linear = LinearHead.from_parameters(parameters)
    assert torch.equal(linear.key.weight, parameters.key.T)
    assert_close(linear(random_text()), parameters(random_text()))


@pytest.mark.parametrize("qkv_bias", [False, True])
def test_a_causal_head_is_a_linear_head_where_a_token_sees_all(qkv_bias: bool) -> None:
    torch.manual_seed(0)
    linear = LinearHead(6, 4, qkv_bias)
    causal = CausalHead.from_linear(linear, drop_rate=0.0)
    x_BTD = random_text()
    assert_close(causal(x_BTD)[:, -1], linear(x_BTD)[:, -1])
    assert_close(causal(x_BTD[:, :1]), linear(x_BTD[:, :1]))
    assert_close(causal(x_BTD)[:, 0], linear.value(x_BTD[:, 0]))  # the first token sees only itself
    assert not torch.allclose(causal(x_BTD)[:, 1:-1], linear(x_BTD)[:, 1:-1], atol=1e-3)


def test_stacked_heads_are_the_heads_side_by_side() -> None:
    torch.manual_seed(0)
    heads = [CausalHead(6, 2, drop_rate=0.0) for _ in range(3)]
    contexts_BTD = StackedHeads(heads)(random_text())
    for number, head in enumerate(heads):
        assert torch.equal(contexts_BTD[..., 2 * number : 2 * number + 2], head(random_text()))


@pytest.mark.parametrize("kind", ["sdpa", "manual", "per_head"])
@pytest.mark.parametrize("qkv_bias", [False, True])
def test_merged_heads_give_what_stacked_heads_give(kind: AttentionKind, qkv_bias: bool) -> None:
    torch.manual_seed(0)
    stacked = StackedHeads(CausalHead(6, 2, 0.0, qkv_bias) for _ in range(3))
    assert_close(merge_heads(stacked, kind)(random_text(), None, None), stacked(random_text()))


def test_one_step_leads_to_the_next_all_the_way() -> None:
    torch.manual_seed(0)
    parameters = ParameterHead(6, 6)
    causal = CausalHead.from_linear(LinearHead.from_parameters(parameters), drop_rate=0.0)
    attention = merge_heads(StackedHeads([causal]))
    # The last token sees all, so there even the head without a mask agrees.
    assert_close(attention(random_text(), None, None)[:, -1], parameters(random_text())[:, -1], 1e-5)


def test_merged_heads_drop_as_their_heads_did() -> None:
    torch.manual_seed(0)
    stacked = StackedHeads(CausalHead(6, 2, drop_rate=0.3) for _ in range(3))
    merged = merge_heads(stacked, "per_head")
    torch.manual_seed(2)
    wanted = stacked(random_text())
    torch.manual_seed(2)
    assert_close(merged(random_text(), None, None), wanted)
    assert not torch.allclose(merged(random_text(), None, None), wanted, atol=1e-3)  # another random stream


def test_heads_that_do_not_fill_the_input_cannot_be_merged() -> None:
    with pytest.raises(InputError, match=r"2 heads of width 2 give 4 numbers per token, but their input has 6"):
        merge_heads(StackedHeads(CausalHead(6, 2, 0.0) for _ in range(2)))


def test_no_token_of_a_causal_head_sees_a_later_one() -> None:
    torch.manual_seed(0)
    stacked = StackedHeads(CausalHead(6, 2, 0.0) for _ in range(3))
    changed_BTD = random_text()
    changed_BTD[:, 4] += 1
    same_BT = (stacked(random_text()) == stacked(changed_BTD)).all(dim=-1)
    assert same_BT.tolist() == [[True] * 4 + [False] * 3] * 2


def test_a_head_without_a_mask_sees_later_tokens() -> None:
    torch.manual_seed(0)
    head = LinearHead(6, 2)
    changed_BTD = random_text()
    changed_BTD[:, -1] += 1
    assert not torch.isclose(head(random_text())[:, 0], head(changed_BTD)[:, 0]).any()


def test_dropout_scales_the_weights_that_stay_and_acts_in_training_only() -> None:
    torch.manual_seed(0)
    head = CausalHead(50, 50, drop_rate=0.2)
    with torch.no_grad():
        head.value.weight.copy_(torch.eye(50))
    one_hot_BTD = torch.eye(50)[None]  # the contexts of one-hot tokens are the attention weights themselves
    weights = head.eval()(one_hot_BTD)
    assert_close(weights.sum(dim=-1), torch.ones(1, 50))
    assert torch.equal(weights, head(one_hot_BTD))
    dropped = head.train()(one_hot_BTD)
    stays = dropped != 0
    assert_close(dropped, torch.where(stays, weights / 0.8, 0.0))
    visible = torch.ones(50, 50).tril().bool()
    assert stays[0, visible].float().mean().item() == pytest.approx(0.8, abs=0.05)  # 1,275 draws: 4.5 sigma
