"""Fine-tune a pretrained GPT into an assistant that follows instructions."""

from dataclasses import asdict
from functools import partial
from pathlib import Path

import torch

from scratchlm.assistant.batches import check_lengths, collate, encode_entries
from scratchlm.assistant.folder import save_assistant
from scratchlm.assistant.instructions import format_entry, read_entries
from scratchlm.checkpoint.folder import load
from scratchlm.params.schema import Params
from scratchlm.stage.device import choose_device
from scratchlm.stage.metrics import write_metrics
from scratchlm.stage.run import run
from scratchlm.stage.snapshots import Snapshots
from scratchlm.stage.tables import write_table
from scratchlm.tokenizer.measures import longest_tokens, unknown_percent
from scratchlm.tokenizer.protocol import end_of_text
from scratchlm.training.loop import loaders, measure_losses, train
from scratchlm.training.loss import next_token_loss

INSTRUCTIONS = Path("data/instructions")
TOKENIZER = Path("data/tokenizer")
BASES = Path("models/bases")
MODEL = Path("models/assistant")
CURVE = Path("data/plots/finetune_instructions.csv")
METRICS = Path("metrics/finetune_instructions.json")

SPLITS = ("train", "validation", "test")


def main(params: Params) -> None:
    settings = params.finetune_instructions
    device = choose_device()
    model, tokenizer = load(BASES / settings.base)
    model.to(device)
    style = params.instructions.prompt_style
    entries = {split: read_entries(INSTRUCTIONS / f"{split}.json") for split in SPLITS}
    texts = {split: [format_entry(entry, style) for entry in part] for split, part in entries.items()}
    train_examples, validation_examples = (
        encode_entries(entries[split], style, tokenizer) for split in ("train", "validation")
    )
    truncated, validation_truncated = (
        check_lengths(examples, settings.max_length, settings.mask_prompt)
        for examples in (train_examples, validation_examples)
    )
    print(
        f"cut to {settings.max_length} tokens: {truncated} of {len(train_examples)} training entries, "
        f"{validation_truncated} of {len(validation_examples)} for validation"
    )
    batches = loaders(
        train_examples,
        validation_examples,
        settings.batch_size,
        partial(
            collate,
            pad_id=end_of_text(tokenizer),
            max_length=settings.max_length,
            mask_prompt=settings.mask_prompt,
        ),
    )
    loss = next_token_loss(model)
    snapshots = Snapshots.of_stage("finetune_instructions", device)
    initial = snapshots.once("initial", lambda: measure_losses(model, loss, *batches, device, params.seed))
    torch.manual_seed(params.seed)
    done = train(model, loss, *batches, settings, device, "finetune_instructions", snapshots=snapshots)
    final = measure_losses(model, loss, *batches, device, params.seed)
    save_assistant(MODEL, model, TOKENIZER, style)
    write_table(CURVE, [asdict(evaluation) for evaluation in done.curve])
    write_metrics(
        METRICS,
        {
            "initial_train_loss": initial[0],
            "initial_validation_loss": initial[1],
            "train_loss": final[0],
            "validation_loss": final[1],
            "steps": done.steps,
            "tokens_seen": done.tokens_seen,
            "truncated": truncated,
            "validation_truncated": validation_truncated,
            "longest_tokens": max(longest_tokens(tokenizer, texts[split]) for split in SPLITS),
            "unknown_percent": unknown_percent(tokenizer, texts["train"]),
        },
    )
    snapshots.finish()
    print(f"validation loss {initial[1]:.3f} -> {final[1]:.3f}")


if __name__ == "__main__":
    run(main)
