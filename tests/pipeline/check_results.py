"""Check a run's results against what its profile promises: python check_results.py NAME [FOLDER]."""

import csv
import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

VARIANTS = ("base", "assistant", "preferred")
SPLITS = ("train", "validation", "test")


@dataclass(frozen=True)
class Check:
    """One promise: what is checked, what is wanted, what the run gave."""

    name: str
    wanted: str
    got: object
    ok: bool


def check_sample(folder: Path) -> list[Check]:
    """Check the sample profile: its models learned from the training split, not from a leak of the test split."""
    pretrain = read_metrics(folder, "pretrain")
    classifier = read_metrics(folder, "finetune_classifier")
    judged = read_metrics(folder, "judge_responses")
    answers = read_metrics(folder, "generate_responses")
    benchmark = read_metrics(folder, "benchmark_models")
    start, bigram = pretrain["initial_validation_loss"], pretrain["bigram_validation_loss"]
    baseline = classifier["baseline_test_accuracy"]
    return [
        # Training starts at the loss of a uniform guess; half of that is far below it.
        at_most("pretrain.validation_loss, half its start", pretrain["validation_loss"], start / 2),
        below("pretrain.validation_loss, a bigram model's", pretrain["validation_loss"], bigram),
        at_least("finetune_classifier.test_accuracy", classifier["test_accuracy"], 95),
        at_least("finetune_classifier.test_accuracy, baseline - 1", classifier["test_accuracy"], baseline - 1),
        equal("test messages that occur in train or validation", leaked_messages(folder), 0),
        equal(
            "prepare_instructions.test_prompts_in_train",
            read_metrics(folder, "prepare_instructions")["test_prompts_in_train"],
            0,
        ),
        equal("test prompts that occur in train (from the files)", leaked_prompts(folder), 0),
        # Only answers of which there are few, such as the mood of a sentence; facts are in one split each.
        at_most(
            "prepare_instructions.test_answers_in_train",
            read_metrics(folder, "prepare_instructions")["test_answers_in_train"],
            10,
        ),
        equal("judge_responses.backend", judged["backend"], "overlap"),
        equal(
            "judge_responses: answers with a score",
            sum(judged[variant]["n_scored"] for variant in VARIANTS),
            sum(judged[variant]["n"] for variant in VARIANTS),
        ),
        at_least("judge_responses.assistant.mean", judged["assistant"]["mean"], 60),
        below("judge_responses.base.mean", judged["base"]["mean"], 15),
        # The preference was learned, and the tasks were not forgotten over it.
        at_most("generate_responses.preference_share", answers["preference_share"], 10),
        at_least("generate_responses.preferred_preference_share", answers["preferred_preference_share"], 90),
        at_least("judge_responses.preferred.mean", judged["preferred"]["mean"], 40),
        above("benchmark_models.assistant.acc_ci95_low", benchmark["assistant"]["acc_ci95_low"], benchmark["chance"]),
        above("benchmark_models.difference.acc_ci95_low", benchmark["difference"]["acc_ci95_low"], 0),
        # Answers that the assistant cannot have memorised: they do not occur in train.
        at_least("assistant's mean where the answer is new", mean_of_new_answers(folder), 58),
    ]


def check_laptop(folder: Path) -> list[Check]:
    """Check the laptop profile: the book's counts, and what fine-tuning makes of SmolLM2."""
    instructions = read_metrics(folder, "prepare_instructions")
    classifier = read_metrics(folder, "finetune_classifier")
    judged = read_metrics(folder, "judge_responses")
    return [
        *check_real_data(folder),
        equal(
            "prepare_instructions: train, test, validation",
            [instructions[split] for split in ("train", "test", "validation")],
            [935, 110, 55],
        ),
        at_least("finetune_classifier.test_accuracy", classifier["test_accuracy"], 97),
        at_least(
            "finetune_classifier.test_accuracy, TF-IDF's",
            classifier["test_accuracy"],
            classifier["baseline_test_accuracy"],
        ),
        at_least("judge_responses.assistant.mean", judged["assistant"]["mean"], 37),
        above("judge_responses.assistant.ci95_low, base", judged["assistant"]["ci95_low"], judged["base"]["mean"]),
    ]


def check_short_laptop(folder: Path) -> list[Check]:
    """Check a laptop profile that had few instructions and one epoch of messages: SmolLM2 learns from these too."""
    judged = read_metrics(folder, "judge_responses")
    return [
        *check_real_data(folder),
        at_least("finetune_classifier.test_accuracy", read_metrics(folder, "finetune_classifier")["test_accuracy"], 93),
        above("judge_responses.assistant.mean, base", judged["assistant"]["mean"], judged["base"]["mean"]),
    ]


def check_real_data(folder: Path) -> list[Check]:
    sms = read_metrics(folder, "prepare_sms")
    return [
        equal("tokenize_corpus.tokens", read_metrics(folder, "tokenize_corpus")["tokens"], 5145),
        equal("prepare_sms.rows", sms["rows"], 5572),
        equal("prepare_sms.kept", sms["kept"], 1494),
        equal("prepare_sms: train, validation, test", [sms[split] for split in SPLITS], [1045, 149, 300]),
    ]


def check_smol(folder: Path) -> list[Check]:
    """Check the smol profile: an assistant of SmolLM2 that one epoch of the book's instructions made."""
    judged = read_metrics(folder, "judge_responses")
    return [
        at_least("judge_responses.assistant.mean", judged["assistant"]["mean"], 33),
        above("judge_responses.assistant.ci95_low, base", judged["assistant"]["ci95_low"], judged["base"]["mean"]),
    ]


PROFILES: dict[str, Callable[[Path], list[Check]]] = {
    "sample": check_sample,
    "laptop": check_laptop,
    "laptop-short": check_short_laptop,
    "smol": check_smol,
}


def equal(name: str, got: object, wanted: object) -> Check:
    return Check(name, str(wanted), got, got == wanted)


def at_least(name: str, got: float, limit: float) -> Check:
    return Check(name, f">= {limit:g}", got, got >= limit)


def above(name: str, got: float, limit: float) -> Check:
    return Check(name, f"> {limit:g}", got, got > limit)


def at_most(name: str, got: float, limit: float) -> Check:
    return Check(name, f"<= {limit:g}", got, got <= limit)


def below(name: str, got: float, limit: float) -> Check:
    return Check(name, f"< {limit:g}", got, got < limit)


def read_metrics(folder: Path, stage: str) -> dict:
    return json.loads((folder / "metrics" / f"{stage}.json").read_text(encoding="utf-8"))


def leaked_messages(folder: Path) -> int:
    """Count the test messages that also occur in train or validation, ignoring case."""
    texts = {}
    for split in SPLITS:
        with (folder / "data" / "sms" / f"{split}.csv").open(encoding="utf-8", newline="") as file:
            texts[split] = [row["Text"].strip().casefold() for row in csv.DictReader(file)]
    seen = {*texts["train"], *texts["validation"]}
    return sum(text in seen for text in texts["test"])


def mean_of_new_answers(folder: Path) -> float:
    """Average the assistant's scores over the test entries whose reference answer does not occur in train."""
    read = [
        json.loads((folder / "data" / path).read_text(encoding="utf-8"))
        for path in ("instructions/train.json", "instructions/test.json", "verdicts.json")
    ]
    train, test, verdicts = read
    known = {entry["output"] for entry in train}
    scores = [
        row["score"] for row in verdicts if row["variant"] == "assistant" and test[row["id"]]["output"] not in known
    ]
    return round(sum(scores) / len(scores), 2)


def leaked_prompts(folder: Path) -> int:
    """Count the test entries whose instruction and input also occur in train."""
    prompts = {}
    for split in ("train", "test"):
        entries = json.loads((folder / "data" / "instructions" / f"{split}.json").read_text(encoding="utf-8"))
        prompts[split] = [(entry["instruction"], entry["input"]) for entry in entries]
    return sum(prompt in set(prompts["train"]) for prompt in prompts["test"])


def main() -> None:
    if len(sys.argv) not in (2, 3) or sys.argv[1] not in PROFILES:
        sys.exit(f"usage: check_results.py {'|'.join(PROFILES)} [FOLDER]")
    profile, folder = sys.argv[1], Path(sys.argv[2] if len(sys.argv) == 3 else ".")
    try:
        checks = PROFILES[profile](folder)
    except FileNotFoundError as error:
        sys.exit(f"check_results: error: {error.filename} is missing: run `make repro` with profile {profile}")
    width = max(len(check.name) for check in checks)
    print(f"{'check':{width}}  {'wanted':18}  {'got':18}  ok")
    for check in checks:
        print(f"{check.name:{width}}  {check.wanted:18}  {check.got!s:18}  {'yes' if check.ok else 'NO'}")
    failed = sum(not check.ok for check in checks)
    if failed:
        sys.exit(f"check_results: {failed} of {len(checks)} checks of profile {profile} failed")


if __name__ == "__main__":
    main()
