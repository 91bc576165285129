"""The figures of benchmark_models beside those of lm-evaluation-harness: python benchmarks/lm_eval_parity.py [ADDRESS]

Gives the harness the questions of data/benchmark.json as a task of its own, and has it score base, assistant and
preferred: their folders or, with an address such as http://127.0.0.1:8000, through `scratchlm serve` there. In a folder
that has a chat template, the harness makes the prompts with it; elsewhere it gets those of the last run. Prints both
accuracies, and how far the log-likelihoods of the choices are apart. Exits with 1 if an answer differs. lm-eval is no
dependency of the project: install it into an environment of its own.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from ruamel.yaml import YAML

from scratchlm.assistant.chat_template import TEMPLATE
from scratchlm.assistant.instructions import Entry, format_prompt
from scratchlm.checkpoint.config_json import read_config
from scratchlm.params.file import PARAMS, load_params

BENCHMARK = Path("data/benchmark.json")
TASK = "scratchlm_benchmark"
TOLERANCE = 1e-3  # nats; a sentence has some -30, single precision seven digits

Row = dict[str, Any]


def write_task(folder: Path, rows: Sequence[Row], prompts: Sequence[str]) -> None:
    """Write the questions and a description of the task as the harness wants them."""
    lines = [
        json.dumps({"prompt": prompt, "choices": row["choices"], "answer": row["answer"]})
        for row, prompt in zip(rows, prompts, strict=True)
    ]
    (folder / "questions.jsonl").write_text("\n".join(lines), encoding="utf-8")
    task = {
        "task": TASK,
        "dataset_path": "json",
        "dataset_kwargs": {"data_files": {"test": str(folder / "questions.jsonl")}},
        "test_split": "test",
        "output_type": "multiple_choice",
        "doc_to_text": "prompt",
        "doc_to_choice": "choices",
        "doc_to_target": "answer",
        "target_delimiter": "",  # the prompt ends where the answer begins
        "metric_list": [{"metric": "acc"}, {"metric": "acc_norm"}],
    }
    YAML().dump(task, folder / "task.yaml")


def in_folder(model: Path) -> dict[str, Any]:
    """Return how the harness is told to load a model itself."""
    return {"model": "hf", "model_args": {"pretrained": str(model), "dtype": "float32"}, "device": "cpu"}


def at_server(address: str, name: str, model: Path) -> dict[str, Any]:
    """Return how the harness is told to ask `scratchlm serve`."""
    arguments: dict[str, Any] = {"model": name, "base_url": f"{address}/v1/completions", "tokenizer": str(model)}
    # The harness takes one off, for the token that it lets the server add.
    return {
        "model": "local-completions",
        "model_args": arguments | {"max_length": read_config(model).context_length + 1},
    }


def ask_harness(folder: Path, asked: Row, chat: bool) -> list[Row]:
    """Let the harness score the questions, as messages of a chat or as prompts; return its samples in their order."""
    import lm_eval
    from lm_eval.tasks import TaskManager

    results = lm_eval.simple_evaluate(
        **asked,
        tasks=[TASK],
        batch_size=16,
        log_samples=True,
        bootstrap_iters=0,
        apply_chat_template=chat,
        task_manager=TaskManager(include_path=str(folder), include_defaults=False),
    )
    return sorted(results["samples"][TASK], key=lambda sample: sample["doc_id"])


def compare(rows: Sequence[Row], samples: Sequence[Row], name: str) -> bool:
    """Print a model's accuracies by both, and what differs; return whether all answers are the same."""
    ours = {
        "acc": [row[name]["predicted"] == row["answer"] for row in rows],
        "acc_norm": [row[name]["predicted_norm"] == row["answer"] for row in rows],
    }
    apart = max(
        np.abs(np.subtract(row[name]["log_likelihoods"], [given[0] for given in sample["filtered_resps"]])).max()
        for row, sample in zip(rows, samples, strict=True)
    )
    same = True
    for measure, right in ours.items():
        theirs = [bool(sample[measure]) for sample in samples]
        differ = sum(one != other for one, other in zip(right, theirs, strict=True))
        same = same and not differ
        print(f"{name:10} {measure:9} {100 * np.mean(right):6.2f} {100 * np.mean(theirs):9.2f} {differ:10}")
    print(f"{name:10} log-likelihoods at most {apart:.1e} nats apart")
    return same and bool(apart < TOLERANCE)


def main() -> None:
    params = load_params(PARAMS)
    rows = json.loads(BENCHMARK.read_text(encoding="utf-8"))
    prompts = [
        format_prompt(Entry(instruction=row["question"], input="", output=""), params.instructions.prompt_style)
        for row in rows
    ]
    models = {
        "base": Path("models/bases") / params.finetune_instructions.base,
        "assistant": Path("models/assistant"),
        "preferred": Path("models/preferred"),
    }
    with tempfile.TemporaryDirectory() as folder:
        os.environ |= {"HF_HOME": folder, "HF_HUB_OFFLINE": "1"}  # read when the harness is imported
        samples = {}
        for name, path in models.items():
            chat = not sys.argv[1:] and (path / TEMPLATE).exists()
            asked = at_server(sys.argv[1], name, path.resolve()) if sys.argv[1:] else in_folder(path.resolve())
            (Path(folder) / name).mkdir()
            write_task(Path(folder) / name, rows, [row["question"] for row in rows] if chat else prompts)
            samples[name] = ask_harness(Path(folder) / name, asked, chat)
    print(f"{len(rows)} questions {'':6} {'ours':>6} {'harness':>9} {'different':>10}")
    if not all([compare(rows, samples[name], name) for name in models]):
        sys.exit("lm_eval_parity: error: the harness gives other answers")


if __name__ == "__main__":
    main()
