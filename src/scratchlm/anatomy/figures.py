"""The figures of visualize_model.

DVC draws curves from tables itself, but its templates have no heat maps, grouped bars or logarithmic axes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib
import torch
from matplotlib.ticker import MaxNLocator
from torch import Tensor
from torch.nn.functional import normalize

from scratchlm.anatomy.formulas import gelu_tanh, relu
from scratchlm.stage.picture import PLAIN, picture

# What fits on one page of a large model.
LAYERS_SHOWN = 4
HEADS_SHOWN = 12
TOKENS_SHOWN = 16
LONGEST_QUOTE = 60
LINES = {  # label, color and style of each curve
    "new_with_shortcuts": ("new, with shortcuts", "tab:blue", "--"),
    "with_shortcuts": ("after {} steps, with shortcuts", "tab:blue", "-"),
    "new_without_shortcuts": ("new, without shortcuts", "tab:orange", "--"),
    "without_shortcuts": ("after {} steps, without shortcuts", "tab:orange", "-"),
    "trained": ("the trained model", "black", "-"),
}
ACTIVATIONS = {"GELU": gelu_tanh, "ReLU": relu}
HIDDEN = "0.94"  # the grey of what a token may not look at


def draw_attention(path: Path, maps_LHTT: Tensor, labels: Sequence[str], text: str) -> None:
    """Draw attention maps as a grid, one row per layer and one column per head, with the tokens on the axes.

    Shows at most 4 layers (of more, the first, middle and last), 12 heads and 16 tokens; the title says so.
    """
    n_layers, n_heads, n_tokens, _ = maps_LHTT.shape
    layers = list(range(n_layers)) if n_layers <= LAYERS_SHOWN else [0, n_layers // 2, n_layers - 1]
    heads = range(min(n_heads, HEADS_SHOWN))
    T = min(n_tokens, TOKENS_SHOWN)
    hidden_TT = torch.ones(T, T, dtype=torch.bool).triu(diagonal=1)
    shown_LHTT = maps_LHTT[:, :, :T, :T].float().cpu().masked_fill(hidden_TT, torch.nan)
    title = f"Attention in {_part('layer', layers, n_layers)} and {_part('head', heads, n_heads)}"
    if n_tokens > T:
        title += f", first {T} of {n_tokens} tokens"
    side = max(1.15, 0.14 * T, 3.5 / max(len(layers), len(heads)))  # inches of one map
    margin = 0.45 + 0.075 * max(map(len, labels[:T]))  # inches of the labels and the axis titles
    right, top = margin + side * len(heads), margin + side * len(layers)
    width, height = max(right + 1.1, 5.0), top + 0.85
    with picture(path, (width, height), f"{title}\n{_quoted(text)}") as figure:
        # The margins are known; if matplotlib computes them (layout="constrained"), drawing takes four times as long.
        place = {"left": margin / width, "right": right / width, "bottom": margin / height, "top": top / height}
        grid = figure.subplots(
            *(len(layers), len(heads)),
            squeeze=False,
            sharex=True,
            sharey=True,
            gridspec_kw={**place, "wspace": 0.08, "hspace": 0.08},
        )
        for row, layer in zip(grid, layers, strict=True):
            for axes, head in zip(row, heads, strict=True):
                image = axes.imshow(shown_LHTT[layer, head].numpy(), cmap="Blues", vmin=0, vmax=1)
                axes.set_facecolor(HIDDEN)
                axes.spines[:].set_visible(False)
                axes.tick_params(length=0)
            row[0].set_yticks(range(T), labels[:T], fontsize=8, **PLAIN)
            row[0].set_ylabel(f"layer {layer + 1}", fontsize=9)
        for highest, lowest, head in zip(grid[0], grid[-1], heads, strict=True):
            highest.set_title(f"head {head + 1}", fontsize=9)
            lowest.set_xticks(range(T), labels[:T], rotation=90, fontsize=8, **PLAIN)
        figure.supxlabel("looks at", fontsize=9)
        scale = figure.add_axes(((right + 0.25) / width, margin / height, 0.15 / width, (top - margin) / height))
        figure.colorbar(image, cax=scale, label="attention weight").outline.set_visible(False)


def draw_temperatures(
    path: Path,
    probabilities: Sequence[Sequence[float]],
    temperatures: Sequence[float],
    labels: Sequence[str],
    text: str,
) -> None:
    """Draw the probabilities of the labelled tokens, one row per temperature, as grouped bars (chapter 5.3.1)."""
    width = 0.84 / len(temperatures)
    colors = matplotlib.colormaps["viridis"](torch.linspace(0.15, 0.8, len(temperatures)).numpy())
    with picture(path, (9, 4.5), f"The next token under each temperature\n{_quoted(text)}", "constrained") as figure:
        axes = figure.subplots()
        for index, temperature in enumerate(temperatures):
            centers = [choice - 0.42 + width * (index + 0.5) for choice in range(len(labels))]
            axes.bar(centers, probabilities[index], width, color=colors[index], label=f"{temperature:g}")
        axes.set_xticks(range(len(labels)), labels, rotation=30, ha="right", rotation_mode="anchor", **PLAIN)
        axes.set_ylabel("probability")
        axes.set_ylim(0, 1)
        axes.legend(title="temperature", frameon=False, loc="center left", bbox_to_anchor=(1, 0.5))


def draw_gradients(path: Path, gradients: Mapping[str, Sequence[float]], n_steps: int) -> None:
    """Draw the gradients of every block, the first on the left, on a logarithmic axis (chapter 4.4).

    `gradients` has the curves of `LINES`: of new models, of the same models after `n_steps` steps, and that of the
    trained model. Those without shortcuts may be missing.
    """
    with picture(path, (9, 4.5), "Do gradients reach the first blocks?", "constrained") as figure:
        axes = figure.subplots()
        for name, values in gradients.items():
            label, color, style = LINES[name]
            blocks = range(1, len(values) + 1)
            axes.plot(blocks, values, style, color=color, label=label.format(n_steps), marker="o", markersize=4)
        axes.set_yscale("log")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.set_xlabel("block (1 is next to the embeddings)")
        axes.set_ylabel("mean absolute gradient of its weights")
        axes.grid(axis="y", color="0.9")
        axes.legend(frameon=False, loc="center left", bbox_to_anchor=(1, 0.5))


def draw_positions(path: Path, vectors_TN: Tensor, numbers: str) -> None:
    """Draw what tells positions apart: the vector of each, how alike those of any two are, and the same by distance.

    `numbers` says what the vectors hold. How alike is a cosine: 1 for the same direction. The band by distance reaches
    from the lowest to the highest of all pairs so far apart; it is a line if distance is all that counts.
    """
    vectors_TN = vectors_TN.float().cpu()
    directions_TN = normalize(vectors_TN, dim=-1)
    cosines_TT = directions_TN @ directions_TN.T
    n_positions = len(vectors_TN)
    by_distance = [cosines_TT.diagonal(distance) for distance in range(n_positions)]
    largest = vectors_TN.abs().max().item()
    with picture(path, (12, 4.3), f"How the model tells positions apart: {numbers}", "constrained") as figure:
        vectors, pairs, distances = figure.subplots(ncols=3)
        image = vectors.imshow(vectors_TN.T.numpy(), cmap="RdBu", vmin=-largest, vmax=largest, aspect="auto")
        figure.colorbar(image, ax=vectors, location="bottom", shrink=0.8).outline.set_visible(False)
        vectors.set_title("the vector of each position", fontsize=10)
        vectors.set_xlabel("position")
        vectors.set_ylabel("dimension")
        image = pairs.imshow(cosines_TT.numpy(), cmap="RdBu", vmin=-1, vmax=1, aspect="auto")
        figure.colorbar(image, ax=pairs, location="bottom", shrink=0.8).outline.set_visible(False)
        pairs.set_title("how alike two positions are (cosine)", fontsize=10)
        pairs.set_xlabel("position")
        pairs.set_ylabel("position")
        distances.fill_between(
            range(n_positions),
            [row.min().item() for row in by_distance],
            [row.max().item() for row in by_distance],
            color="tab:blue",
            alpha=0.25,
            linewidth=0,
            label="lowest to highest",
        )
        distances.plot([row.mean().item() for row in by_distance], color="tab:blue", label="mean")
        distances.set_title("the same by distance", fontsize=10)
        distances.set_xlabel("distance in tokens")
        distances.set_ylabel("cosine")
        distances.grid(axis="y", color="0.9")
        distances.legend(frameon=False, loc="upper right")


def draw_activations(path: Path) -> None:
    """Draw GELU and ReLU side by side between -3 and 3 (chapter 4.3, figure 4.8)."""
    x = torch.linspace(-3, 3, 100)
    with picture(path, (8, 3.4), "GELU is smooth, and not 0 for all negative numbers", "constrained") as figure:
        grid = figure.subplots(ncols=len(ACTIVATIONS), sharey=True)
        for axes, (name, activation) in zip(grid, ACTIVATIONS.items(), strict=True):
            axes.plot(x.numpy(), activation(x).numpy())
            axes.set_xlabel("x")
            axes.set_ylabel(f"{name}(x)")
            axes.grid(color="0.9")


def _quoted(text: str) -> str:
    line = " ".join(text.split())
    return f"“{line}”" if len(line) <= LONGEST_QUOTE else f"“{line[: LONGEST_QUOTE - 1]}…”"


def _part(name: str, shown: Sequence[int], n_all: int) -> str:
    if len(shown) == n_all:
        return f"all {n_all} {name}s" if n_all > 1 else f"the one {name}"
    numbers = [str(index + 1) for index in shown]
    if shown[-1] - shown[0] == len(shown) - 1:
        return f"{name}s {numbers[0]} to {numbers[-1]} of {n_all}"
    return f"{name}s {', '.join(numbers[:-1])} and {numbers[-1]} of {n_all}"
