"""A dvc.lock as DVC writes it, for model folders that a test made."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from scratchlm.export.last_run import file_md5, tree_md5

MD5 = "0123456789abcdef0123456789abcdef"
SCORES = {"mean": 75.2075, "ci95_low": 68.5422, "ci95_high": 81.5969, "n": 110, "n_scored": 109}
METRICS: dict[str, dict[str, Any]] = {
    "pretrain": {"validation_loss": 1.1575, "initial_validation_loss": 7.9043},
    "finetune_instructions": {"validation_loss": 0.6058, "initial_validation_loss": 4.3785},
    "tune_preferences": {"validation_loss": 0.1109, "initial_validation_loss": 0.6931},
    "judge_responses": {
        "judge": "overlap",
        "base": {**SCORES, "mean": 0.012},
        "assistant": SCORES,
        "preferred": {**SCORES, "mean": 53.572},
        "new_answers": {**SCORES, "mean": 74.6223, "n_scored": 106},
    },
    "benchmark_models": {
        "questions": 190,
        "chance": 25.0,
        **{name: {"acc": 66.8421, "acc_ci95_low": 60.0, "acc_ci95_high": 73.6842} for name in ("base", "assistant")},
    },
}
PARAMS: dict[str, dict[str, Any]] = {
    "download_corpus": {"corpus.source": "sample"},
    "pretrain": {"pretrain": {"epochs": 5, "start": "random"}, "seed": 123},
    "download_weights": {"weights.bases": ["pretrained"]},
    "prepare_instructions": {"instructions.source": "sample"},
    "finetune_instructions": {"finetune_instructions": {"base": "pretrained", "epochs": 6}, "seed": 123},
    "tune_preferences": {"tune_preferences.beta": 0.02},
    "judge_responses": {"finetune_instructions.base": "pretrained"},
    "benchmark_models": {"finetune_instructions.base": "pretrained"},
}
# What each stage reads and writes beside its metrics.
STAGES: dict[str, tuple[list[str], list[str]]] = {
    "download_corpus": ([], ["data/corpus"]),
    "pretrain": (["data/corpus"], ["models/pretrained"]),
    "download_weights": (["models/pretrained"], ["models/bases"]),
    "prepare_instructions": ([], ["data/instructions"]),
    "finetune_instructions": (["data/instructions", "models/bases"], ["models/assistant"]),
    "tune_preferences": (["models/assistant"], ["models/preferred"]),
    "judge_responses": (["models/assistant", "models/bases", "models/preferred"], []),
    "benchmark_models": (["models/assistant", "models/bases"], []),
}


def write_lock(root: Path, params: dict[str, dict[str, Any]] | None = None) -> None:
    """Write metrics and a dvc.lock, in which the models that are there have their hashes."""
    stages: dict[str, Any] = {}
    for stage, (deps, outs) in STAGES.items():
        metrics = root / "metrics" / f"{stage}.json"
        metrics.parent.mkdir(exist_ok=True)
        metrics.write_text(json.dumps(METRICS.get(stage, {})))
        stages[stage] = {
            "cmd": "true",
            "deps": [recorded(root, path) for path in deps],
            "params": {"params.yaml": (PARAMS | (params or {})).get(stage, {})},
            "outs": [
                *(recorded(root, path) for path in outs),
                {"path": f"metrics/{stage}.json", "hash": "md5", "md5": file_md5(metrics), "size": 2},
            ],
        }
    YAML().dump({"schema": "2.0", "stages": stages}, root / "dvc.lock")


def recorded(root: Path, path: str) -> dict[str, Any]:
    md5 = tree_md5(root / path) or f"{MD5}.dir"
    return {"path": path, "hash": "md5", "md5": md5, "size": 48_033, "nfiles": 369}
