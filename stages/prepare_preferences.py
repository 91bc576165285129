"""Check the preference pairs and split them into data/preferences/{train,validation,test}.json."""

from pathlib import Path

from scratchlm.assistant.instructions import count_prompts_in, read_entries, split_entries
from scratchlm.assistant.pairs import drop_equal_answers
from scratchlm.assistant.preferences import preference_shares
from scratchlm.assistant.sources import collect_pairs
from scratchlm.files.atomic import atomic_path, write_json
from scratchlm.params.schema import Params
from scratchlm.stage.metrics import write_metrics

INPUTS = Path("inputs/preferences")
TEST_INSTRUCTIONS = Path("data/instructions/test.json")
PREFERENCES = Path("data/preferences")
METRICS = Path("metrics/prepare_preferences.json")


def main(params: Params) -> None:
    settings = params.preferences
    found = collect_pairs(settings.source, INPUTS)[: settings.max_entries]
    # Split before any is dropped: the parts then match those of the instructions that the pairs were made from.
    split = split_entries(found, settings.train_fraction, settings.test_fraction, "preferences")
    names = ("train", "validation", "test")
    parts = {name: drop_equal_answers(part, name) for name, part in zip(names, split, strict=True)}
    dropped = len(found) - sum(map(len, parts.values()))
    seen = count_prompts_in(parts["train"], read_entries(TEST_INSTRUCTIONS))
    test = {answer: [pair[answer] for pair in parts["test"]] for answer in ("chosen", "rejected")}
    shares = preference_shares(parts["train"], test)
    with atomic_path(PREFERENCES) as temporary:
        temporary.mkdir()
        for name, part in parts.items():
            write_json(temporary / f"{name}.json", part)
    write_metrics(
        METRICS,
        {
            "dropped_equal_answers": dropped,
            "pairs": len(found) - dropped,
            **{name: len(part) for name, part in parts.items()},
            "train_pairs_in_test_instructions": seen,
            "test_pairs_in_train": count_prompts_in(parts["test"], parts["train"]),
            **{f"test_{answer}_share": share for answer, share in shares.items()},
        },
    )
    if dropped:
        print(f"{dropped:,} of {len(found):,} pairs have two equal answers and are left out")
    if seen:
        print(f"{seen:,} training pairs ask what a test instruction asks: their answers will be known")
    print(", ".join(f"{len(part):,} {name}" for name, part in parts.items()) + " pairs")
