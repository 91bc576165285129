"""Show what the pretrained model looks like inside: shapes, attention, the next token, gradients."""

from dataclasses import replace
from pathlib import Path

import torch

from scratchlm.anatomy.figures import draw_attention, draw_gradients, draw_temperatures, token_label
from scratchlm.anatomy.inside import attention_maps, block_gradients, decades, entropy, next_token_probabilities
from scratchlm.anatomy.shapes import describe_shapes
from scratchlm.checkpoint.folder import load
from scratchlm.files.atomic import write_text
from scratchlm.model.gpt import GPT
from scratchlm.model.init import new_gpt
from scratchlm.params.schema import Params
from scratchlm.stage.device import choose_device
from scratchlm.stage.metrics import write_metrics
from scratchlm.stage.run import run
from scratchlm.stage.tables import write_table
from scratchlm.tokenizer.protocol import Tokenizer
from scratchlm.tokens.windows import read_windows

TOKENS = Path("data/tokens")
MODEL = Path("models/pretrained")
SHAPES = Path("data/plots/shapes.md")
ATTENTION = Path("data/plots/attention.png")
TEMPERATURES = Path("data/plots/temperatures.csv")
TEMPERATURES_FIGURE = Path("data/plots/temperatures.png")
GRADIENTS = Path("data/plots/gradients.csv")
GRADIENTS_FIGURE = Path("data/plots/gradients.png")
METRICS = Path("metrics/visualize_model.json")

LIKELIEST = 10  # tokens that are shown
STEPS = 10  # of training on one window, after which missing shortcuts show
WINDOW = 128  # tokens of that window at most: seconds on a CPU even for 124M parameters


def main(params: Params) -> None:
    device = choose_device()
    model, tokenizer = load(MODEL)
    model.to(device)
    text = params.visualize.text
    ids = tokenizer.encode_ordinary(text)
    write_text(SHAPES, f"# Shapes, from text to logits\n\n```\n{describe_shapes(model.config, [text], [ids])}```\n")
    draw_attention(ATTENTION, attention_maps(model, ids), token_labels(tokenizer, ids), text)
    write_metrics(METRICS, {**show_next_token(model, tokenizer, ids, params), **show_gradients(model, params)})


def show_next_token(model: GPT, tokenizer: Tokenizer, ids: list[int], params: Params) -> dict[str, float]:
    """Write how likely the likeliest next tokens and all others are under each temperature."""
    temperatures = params.visualize.temperatures
    natural, *warmed = next_token_probabilities(model, ids, [1.0, *temperatures]).cpu()
    likeliest = natural.topk(min(LIKELIEST, len(natural))).indices
    labels = [*token_labels(tokenizer, likeliest.tolist()), f"{len(natural) - len(likeliest):,} others"]
    shown = [[*row[likeliest].tolist(), max(0.0, 1 - row[likeliest].sum().item())] for row in warmed]
    rows = [
        {"token": label, "temperature": temperature, "probability": probability}
        for temperature, probabilities in zip(temperatures, shown, strict=True)
        for label, probability in zip(labels, probabilities, strict=True)
    ]
    write_table(TEMPERATURES, rows)
    draw_temperatures(TEMPERATURES_FIGURE, shown, temperatures, labels, params.visualize.text)
    return {"next_token_entropy": entropy(natural)}


def show_gradients(model: GPT, params: Params) -> dict[str, float]:
    """Write the gradients of new models with and without shortcuts, and of the trained one, on one window."""
    inputs, targets = (part[None, :WINDOW].to(model.device) for part in read_windows(TOKENS, "train")[0])
    gradients = {}
    for name, shortcuts in (("with_shortcuts", True), ("without_shortcuts", False)):
        torch.manual_seed(params.seed)  # the same weights for both
        config = replace(model.config, shortcuts=shortcuts)
        new = new_gpt(config, params.model.init, params.model.init_std).to(model.device)
        gradients[f"new_{name}"] = block_gradients(new, inputs, targets)
        gradients[name] = block_gradients(new, inputs, targets, after_steps=STEPS)
    gradients["trained"] = block_gradients(model, inputs, targets)
    blocks = range(1, model.config.n_layers + 1)
    rows = zip(*gradients.values(), strict=True)
    write_table(
        GRADIENTS,
        [{"block": block, **dict(zip(gradients, row, strict=True))} for block, row in zip(blocks, rows, strict=True)],
    )
    draw_gradients(GRADIENTS_FIGURE, gradients, STEPS)
    return {f"gradient_decades_{name}": decades(gradients[name]) for name in gradients if not name.startswith("new_")}


def token_labels(tokenizer: Tokenizer, ids: list[int]) -> list[str]:
    return [token_label(tokenizer.decode([token])) for token in ids]


if __name__ == "__main__":
    run(main)
