"""The parts of chapter 4 (4.2 to 4.4) and those of a Llama as formulas; tests compare them with the fast ones."""

from __future__ import annotations

import math
from collections.abc import Iterable
from itertools import pairwise

import torch
from torch import Tensor, nn


def layer_norm(x: Tensor, scale: Tensor, shift: Tensor, eps: float = 1e-5) -> Tensor:
    """Normalize every vector to mean 0 and variance 1, then scale and shift it: [..., D], [D], [D] to [..., D].

    The variance is biased, divided by D and not by D - 1, because GPT-2 was trained with it; at D = 768 the two differ
    by 0.13 percent. `eps` is inside the root, so that a vector of equal numbers becomes `shift` and not nan
    (Ba et al. 2016; chapter 4.2).
    """
    mean = x.mean(dim=-1, keepdim=True)  # [..., 1]
    variance = ((x - mean) ** 2).mean(dim=-1, keepdim=True)  # [..., 1]
    return scale * (x - mean) / torch.sqrt(variance + eps) + shift


def gelu(x: Tensor) -> Tensor:
    """Multiply each number by the probability that a standard normal number is smaller, any shape.

    x * Phi(x), the exact GELU (Hendrycks and Gimpel 2016; chapter 4.3).
    """
    return x * (1 + torch.erf(x / math.sqrt(2))) / 2


def gelu_tanh(x: Tensor) -> Tensor:
    """Approximate `gelu` with an error below 0.0005, any shape; GPT-2 was trained with this form.

    The factor 0.044715 is a fit (Hendrycks and Gimpel 2016, section 2; chapter 4.3).
    """
    return x * (1 + torch.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))) / 2


def relu(x: Tensor) -> Tensor:
    """Replace negative numbers by 0, any shape (Nair and Hinton 2010; chapter 4.3)."""
    return x.clamp(min=0)


def rms_norm(x: Tensor, scale: Tensor, eps: float = 1e-5) -> Tensor:
    """Divide every vector by its root mean square, then scale it: [..., D], [D] to [..., D].

    A layer norm that leaves out the mean and the shift (Zhang and Sennrich 2019, equation 4).
    """
    mean_square = (x**2).mean(dim=-1, keepdim=True)  # [..., 1]
    return scale * x / torch.sqrt(mean_square + eps)


def silu(x: Tensor) -> Tensor:
    """Multiply each number by its logistic sigmoid, any shape: close to `gelu` (Hendrycks and Gimpel 2016)."""
    return x / (1 + torch.exp(-x))


def swiglu(x: Tensor, gate_ID: Tensor, up_ID: Tensor, down_DI: Tensor) -> Tensor:
    """Feed x forward through a gate, [..., D] to [..., D]: down (silu(gate x) * (up x)) (Shazeer 2020, equation 6).

    Each hidden number is `up`'s, let through as far as `gate`'s allows.
    """
    return (silu(x @ gate_ID.T) * (x @ up_ID.T)) @ down_DI.T


def turn(x_TK: Tensor, positions_T: Tensor, base: float) -> Tensor:
    """Turn the pairs of each vector by its position times the pair's speed, [..., T, K] (Su et al. 2021, equation 34).

    A pair is a complex number, of dimension i as the real and i + K / 2 as the imaginary part. A complex number of
    length 1 turns what it is multiplied with. Pair i turns by base^(-2i / K) radians per position.
    """
    n_pairs = x_TK.shape[-1] // 2
    pairs = torch.complex(x_TK[..., :n_pairs], x_TK[..., n_pairs:])
    speeds = base ** (-torch.arange(n_pairs) / n_pairs)
    turned = pairs * torch.exp(1j * positions_T[:, None] * speeds)
    return torch.cat([turned.real, turned.imag], dim=-1)


class DeepNetwork(nn.Module):
    """Linear layers, each followed by a GELU, to show that gradients vanish without shortcuts (chapter 4.4).

    `sizes` are the widths from input to output, one more than there are layers. A shortcut adds a layer's input
    to its output wherever both are equally wide.
    """

    def __init__(self, sizes: list[int], shortcuts: bool) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(d_in, d_out) for d_in, d_out in pairwise(sizes))
        self.shortcuts = shortcuts

    def forward(self, x: Tensor) -> Tensor:
        """Map [..., sizes[0]] to [..., sizes[-1]]."""
        for layer in self.layers:
            y = gelu_tanh(layer(x))
            x = x + y if self.shortcuts and x.shape == y.shape else y
        return x


def gradient_means(modules: Iterable[nn.Module]) -> list[float]:
    """Return the mean absolute gradient of the weight matrices of each module, after a backward pass (chapter 4.4).

    The mean is over the elements of all matrices. Vectors (biases, norms), frozen matrices and matrices without a
    gradient do not count. A module with nothing to count gives nan.
    """
    means = []
    for module in modules:
        matrices = (parameter.grad for parameter in module.parameters() if parameter.ndim > 1)
        gradients = [gradient.abs().flatten() for gradient in matrices if gradient is not None]
        means.append(torch.cat(gradients).mean().item() if gradients else math.nan)
    return means
