"""Fine-tune a base into an assistant that follows instructions."""

from pathlib import Path

import torch

from scratchlm.assistant.batches import read_batches
from scratchlm.assistant.folder import save_assistant
from scratchlm.assistant.instructions import read_entries
from scratchlm.assistant.trained_layers import choose_trained_layers
from scratchlm.checkpoint.folder import load
from scratchlm.files.atomic import write_text
from scratchlm.generation.epoch_answers import SHOWN_ENTRIES, describe_answers, sample_answers
from scratchlm.params.schema import Params
from scratchlm.stage.device import choose_device
from scratchlm.stage.metrics import write_metrics
from scratchlm.tokenizer.measures import measure_texts
from scratchlm.training.curve import draw_curve
from scratchlm.training.fit import fit
from scratchlm.training.optimizer import n_trained_parameters

STAGE = "finetune_instructions"
INSTRUCTIONS = Path("data/instructions")
BASES = Path("models/bases")
MODEL = Path("models/assistant")
CURVE = Path("data/plots/finetune_instructions.csv")
CURVE_FIGURE = Path("data/plots/finetune_instructions.png")
SAMPLES = Path("data/samples/assistant.md")
METRICS = Path("metrics/finetune_instructions.json")


def main(params: Params) -> None:
    settings, style = params.finetune_instructions, params.instructions.prompt_style
    device = choose_device(settings.precision)
    model, tokenizer = load(BASES / settings.base, settings.drop_rate)
    batches = read_batches(INSTRUCTIONS, style, tokenizer, settings)
    cut = {"truncated": batches.truncated, "validation_truncated": batches.validation_truncated}
    print(f"entries cut to {settings.max_length} tokens: {sum(cut.values())}")
    entries = read_entries(INSTRUCTIONS / "validation.json")[:SHOWN_ENTRIES]

    def answer(epoch: int) -> list[str]:
        return sample_answers(model, tokenizer, entries, style)

    def show(answers: list[list[str]]) -> None:
        write_text(SAMPLES, describe_answers("assistant", entries, answers))

    torch.manual_seed(params.seed)
    choose_trained_layers(model, settings)
    model.to(device)
    done = fit(
        STAGE, model, batches.loaders, settings, params.seed, CURVE, texts=batches.inputs, after_epoch=answer, show=show
    )
    save_assistant(MODEL, model, BASES / settings.base, style)
    draw_curve(CURVE_FIGURE, done.state.curve, "Instruction fine-tuning loss", "token", settings.keep)
    metrics = {"trained_parameters": n_trained_parameters(model), **done.losses(), **done.training(), **cut}
    write_metrics(METRICS, {**metrics, **measure_texts(tokenizer, batches.texts)})
    done.snapshots.finish()
    print(done)
