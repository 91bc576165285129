"""Show the inside of the pretrained model: shapes, embeddings, attention, next token, gradients, positions."""

from pathlib import Path

from scratchlm.anatomy import figures, inside
from scratchlm.anatomy.shapes import describe_shapes
from scratchlm.checkpoint.folder import load
from scratchlm.files.atomic import write_text
from scratchlm.params.schema import Params
from scratchlm.stage.device import choose_device
from scratchlm.stage.metrics import write_metrics
from scratchlm.stage.tables import write_table
from scratchlm.tokens.folder import open_tokens
from scratchlm.tokens.windows import read_windows

TOKENS = Path("data/tokens")
MODEL = Path("models/pretrained")
SHAPES = Path("data/plots/shapes.md")
NEIGHBOURS = Path("data/plots/neighbours.csv")
ATTENTION = Path("data/plots/attention.png")
ACTIVATIONS = Path("data/plots/activations.png")
TEMPERATURES = Path("data/plots/temperatures.csv")
TEMPERATURES_FIGURE = Path("data/plots/temperatures.png")
GRADIENTS = Path("data/plots/gradients.csv")
GRADIENTS_FIGURE = Path("data/plots/gradients.png")
POSITIONS = Path("data/plots/positions.png")
METRICS = Path("metrics/visualize_model.json")


def main(params: Params) -> None:
    settings, init, init_std = params.visualize, params.model.init, params.model.init_std
    device = choose_device()
    model, tokenizer = load(MODEL)
    model.to(device)
    ids = tokenizer.encode_ordinary(settings.text)
    shapes = describe_shapes(model.config, [settings.text], [ids])
    write_text(SHAPES, f"# Shapes, from text to logits\n\n```\n{shapes}```\n")
    write_table(NEIGHBOURS, inside.neighbour_rows(model, tokenizer, ids))
    figures.draw_activations(ACTIVATIONS)
    figures.draw_attention(
        ATTENTION, inside.attention_maps(model, ids), inside.token_labels(tokenizer, ids), settings.text
    )
    expected = inside.expect_next_token(model, tokenizer, ids, settings.temperatures)
    write_table(TEMPERATURES, expected.rows())
    figures.draw_temperatures(
        TEMPERATURES_FIGURE, expected.probabilities, expected.temperatures, expected.labels, settings.text
    )
    gradients = inside.compare_gradients(
        model, read_windows(open_tokens(TOKENS), "train")[0], params.seed, init, init_std
    )
    write_table(GRADIENTS, inside.gradient_rows(gradients))
    figures.draw_gradients(GRADIENTS_FIGURE, gradients, inside.STEPS)
    figures.draw_positions(POSITIONS, *inside.positions_of(model))
    measured = {f"gradient_decades_{name}": inside.decades(gradients[name]) for name in gradients if "new_" not in name}
    write_metrics(METRICS, {"next_token_entropy": expected.entropy, **measured})
