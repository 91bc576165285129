"""Fine-tune a base into an assistant that follows instructions."""

from pathlib import Path

import torch

from scratchlm.assistant.batches import read_batches
from scratchlm.assistant.folder import save_assistant
from scratchlm.checkpoint.folder import load
from scratchlm.params.schema import Params
from scratchlm.stage.device import choose_device
from scratchlm.stage.metrics import write_metrics
from scratchlm.stage.tables import write_table
from scratchlm.tokenizer.measures import measure_texts
from scratchlm.training.fit import fit

INSTRUCTIONS = Path("data/instructions")
TOKENIZER = Path("data/tokenizer")
BASES = Path("models/bases")
MODEL = Path("models/assistant")
CURVE = Path("data/plots/finetune_instructions.csv")
METRICS = Path("metrics/finetune_instructions.json")


def main(params: Params) -> None:
    settings, style = params.finetune_instructions, params.instructions.prompt_style
    device = choose_device()
    model, tokenizer = load(BASES / settings.base)
    batches = read_batches(INSTRUCTIONS, style, tokenizer, settings)
    cut = {"truncated": batches.truncated, "validation_truncated": batches.validation_truncated}
    print(f"entries cut to {settings.max_length} tokens: {sum(cut.values())}")
    torch.manual_seed(params.seed)
    done = fit("finetune_instructions", model.to(device), batches.loaders, params=settings, seed=params.seed)
    save_assistant(MODEL, model, TOKENIZER, style)
    write_table(CURVE, done.state.curve_rows())
    write_metrics(METRICS, {**done.losses(), **done.length(), **cut, **measure_texts(tokenizer, batches.texts)})
    done.snapshots.finish()
    print(done)
