"""The formulas against the layers that the models compute with, and gradients that vanish without shortcuts."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from scratchlm.anatomy.formulas import (
    DeepNetwork,
    gelu,
    gelu_tanh,
    gradient_means,
    layer_norm,
    relu,
    rms_norm,
    silu,
    swiglu,
    turn,
)
from scratchlm.model.config import GPTConfig, LlamaConfig
from scratchlm.model.gpt import GPT, activate
from scratchlm.model.init import new_model
from scratchlm.model.llama import GatedFeedForward, RMSNorm, rotate, rotation

NUMBERS = torch.linspace(-8, 8, 2001)


def test_layer_norm_is_the_one_the_gpt_computes_with() -> None:
    torch.manual_seed(0)
    x_BTD, scale_D, shift_D = torch.randn(2, 5, 24) * 3 + 1, torch.randn(24), torch.randn(24)
    for size in (1.0, 1e-3):  # at 1e-3 eps is larger than the variance
        ours = layer_norm(size * x_BTD, scale_D, shift_D)
        assert torch.allclose(ours, F.layer_norm(size * x_BTD, (24,), scale_D, shift_D), atol=1e-5)
    assert nn.LayerNorm(24).eps == 1e-5


def test_layer_norm_gives_mean_0_and_biased_variance_1() -> None:
    torch.manual_seed(123)
    normed_BD = layer_norm(torch.randn(2, 5), torch.ones(5), torch.zeros(5))
    assert torch.allclose(normed_BD.mean(dim=-1), torch.zeros(2), atol=1e-6)
    assert torch.allclose(normed_BD.var(dim=-1, unbiased=False), torch.ones(2), atol=1e-4)
    assert torch.allclose(normed_BD.var(dim=-1), torch.full((2,), 5 / 4), atol=1e-4)  # the unbiased variance


def test_layer_norm_of_equal_numbers_is_the_shift() -> None:
    shift_D = torch.tensor([1.0, 2.0, 3.0])
    assert torch.equal(layer_norm(torch.full((2, 3), 7.0), torch.ones(3), shift_D), shift_D.expand(2, 3))


def test_gelus_are_those_the_gpt_computes_with() -> None:
    assert torch.allclose(gelu(NUMBERS), activate(NUMBERS, "gelu"), atol=1e-6)
    assert torch.allclose(gelu_tanh(NUMBERS), activate(NUMBERS, "gelu_tanh"), atol=1e-6)


def test_relu_is_the_one_the_gpt_computes_with() -> None:
    assert torch.equal(relu(NUMBERS), activate(NUMBERS, "relu"))


def test_the_tanh_form_is_close_to_the_exact_gelu_but_not_it() -> None:
    largest = (gelu(NUMBERS) - gelu_tanh(NUMBERS)).abs().max().item()
    assert 0.0004 < largest < 0.0005


def test_gelu_is_a_smooth_relu_that_dips_below_zero() -> None:
    x = torch.tensor([-8.0, -0.75, 0.0, 1.0, 8.0])
    expected = [value * (1 + math.erf(value / math.sqrt(2))) / 2 for value in x.tolist()]
    assert gelu(x).tolist() == pytest.approx(expected, abs=1e-6)
    assert gelu(x)[1] < -0.16 and F.relu(x)[1] == 0
    assert torch.allclose(gelu(x)[[0, 4]], F.relu(x)[[0, 4]], atol=1e-5)


def test_rms_norm_is_the_one_the_llama_computes_with() -> None:
    torch.manual_seed(0)
    x_BTD, norm = torch.randn(2, 5, 24) * 3 + 1, RMSNorm(24, 1e-3)
    norm.weight.data = torch.randn(24)
    for size in (1.0, 1e-2):  # at 1e-2 eps is as large as the mean square
        assert torch.allclose(rms_norm(size * x_BTD, norm.weight, 1e-3), norm(size * x_BTD), atol=1e-5)
    normed_BTD = rms_norm(x_BTD, torch.ones(24))
    assert torch.allclose((normed_BTD**2).mean(dim=-1), torch.ones(2, 5), atol=1e-4)
    assert normed_BTD.mean(dim=-1).abs().min() > 0.01  # the mean stays


def test_silu_is_torchs_and_close_to_the_gelu() -> None:
    assert torch.allclose(silu(NUMBERS), F.silu(NUMBERS), atol=1e-6)
    assert 0.1 < (silu(NUMBERS) - gelu(NUMBERS)).abs().max() < 0.3


def test_swiglu_is_the_one_the_llama_computes_with() -> None:
    torch.manual_seed(0)
    fast = GatedFeedForward(LlamaConfig(50, 16, 24, 4, 1, n_kv_heads=2, hidden_dim=40, rope_base=1e4))
    x_BTD = torch.randn(2, 5, 24) * 3
    slow_BTD = swiglu(x_BTD, fast.gate_proj.weight, fast.up_proj.weight, fast.down_proj.weight)
    assert torch.allclose(slow_BTD, fast(x_BTD), atol=1e-5)
    swapped_BTD = swiglu(x_BTD, fast.up_proj.weight, fast.gate_proj.weight, fast.down_proj.weight)
    assert not torch.allclose(swapped_BTD, fast(x_BTD), atol=1e-2)


def test_turning_complex_numbers_is_the_rotation_the_llama_computes_with() -> None:
    torch.manual_seed(0)
    x_BHTK, positions_T = torch.randn(2, 3, 6, 8), torch.tensor([0, 1, 2, 9, 100, 999])
    turned_BHTK = turn(x_BHTK, positions_T, 100.0)
    assert torch.allclose(turned_BHTK, rotate(x_BHTK, rotation(positions_T, 8, 100.0)), atol=1e-4)
    assert torch.equal(turned_BHTK[:, :, 0], x_BHTK[:, :, 0])  # position 0 is not turned
    assert torch.allclose(turned_BHTK.norm(dim=-1), x_BHTK.norm(dim=-1), atol=1e-5)


def test_the_product_of_turned_vectors_depends_on_their_distance_alone() -> None:
    torch.manual_seed(0)
    q_1K, k_1K = torch.randn(2, 1, 16)
    products = {
        (at, distance): (turn(q_1K, torch.tensor([at + distance]), 1e4) @ turn(k_1K, torch.tensor([at]), 1e4).T).item()
        for at in (0, 7, 300)
        for distance in (0, 1, 50)
    }
    for distance in (0, 1, 50):
        assert [products[at, distance] for at in (7, 300)] == pytest.approx([products[0, distance]] * 2, abs=1e-3)
    assert abs(products[0, 0] - products[0, 1]) > 0.1


# Section 4.4; the last digits of float32 depend on the machine.
@pytest.mark.parametrize(
    ("shortcuts", "printed"),
    [
        (
            False,
            [
                *(0.00020173587836325169, 0.0001201116101583466, 0.0007152041653171182),
                *(0.0013988735154271126, 0.005049645435065031),
            ],
        ),
        (
            True,
            [
                *(0.22169792652130127, 0.20694106817245483, 0.32896995544433594),
                *(0.2665732204914093, 1.3258541822433472),
            ],
        ),
    ],
)
def test_gradient_means_are_the_books(shortcuts: bool, printed: list[float]) -> None:
    torch.manual_seed(123)
    network = DeepNetwork([3, 3, 3, 3, 3, 1], shortcuts)
    F.mse_loss(network(torch.tensor([[1.0, 0.0, -1.0]])), torch.tensor([[0.0]])).backward()
    assert gradient_means(network.layers) == pytest.approx(printed, rel=1e-6)


def test_a_shortcut_is_taken_only_where_the_widths_agree() -> None:
    torch.manual_seed(0)
    network = DeepNetwork([4, 4, 2], shortcuts=True)
    first, last = network.layers
    x_BD = torch.randn(3, 4)
    hidden_BD = x_BD + gelu_tanh(first(x_BD))
    assert torch.equal(network(x_BD), gelu_tanh(last(hidden_BD)))


def test_gradient_means_weigh_every_matrix_element_alike_and_leave_vectors_out() -> None:
    module = nn.ModuleDict({"wide": nn.Linear(3, 2), "narrow": nn.Linear(1, 2), "norm": nn.LayerNorm(2)})
    for parameter in module.parameters():
        parameter.grad = torch.full_like(parameter, 100.0)
    module["wide"].weight.grad = torch.tensor([[1.0, -1.0, 1.0], [-1.0, 1.0, -1.0]])
    module["narrow"].weight.grad = torch.tensor([[5.0], [-5.0]])
    assert gradient_means([module]) == [(6 * 1 + 2 * 5) / 8]


def test_gradient_means_of_what_the_loss_did_not_reach_are_nan() -> None:
    frozen, trained = nn.Linear(2, 2).requires_grad_(False), nn.Linear(2, 2)
    trained(frozen(torch.ones(1, 2))).sum().backward()
    means = gradient_means([frozen, trained, nn.LayerNorm(2)])
    assert math.isnan(means[0]) and means[1] > 0 and math.isnan(means[2])


def small_gpt(shortcuts: bool, n_layers: int) -> tuple[GPT, Tensor]:
    torch.manual_seed(0)
    model = new_model(GPTConfig(50, 16, 32, 4, n_layers, shortcuts=shortcuts), "gpt2", 0.05)
    return model, torch.randint(50, (16, 17))


def backward(model: GPT, ids_BT: Tensor) -> float:
    model.zero_grad()
    loss = F.cross_entropy(model(ids_BT[:, :-1]).flatten(0, 1), ids_BT[:, 1:].flatten())
    loss.backward()
    return loss.item()


def test_in_a_fresh_gpt_without_shortcuts_only_queries_and_keys_lose_their_gradient() -> None:
    """Unlike in `DeepNetwork`: the layer norm before each part scales up small values.

    But each block makes the tokens more alike, and among equal tokens attention makes no difference.
    """
    means, of_queries_and_keys = {}, {}
    for shortcuts in (True, False):
        model, ids_BT = small_gpt(shortcuts, n_layers=12)
        backward(model, ids_BT)
        means[shortcuts] = gradient_means(model.h)
        of_queries_and_keys[shortcuts] = [block.attn.c_attn.weight.grad[:64].abs().mean().item() for block in model.h]
    assert len(means[False]) == 12 and min(means[False]) > max(means[True])
    assert min(of_queries_and_keys[True]) > 0.3 * max(of_queries_and_keys[True])
    assert of_queries_and_keys[False][-1] < 0.01 * min(of_queries_and_keys[True])


def test_a_gpt_without_shortcuts_does_not_learn() -> None:
    losses = {}
    for shortcuts in (True, False):
        model, ids_BT = small_gpt(shortcuts, n_layers=6)
        optimizer = torch.optim.AdamW(model.parameters(), 3e-3)
        for _ in range(20):
            backward(model, ids_BT)
            optimizer.step()
        losses[shortcuts] = backward(model, ids_BT)
    assert losses[True] < 2.8 and losses[False] > 3.7  # a uniform guess has ln 50 = 3.91
