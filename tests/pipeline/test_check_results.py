"""The check of a run's results accepts what is promised and refuses anything less."""

import json
import subprocess
import sys
from functools import reduce
from operator import getitem
from pathlib import Path

import check_results
import pytest

SAMPLE = {
    "pretrain": {"initial_validation_loss": 7.0, "validation_loss": 3.0, "bigram_validation_loss": 3.1},
    "finetune_classifier": {"test_accuracy": 96.0, "baseline_test_accuracy": 95.0},
    "prepare_instructions": {"test_prompts_in_train": 0, "test_answers_in_train": 10},
    "judge_responses": {
        "backend": "overlap",
        "base": {"mean": 14.9, "n": 110, "n_scored": 110},
        "assistant": {"mean": 60.0, "n": 110, "n_scored": 110},
        "preferred": {"mean": 40.0, "n": 110, "n_scored": 110},
    },
    "generate_responses": {"preference_share": 10.0, "preferred_preference_share": 90.0},
    "benchmark_models": {
        "chance": 25.0,
        "assistant": {"acc_ci95_low": 25.1},
        "difference": {"acc_ci95_low": 0.1},
    },
}
LAPTOP = {
    "tokenize_corpus": {"tokens": 5145},
    "prepare_sms": {"rows": 5572, "kept": 1494, "train": 1045, "validation": 149, "test": 300},
    "prepare_instructions": {"train": 935, "test": 110, "validation": 55},
    "finetune_classifier": {"test_accuracy": 97.0, "baseline_test_accuracy": 97.0},
    "judge_responses": {"base": {"mean": 16.0}, "assistant": {"mean": 37.0, "ci95_low": 30.0}},
}
LAPTOP_SHORT = LAPTOP | {
    "prepare_instructions": {"train": 136, "test": 16, "validation": 8},
    "finetune_classifier": {"test_accuracy": 93.0, "baseline_test_accuracy": 97.0},
    "judge_responses": {"base": {"mean": 16.0}, "assistant": {"mean": 16.1, "ci95_low": 9.0}},
}
SMOL = {"judge_responses": {"base": {"mean": 16.0}, "assistant": {"mean": 33.0, "ci95_low": 30.0}}}
PROMISED = {"sample": SAMPLE, "laptop": LAPTOP, "laptop-short": LAPTOP_SHORT, "smol": SMOL}
TOO_LITTLE = [
    ("sample", "pretrain.validation_loss", 3.2),
    ("sample", "pretrain.initial_validation_loss", 5.9),
    ("sample", "finetune_classifier.test_accuracy", 94.9),
    ("sample", "finetune_classifier.baseline_test_accuracy", 97.1),
    ("sample", "prepare_instructions.test_prompts_in_train", 1),
    ("sample", "prepare_instructions.test_answers_in_train", 11),
    ("sample", "judge_responses.backend", "ollama"),
    ("sample", "judge_responses.base.mean", 15.0),
    ("sample", "judge_responses.assistant.mean", 59.9),
    ("sample", "judge_responses.assistant.n_scored", 109),
    ("sample", "judge_responses.preferred.n_scored", 109),
    ("sample", "judge_responses.preferred.mean", 39.9),
    ("sample", "generate_responses.preference_share", 10.1),
    ("sample", "generate_responses.preferred_preference_share", 89.9),
    ("sample", "benchmark_models.assistant.acc_ci95_low", 25.0),
    ("sample", "benchmark_models.difference.acc_ci95_low", 0.0),
    ("laptop", "tokenize_corpus.tokens", 5146),
    ("laptop", "prepare_sms.rows", 5574),
    ("laptop", "prepare_sms.kept", 1492),
    ("laptop", "prepare_sms.validation", 150),
    ("laptop", "prepare_instructions.test", 55),
    ("laptop", "finetune_classifier.baseline_test_accuracy", 97.1),
    ("laptop", "judge_responses.assistant.mean", 36.9),
    ("laptop", "judge_responses.base.mean", 30.0),
    ("laptop-short", "prepare_sms.rows", 5574),
    ("laptop-short", "finetune_classifier.test_accuracy", 92.9),
    ("laptop-short", "judge_responses.base.mean", 16.1),
    ("smol", "judge_responses.assistant.mean", 32.9),
    ("smol", "judge_responses.base.mean", 30.0),
]


def write_results(
    folder: Path,
    metrics: dict,
    test_message: str = "new",
    test_input: str = "new",
    new_answer_score: float = 58.0,
) -> None:
    (folder / "metrics").mkdir()
    for stage, values in metrics.items():
        (folder / "metrics" / f"{stage}.json").write_text(json.dumps(values))
    (folder / "data" / "sms").mkdir(parents=True)
    (folder / "data" / "instructions").mkdir()
    for split, message in (("train", "Win a prize"), ("validation", "See you"), ("test", test_message)):
        (folder / "data" / "sms" / f"{split}.csv").write_text(f"Label,Text\n1,{message}\n")
    for split, given in (("train", "old"), ("test", test_input)):
        entries = [{"instruction": "Sort.", "input": given, "output": output} for output in ("known", split)]
        (folder / "data" / "instructions" / f"{split}.json").write_text(json.dumps(entries))
    verdicts = [
        {"id": id, "variant": variant, "score": score}
        for id, score in ((0, 100.0), (1, new_answer_score))
        for variant in check_results.VARIANTS
    ]
    (folder / "data" / "verdicts.json").write_text(json.dumps(verdicts))


def failed_checks(profile: str, folder: Path) -> list[str]:
    return [check.name for check in check_results.PROFILES[profile](folder) if not check.ok]


@pytest.mark.parametrize(("profile", "metrics"), PROMISED.items())
def test_the_promised_results_pass(profile: str, metrics: dict, tmp_path: Path) -> None:
    write_results(tmp_path, metrics)
    assert failed_checks(profile, tmp_path) == []


@pytest.mark.parametrize(("profile", "key", "value"), TOO_LITTLE)
def test_less_than_promised_fails_in_one_check(profile: str, key: str, value: object, tmp_path: Path) -> None:
    metrics = json.loads(json.dumps(PROMISED[profile]))
    *sections, name = key.split(".")
    reduce(getitem, sections, metrics)[name] = value
    write_results(tmp_path, metrics)
    assert len(failed_checks(profile, tmp_path)) == 1


@pytest.mark.parametrize("leak", [{"test_message": "WIN A PRIZE"}, {"test_input": "old"}])
def test_a_leak_of_the_test_split_fails(leak: dict[str, str], tmp_path: Path) -> None:
    write_results(tmp_path, SAMPLE, **leak)
    assert len(failed_checks("sample", tmp_path)) == 1


def test_an_assistant_that_only_memorised_fails(tmp_path: Path) -> None:
    write_results(tmp_path, SAMPLE, new_answer_score=57.9)
    assert failed_checks("sample", tmp_path) == ["assistant's mean where the answer is new"]


def test_the_program_exits_with_1_and_a_table_where_a_check_fails(tmp_path: Path) -> None:
    write_results(tmp_path, LAPTOP | {"finetune_classifier": {"test_accuracy": 50.0, "baseline_test_accuracy": 40.0}})
    command = [sys.executable, check_results.__file__, "laptop", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 1
    assert [line for line in done.stdout.splitlines() if line.endswith("NO")] == [
        line for line in done.stdout.splitlines() if line.startswith("finetune_classifier.test_accuracy ")
    ]
    assert done.stderr == "check_results: 1 of 9 checks of profile laptop failed\n"


def test_a_run_that_did_not_finish_is_named(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, check_results.__file__, "sample", str(tmp_path)], capture_output=True, text=True
    )
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1 and "pretrain.json is missing" in done.stderr
