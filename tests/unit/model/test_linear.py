"""The linear layers' own matrix product has the values and gradients of torch's, and leaves the rest to torch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from recorded_operations import Recorded
from torch import Tensor
from torch.nn import functional as F

from scratchlm.model import linear as module
from scratchlm.model.config import GPTConfig
from scratchlm.model.init import new_model
from scratchlm.model.linear import linear

OURS, WITHIN = torch.ops.mkldnn._linear_pointwise.default, 1e-4
SHAPES = pytest.mark.parametrize("shape", [(2, 80, 128), (160, 128)])


@pytest.fixture(autouse=True)
def _on_any_processor_with_onednn(monkeypatch: pytest.MonkeyPatch) -> None:
    if not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        pytest.skip("this torch has no oneDNN")
    monkeypatch.setattr(module, "onednn_is_faster", lambda: True)


def example(shape: tuple[int, ...], requires_grad: bool = True) -> tuple[Tensor, Tensor, Tensor]:
    """Return an input, a weight [96, 128] and a bias: a product above `SMALL_PRODUCT`."""
    generator = torch.Generator().manual_seed(1)
    sizes = (shape, (96, 128), (96,))
    x, weight, bias = (torch.randn(size, generator=generator).requires_grad_(requires_grad) for size in sizes)
    return x, weight, bias


def gradients(product: Callable[..., Tensor], shape: tuple[int, ...]) -> tuple[Tensor, ...]:
    tensors = example(shape)
    return torch.autograd.grad(product(*tensors).sin().sum(), tensors)


@SHAPES
def test_the_product_and_its_gradients_are_torchs(shape: tuple[int, ...]) -> None:
    with Recorded() as recorded:
        ours = linear(*example(shape))
        ours_of = gradients(linear, shape)
    assert recorded.count(OURS) == 1 + 3
    assert torch.allclose(ours, F.linear(*example(shape)), atol=WITHIN)
    for ours, theirs in zip(ours_of, gradients(F.linear, shape), strict=True):
        assert torch.allclose(ours, theirs, atol=WITHIN)


def test_a_frozen_weight_costs_no_product() -> None:
    x, weight, bias = example((2, 80, 128))
    with Recorded() as recorded:
        linear(x, weight.detach(), bias.detach()).sum().backward()  # type: ignore[no-untyped-call]
        assert recorded.count(OURS) == 2
        linear(x.detach(), weight, bias).sum().backward()  # type: ignore[no-untyped-call]
        assert recorded.count(OURS) == 4


def test_a_gradient_of_a_gradient_is_torchs() -> None:
    seconds = []
    for product in (linear, F.linear):
        tensors = example((2, 80, 128))
        first = torch.autograd.grad(product(*tensors).sin().sum(), tensors, create_graph=True)
        seconds.append(torch.autograd.grad(sum(grad.square().sum() for grad in first), tensors))
    for ours, theirs in zip(*seconds, strict=True):
        assert torch.allclose(ours, theirs, rtol=1e-3, atol=1e-2)


@pytest.mark.filterwarnings("ignore:There is a performance drop", "ignore:`torch.jit.script` is deprecated")
def test_functional_gradients_also_of_each_example_are_torchs() -> None:
    x, weight, _ = example((2, 80, 128), requires_grad=False)
    both = []
    for product in (linear, F.linear):
        of_weight = torch.func.grad(lambda weight, x, product=product: product(x, weight).sin().sum())
        both.append((of_weight(weight, x), torch.func.vmap(of_weight, (None, 0))(weight, torch.stack([x, -2 * x]))))
    for ours, theirs in zip(*both, strict=True):
        assert torch.allclose(ours, theirs, atol=WITHIN)


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_without_gradients_the_product_is_the_same(mode: Any) -> None:
    with mode(), Recorded() as recorded:
        ours = linear(*example((2, 80, 128)))
    assert recorded.count(OURS) == 1 and not ours.requires_grad
    assert torch.equal(ours, linear(*example((2, 80, 128))).detach())


def test_under_autocast_torch_computes_the_product_in_bfloat16() -> None:
    x, weight, bias = example((2, 80, 128))
    with Recorded() as recorded:
        with torch.autocast("cpu", torch.bfloat16):
            ours = linear(x, weight, bias)
            assert ours.dtype == torch.bfloat16 and torch.equal(ours, F.linear(x, weight, bias))
        ours.float().sin().sum().backward()  # type: ignore[no-untyped-call]
    assert recorded.count(OURS) == 0
    assert weight.grad is not None and weight.grad.dtype == torch.float32


def test_a_compiled_gpt_is_one_graph_of_torchs_own_products() -> None:
    graphs: list[torch.fx.GraphModule] = []

    def keep(graph: torch.fx.GraphModule, examples: Any) -> Any:
        graphs.append(graph)
        return graph.forward

    torch.manual_seed(0)
    model = new_model(GPTConfig(400, 64, 128, 2, 1, 0.0), "gpt2")
    ids = torch.randint(400, (4, 64))
    torch.compiler.reset()  # other tests may have compiled as many graphs as torch keeps
    compiled = torch.compile(model, backend=keep, fullgraph=True)(ids)
    assert torch.allclose(compiled, model(ids), atol=WITHIN)
    (graph,) = graphs
    called = [node.target for node in graph.graph.nodes]
    assert called.count(F.linear) == 5 and OURS not in called  # four in the block, and the head
