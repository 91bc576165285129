"""Train the assistant on preference pairs by DPO, with itself as the reference."""

from pathlib import Path

import torch

from scratchlm.assistant.folder import load_assistant, save_assistant
from scratchlm.assistant.pairs import read_pairs
from scratchlm.assistant.reward_curve import draw_rewards
from scratchlm.assistant.trained_layers import choose_trained_layers
from scratchlm.assistant.tuning import encode_splits, tune
from scratchlm.files.atomic import write_text
from scratchlm.generation.epoch_answers import SHOWN_ENTRIES, describe_answers, sample_answers
from scratchlm.params.schema import Params
from scratchlm.stage.device import choose_device
from scratchlm.stage.metrics import write_metrics
from scratchlm.stage.tables import write_table
from scratchlm.tokenizer.measures import measure_texts
from scratchlm.training.optimizer import n_trained_parameters
from scratchlm.training.state import TrainingState

PREFERENCES = Path("data/preferences")
ASSISTANT = Path("models/assistant")
MODEL = Path("models/preferred")
CURVE = Path("data/plots/tune_preferences.csv")
CURVE_FIGURE = Path("data/plots/tune_preferences.png")
SAMPLES = Path("data/samples/preferred.md")
METRICS = Path("metrics/tune_preferences.json")


def main(params: Params) -> None:
    settings = params.tune_preferences
    device = choose_device(settings.precision)
    model, tokenizer, style = load_assistant(ASSISTANT, settings.drop_rate)
    pairs = encode_splits(PREFERENCES, style, tokenizer, settings.max_length)
    print(f"answers cut to {settings.max_length} tokens: {sum(pairs.truncated.values())}")
    shown = read_pairs(PREFERENCES / "validation.json")[:SHOWN_ENTRIES]
    torch.manual_seed(params.seed)
    choose_trained_layers(model, settings)
    model.to(device)
    before = sample_answers(model, tokenizer, shown, style)

    def answer(epoch: int) -> list[str]:
        return sample_answers(model, tokenizer, shown, style)

    def report(state: TrainingState) -> None:
        write_table(CURVE, state.curve_rows())
        write_text(SAMPLES, describe_answers("preferred model", shown, state.epoch_notes, before))

    done = tune(model, pairs.splits, tokenizer.eot_token, settings, params.seed, answer, report)
    save_assistant(MODEL, model, ASSISTANT, style)
    draw_rewards(CURVE_FIGURE, done.state.curve, "Preference tuning", settings.keep)
    truncated = {f"{split}_truncated": n for split, n in pairs.truncated.items()}
    metrics = {"trained_parameters": n_trained_parameters(model), **done.metrics(), **truncated}
    write_metrics(METRICS, {**metrics, **measure_texts(tokenizer, pairs.texts)})
    done.snapshots.finish()
    print(done)
