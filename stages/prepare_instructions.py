"""Check the instructions and split them into data/instructions/{train,validation,test}.json."""

from pathlib import Path

from scratchlm.assistant.instructions import count_answers_in, count_prompts_in, drop_empty_outputs, split_entries
from scratchlm.assistant.sources import collect_entries
from scratchlm.files.atomic import atomic_path, write_json
from scratchlm.params.schema import Params
from scratchlm.stage.metrics import write_metrics

INPUTS = Path("inputs/instructions")
INSTRUCTIONS = Path("data/instructions")
METRICS = Path("metrics/prepare_instructions.json")


def main(params: Params) -> None:
    settings = params.instructions
    found = collect_entries(settings.source, INPUTS)
    answered = drop_empty_outputs(found)
    dropped, entries = len(found) - len(answered), answered[: settings.max_entries]
    train, validation, test = split_entries(entries, settings.train_fraction, settings.test_fraction)
    with atomic_path(INSTRUCTIONS) as temporary:
        temporary.mkdir()
        for name, part in (("train", train), ("validation", validation), ("test", test)):
            write_json(temporary / f"{name}.json", part)
    write_metrics(
        METRICS,
        {
            "dropped_empty_outputs": dropped,
            "entries": len(entries),
            "train": len(train),
            "validation": len(validation),
            "test": len(test),
            "test_prompts_in_train": count_prompts_in(test, train),
            "test_answers_in_train": count_answers_in(test, train),
        },
    )
    if dropped:
        print(f"{dropped:,} of {len(found):,} instructions have an empty output and are left out")
    print(f"{len(entries):,} instructions: {len(train):,} train, {len(validation)} validation, {len(test)} test")
