"""`dvc repro` builds everything, once, to the same bytes, and fails in one clear line."""

import csv
import json
import subprocess
from collections import Counter

import pytest
import torch
from dvc_deps import DVC_YAML, read_yaml
from project import Project, TinyRun
from torch import Tensor

from scratchlm.assistant.instructions import VARIANTS, Entry, format_prompt
from scratchlm.assistant.pairs import read_pairs
from scratchlm.assistant.preferences import preference_shares
from scratchlm.checkpoint.folder import load
from scratchlm.classifier.calibration import fit_temperature
from scratchlm.classifier.classifier import encode_messages, label_logits
from scratchlm.classifier.finetune import read_splits
from scratchlm.classifier.folder import load_classifier
from scratchlm.classifier.prompted import measure_prompted
from scratchlm.generation.base_texts import describe_base, sample_base

PIPELINE = read_yaml(DVC_YAML)
STAGES = list(PIPELINE["stages"])

# Keys that readers of the metrics files rely on; more keys may be there.
TRAINING = ("steps", "tokens_seen", "best_step", "best_validation_loss", "loss_gap")
INTERVAL = ("mean", "ci95_low", "ci95_high")
METRICS = {
    "download_corpus": ["documents", "characters"],
    "build_tokenizer": ["kind", "vocab_size", "merges", "characters_per_token"],
    "download_weights": ["pretrained.parameters", "pretrained.bytes", "pretrained.validation_loss"],
    "tokenize_corpus": [
        "characters",
        "tokens",
        "train_tokens",
        "validation_tokens",
        "train_windows",
        "validation_windows",
        "train_unknown_percent",
        "validation_unknown_percent",
        "vocab_size",
    ],
    "pretrain": [
        "initial_train_loss",
        "initial_validation_loss",
        "train_loss",
        "validation_loss",
        "validation_perplexity",
        "bigram_validation_loss",
        *TRAINING,
    ],
    "visualize_model": [
        "next_token_entropy",
        "gradient_decades_with_shortcuts",
        "gradient_decades_without_shortcuts",
        "gradient_decades_trained",
    ],
    "prepare_sms": [
        "rows",
        "labels.ham",
        "labels.spam",
        "kept",
        "train",
        "validation",
        "test",
    ],
    "finetune_classifier": [
        "trained_parameters",
        *(f"{when}{split}_accuracy" for when in ("initial_", "") for split in ("train", "validation", "test")),
        *(f"{when}{split}_loss" for when in ("initial_", "") for split in ("train", "validation", "test")),
        "test_precision",
        "test_recall",
        "test_f1",
        "test_macro_f1",
        "temperature",
        "test_calibration_error_before",
        "test_calibration_error",
        "calibrated_test_loss",
        "baseline_test_accuracy",
        "majority_test_accuracy",
        "prompted_test_accuracy",
        *TRAINING,
        "longest_tokens",
        "unknown_percent",
    ],
    "prepare_instructions": [
        "dropped_empty_outputs",
        "entries",
        "train",
        "validation",
        "test",
        "test_prompts_in_train",
    ],
    "finetune_instructions": [
        "trained_parameters",
        "initial_train_loss",
        "initial_validation_loss",
        "train_loss",
        "validation_loss",
        *TRAINING,
        "longest_tokens",
        "unknown_percent",
    ],
    "prepare_preferences": [
        "dropped_equal_answers",
        "pairs",
        *("train", "validation", "test"),
        *("train_pairs_in_test_instructions", "test_pairs_in_train"),
        *("test_chosen_share", "test_rejected_share"),
    ],
    "tune_preferences": [
        "trained_parameters",
        *(
            f"{split}_{name}"
            for split in ("train", "validation", "test")
            for name in ("loss", "chosen_reward", "rejected_reward", "margin", "accuracy", "likelier", "truncated")
        ),
        *(f"initial_{split}_{name}" for split in ("train", "validation", "test") for name in ("loss", "likelier")),
        *TRAINING,
        "longest_tokens",
        "unknown_percent",
    ],
    "generate_responses": [
        "answers",
        *(
            f"{prefix}{name}"
            for prefix in ("", "base_", "preferred_")
            for name in ("empty", "stopped_at_end", "preference_share")
        ),
    ],
    "judge_responses": [
        "judge",
        "backend",
        "model",
        *(f"{variant}.{name}" for variant in VARIANTS for name in (*INTERVAL, "n", "n_scored")),
        *(f"{prefix}difference.{name}" for prefix in ("", "preferred_") for name in (*INTERVAL, "wins", "losses")),
    ],
    "benchmark_models": [
        *("source", "questions", "cut_questions", "chance"),
        *("subjects.animals.n", "subjects.animals.base.acc", "subjects.animals.assistant.acc_ci95_low"),
        *(
            f"{whose}.{measure}{end}"
            for whose in (*VARIANTS, "difference", "preferred_difference")
            for measure in ("acc", "acc_norm")
            for end in ("", "_ci95_low", "_ci95_high")
        ),
    ],
}


def stages_run(output: str) -> list[str]:
    """Name the stages that DVC says it runs."""
    prefix = "Running stage '"
    return [line.removeprefix(prefix).split("'")[0] for line in output.splitlines() if line.startswith(prefix)]


def flat(values: dict, prefix: str = "") -> dict[str, object]:
    found = {}
    for key, value in values.items():
        found |= flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return found


def all_bytes(project: Project, *patterns: str) -> dict[str, bytes]:
    paths = [path for pattern in patterns for path in project.folder.glob(pattern) if path.is_file()]
    return {str(path.relative_to(project.folder)): path.read_bytes() for path in paths}


def test_repro_runs_every_stage_once_in_a_path_with_spaces(tiny_run: TinyRun) -> None:
    assert Counter(stages_run(tiny_run.output)) == Counter(STAGES)
    outs = [path for stage in PIPELINE["stages"].values() for path in stage.get("outs", [])]
    assert [path for path in outs if not (tiny_run.project.folder / path).exists()] == []


def test_git_sees_only_the_lock_and_the_metrics(tiny_run: TinyRun) -> None:
    changed = [line[3:] for line in tiny_run.git_status.splitlines()]
    assert "dvc.lock" in changed
    assert [path for path in changed if path != "dvc.lock" and not path.startswith("metrics/")] == []


def test_metrics_hold_the_promised_keys(tiny_run: TinyRun) -> None:
    found = {path.stem: flat(json.loads(path.read_text())) for path in tiny_run.project.folder.glob("metrics/*")}
    missing = {stage: sorted(set(keys) - found.get(stage, {}).keys()) for stage, keys in METRICS.items()}
    assert {stage: keys for stage, keys in missing.items() if keys} == {}
    assert found.keys() == METRICS.keys()


def test_metrics_are_finite_and_rounded(tiny_run: TinyRun) -> None:
    for path in tiny_run.project.folder.glob("metrics/*"):
        values = flat(json.loads(path.read_text(), parse_constant=pytest.fail))
        floats = [value for value in values.values() if isinstance(value, float)]
        assert floats == [round(value, 4) for value in floats]


def read_metrics(project: Project, stage: str) -> dict:
    return json.loads(project.read(f"metrics/{stage}.json"))


def test_stages_agree_on_what_they_both_measure(tiny_run: TinyRun) -> None:
    corpus, tokenizer, tokens, pretrain = (
        read_metrics(tiny_run.project, stage)
        for stage in ("download_corpus", "build_tokenizer", "tokenize_corpus", "pretrain")
    )
    assert corpus == {key: tokens[key] for key in ("documents", "characters")}
    # `tokens` also counts the end-of-text tokens between documents.
    per_token = tokens["characters"] / (tokens["tokens"] - (tokens["documents"] - 1))
    assert tokenizer == {
        "kind": "bpe",
        "vocab_size": tokens["vocab_size"],
        "merges": tokens["vocab_size"] - 257,
        "characters_per_token": round(per_token, 4),
    }
    weights = tiny_run.project.folder / "models/bases/pretrained/model.safetensors"
    assert read_metrics(tiny_run.project, "download_weights")["pretrained"] == {
        "parameters": pretrain["parameters"],
        "bytes": weights.stat().st_size,
        "validation_loss": pretrain["validation_loss"],
    }


def test_fine_tuning_counts_the_tokens_of_all_its_texts(tiny_run: TinyRun) -> None:
    from scratchlm.tokenizer.folder import read_tokenizer

    folder = tiny_run.project.folder / "data"
    tokenizer = read_tokenizer(folder / "tokenizer")
    messages, entries = [], []
    for split in ("train", "validation", "test"):
        with (folder / f"sms/{split}.csv").open(encoding="utf-8", newline="") as file:
            messages += [row["Text"] for row in csv.DictReader(file)]
        entries += json.loads((folder / f"instructions/{split}.json").read_text(encoding="utf-8"))
    # The profile's prompt style.
    shown = [
        f"<|user|>\n{entry['instruction']}"
        + (f"\n{entry['input']}" if entry["input"] else "")
        + f"\n<|assistant|>:\n{entry['output']}"
        for entry in entries
    ]
    for stage, texts in (("finetune_classifier", messages), ("finetune_instructions", shown)):
        found = read_metrics(tiny_run.project, stage)
        assert found["longest_tokens"] == max(len(tokenizer.encode_ordinary(text)) for text in texts)
        assert found["unknown_percent"] == 0


def test_the_assistant_answers_three_validation_entries_after_each_epoch(tiny_run: TinyRun) -> None:
    entries = json.loads(tiny_run.project.read("data/instructions/validation.json"))
    page = tiny_run.project.read("data/samples/assistant.md").splitlines()
    for entry in entries[:3]:
        assert f"instruction  {entry['instruction'].splitlines()[0]}" in page
        assert f"reference    {entry['output'].splitlines()[0]}" in page
    assert sum(line.startswith("epoch 1 ") for line in page) == 3
    assert not any(line.startswith("epoch 2 ") for line in page)


def test_preferences_are_tuned_on_other_instructions_than_those_tested(tiny_run: TinyRun) -> None:
    splits = ("train", "validation", "test")
    pairs = {split: json.loads(tiny_run.project.read(f"data/preferences/{split}.json")) for split in splits}
    for split in splits:
        entries = json.loads(tiny_run.project.read(f"data/instructions/{split}.json"))
        assert [{key: pair[key] for key in ("instruction", "input", "output")} for pair in pairs[split]] == entries
    metrics = read_metrics(tiny_run.project, "prepare_preferences")
    assert (metrics["train_pairs_in_test_instructions"], metrics["test_pairs_in_train"]) == (0, 0)
    assert metrics["test_chosen_share"] == 100
    assert metrics["test_rejected_share"] < 5


def test_the_preferred_model_is_the_assistant_moved_towards_the_chosen_answers(tiny_run: TinyRun) -> None:
    metrics = read_metrics(tiny_run.project, "tune_preferences")
    for split in ("train", "validation", "test"):
        assert metrics[f"initial_{split}_loss"] == 0.6931
        assert metrics[f"{split}_loss"] < 0.6931
        assert metrics[f"{split}_margin"] > 0
    page = tiny_run.project.read("data/samples/preferred.md").splitlines()
    before = [line for line in page if line.startswith("before ")]
    assert len(before) == sum(line.startswith("epoch 1 ") for line in page) == 3
    assistant, preferred = (
        load(tiny_run.project.folder / "models" / name)[0].state_dict() for name in ("assistant", "preferred")
    )
    assert assistant.keys() == preferred.keys()
    assert not torch.equal(assistant["wte.weight"], preferred["wte.weight"])


def test_every_answer_has_one_verdict(tiny_run: TinyRun) -> None:
    responses = json.loads(tiny_run.project.read("data/responses.json"))
    verdicts = json.loads(tiny_run.project.read("data/verdicts.json"))
    test_entries = json.loads(tiny_run.project.read("data/instructions/test.json"))
    assert len(responses) == len(test_entries)
    wanted = Counter((entry["id"], variant) for entry in responses for variant in VARIANTS)
    assert Counter((row["id"], row["variant"]) for row in verdicts) == wanted


@pytest.mark.parametrize("plot", PIPELINE["plots"], ids=lambda plot: next(iter(plot)))
def test_the_table_of_a_plot_has_its_columns_and_rows(tiny_run: TinyRun, plot: dict) -> None:
    ((_, settings),) = plot.items()
    for path, columns in settings["y"].items() if settings else ():
        with (tiny_run.project.folder / path).open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
        wanted = {settings["x"], *([columns] if isinstance(columns, str) else columns)}
        assert rows and wanted <= rows[0].keys()


def test_a_second_repro_has_nothing_to_do(project: Project) -> None:
    before = all_bytes(project, "dvc.lock", "metrics/*")
    output = project.dvc("repro").stdout
    assert "Data and pipelines are up to date." in output
    assert stages_run(output) == []
    assert all_bytes(project, "dvc.lock", "metrics/*") == before
    assert project.git("status", "--porcelain") == ""


@pytest.mark.slow
def test_a_forced_repro_gives_the_same_bytes(project: Project) -> None:
    before = all_bytes(project, "dvc.lock", "metrics/*", "data/**/*", "models/**/*")
    assert any(path.endswith(".safetensors") for path in before)
    output = project.dvc("repro", "--force").stdout
    assert Counter(stages_run(output)) == Counter(STAGES)
    after = all_bytes(project, "dvc.lock", "metrics/*", "data/**/*", "models/**/*")
    assert after.keys() == before.keys()
    assert [path for path in before if before[path] != after[path]] == []
    assert project.git("status", "--porcelain") == ""


def test_a_deleted_model_comes_back_without_a_run(project: Project) -> None:
    before = all_bytes(project, "models/*/**/*")
    for path in before:
        (project.folder / path).unlink()
    assert stages_run(project.dvc("repro").stdout) == []
    assert all_bytes(project, "models/*/**/*") == before


def test_the_counts_are_those_of_the_answers_in_the_file(tiny_run: TinyRun) -> None:
    responses = json.loads(tiny_run.project.read("data/responses.json"))
    metrics = json.loads(tiny_run.project.read("metrics/generate_responses.json"))
    assert metrics["answers"] == len(responses)
    for variant, prefix in (("assistant", ""), ("base", "base_"), ("preferred", "preferred_")):
        answers = [response[variant] for response in responses]
        assert metrics[f"{prefix}empty"] == sum(answer["text"] == "" for answer in answers)
        assert metrics[f"{prefix}stopped_at_end"] == sum(answer["finish"] == "stop" for answer in answers)
        train = read_pairs(tiny_run.project.folder / "data" / "preferences" / "train.json")
        shares = preference_shares(train, {"it": [answer["text"] for answer in answers]})
        assert metrics[f"{prefix}preference_share"] == pytest.approx(shares["it"], abs=1e-4)


def test_the_base_is_asked_before_it_is_fine_tuned(tiny_run: TinyRun) -> None:
    metrics = json.loads(tiny_run.project.read("metrics/finetune_classifier.json"))
    model, tokenizer = load(tiny_run.project.folder / "models" / "bases" / "pretrained")
    splits = read_splits(tiny_run.project.folder / "data" / "sms")
    asked = measure_prompted(model, tokenizer, splits["test"], ["ham", "spam"], 128)
    assert metrics["prompted_test_accuracy"] == pytest.approx(asked, abs=1e-4)
    accuracies = [line for line in tiny_run.output.splitlines() if line.startswith("test accuracy of ")]
    assert [line.split()[-2] for line in accuracies] == [
        f"{metrics[f'{name}test_accuracy']:.2f}" for name in ("majority_", "prompted_", "baseline_", "")
    ]


def label_logits_of(project: Project, split: str) -> tuple[Tensor, Tensor]:
    """Return what the saved classifier says of a split, [n, n_labels], and the split's labels, [n]."""
    classifier, tokenizer, description = load_classifier(project.folder / "models" / "classifier")
    messages = read_splits(project.folder / "data" / "sms")[split]
    ids = encode_messages(messages["Text"].tolist(), tokenizer, description.max_length)
    return label_logits(classifier, ids, 128), torch.tensor(messages["Label"].tolist())


def test_the_temperature_is_that_of_the_validation_messages(tiny_run: TinyRun) -> None:
    fitted = {split: fit_temperature(*label_logits_of(tiny_run.project, split)) for split in ("validation", "test")}
    assert fitted["validation"] not in (1.0, fitted["test"])
    description = json.loads(tiny_run.project.read("models/classifier/classifier.json"))
    for found in (read_metrics(tiny_run.project, "finetune_classifier"), description):
        assert found["temperature"] == fitted["validation"]


@pytest.mark.parametrize("stage", ["pretrain", "finetune_classifier", "finetune_instructions", "tune_preferences"])
def test_the_loss_gap_is_that_of_the_kept_weights(tiny_run: TinyRun, stage: str) -> None:
    metrics = read_metrics(tiny_run.project, stage)
    # Each of the three is rounded by at most 0.00005.
    assert metrics["loss_gap"] == pytest.approx(metrics["validation_loss"] - metrics["train_loss"], abs=1.6e-4)


def test_each_base_writes_a_sample(tiny_run: TinyRun) -> None:
    model, tokenizer = load(tiny_run.project.folder / "models" / "bases" / "pretrained")
    assert tiny_run.project.read("data/samples/bases.md").endswith(
        f"\n{describe_base('pretrained', sample_base(model, tokenizer))}"
    )


def test_answers_that_occur_in_train_are_counted(tiny_run: TinyRun) -> None:
    train, test = (json.loads(tiny_run.project.read(f"data/instructions/{split}.json")) for split in ("train", "test"))
    known = {entry["output"] for entry in train}
    metrics = json.loads(tiny_run.project.read("metrics/prepare_instructions.json"))
    assert metrics["test_answers_in_train"] == sum(entry["output"] in known for entry in test) > 0


def test_the_command_line_answers_with_the_model_that_is_named(project: Project) -> None:
    entry = json.loads(project.read("data/responses.json"))[0]
    for variant in ("assistant", "preferred"):
        command = ("env", "PYTHONPATH=src", "python", "-m", "scratchlm.cli", "ask", entry["instruction"])
        options = ("--input", entry["input"], "--tokens", "8", "--model", f"models/{variant}")
        said = project.run(*command, *options).stdout
        assert said.strip() == entry[variant]["text"]


@torch.no_grad()
def test_the_benchmark_has_the_likelihoods_of_all_models(tiny_run: TinyRun) -> None:
    asked = json.loads(tiny_run.project.read("data/benchmark.json"))[0]
    prompt = format_prompt(Entry(instruction=asked["question"], input="", output=""), "phi3")  # the profile's style
    for name, folder in zip(VARIANTS, ("bases/pretrained", "assistant", "preferred"), strict=True):
        model, tokenizer = load(tiny_run.project.folder / "models" / folder)
        start = len(tokenizer.encode_ordinary(prompt.rstrip()))
        wanted = []
        for choice in asked["choices"]:
            ids = torch.tensor(tokenizer.encode_ordinary(prompt + choice))
            log_probabilities_TV = model(ids[None, :-1])[0].log_softmax(dim=-1)
            wanted.append(float(log_probabilities_TV.gather(1, ids[1:, None])[start - 1 :].sum()))
        assert asked[name]["log_likelihoods"] == pytest.approx(wanted, abs=1e-3)


MODELS = ["models/pretrained", "models/bases/pretrained", "models/assistant", "models/classifier"]


@pytest.mark.parametrize("folder", MODELS)
def test_transformers_loads_the_models_with_equal_logits(tiny_run: TinyRun, folder: str) -> None:
    from transformers import GPT2LMHeadModel

    from scratchlm import load

    path = tiny_run.project.folder / folder
    ours, tokenizer = load(path)
    theirs = GPT2LMHeadModel.from_pretrained(path).eval()
    ids = torch.tensor([tokenizer.encode_ordinary("One morning the fox went down to the river.")])
    with torch.no_grad():
        torch.testing.assert_close(ours(ids), theirs(ids).logits, rtol=0, atol=1e-5)


def test_a_wrong_value_fails_in_one_line_that_names_the_key(project: Project) -> None:
    project.set_params({"judge.min_coverage": "most"})
    failed = project.dvc("repro", fails=True)
    assert stages_run(failed.stdout) == ["judge_responses"]
    assert_one_clear_message(failed, "judge_responses")
    assert "judge.min_coverage: got 'most'" in failed.stderr
    assert_git_has_no_data(project)


def test_a_stage_that_fails_after_others_succeeded_leaves_git_free_of_data(project: Project) -> None:
    (project.folder / "inputs/corpus/note.txt").write_text("Good morning to all of you.", encoding="utf-8")
    project.set_params({"corpus.source": ["inputs/corpus/note.txt"]})
    failed = project.dvc("repro", fails=True)
    assert stages_run(failed.stdout) == ["download_corpus", "build_tokenizer", "tokenize_corpus"]
    assert_one_clear_message(failed, "tokenize_corpus")
    assert "use a longer corpus" in failed.stderr
    assert_git_has_no_data(project)


def test_an_experiment_that_fails_ends_with_an_error(project: Project) -> None:
    failed = project.dvc("exp", "run", "-S", "judge.min_coverage=2", fails=True)
    assert "Traceback" not in failed.stderr
    assert "judge.min_coverage: got 2" in failed.stderr
    assert_git_has_no_data(project)


def assert_one_clear_message(failed: subprocess.CompletedProcess[str], stage: str) -> None:
    """Require the stage's message, with a bullet for each of several problems, then DVC's own line."""
    assert "Traceback" not in failed.stderr
    lines = [line for line in failed.stderr.splitlines() if line and not line.startswith("  - ")]
    assert [line.split(":")[:2] for line in lines] == [
        [stage, " error"],
        ["ERROR", f" failed to reproduce '{stage}'"],
    ], failed


def assert_git_has_no_data(project: Project) -> None:
    project.git("add", "--all")
    staged = project.git("diff", "--cached", "--name-only").split()
    assert staged and [path for path in staged if path.startswith(("data/", "models/", ".checkpoints/"))] == []
