"""The settings of the trainings in tests: a short one as the book trains, of which each test says what it changes."""

from __future__ import annotations

from typing import Any

from scratchlm.params.schema import ClassifierParams, PreferenceTuningParams, TrainingParams

DEFAULTS: dict[str, Any] = {
    "epochs": 3,
    "batch_size": 4,
    "accumulate": 1,
    "precision": "float32",
    "learning_rate": 0.01,
    "weight_decay": 0.1,
    "schedule": "constant",
    "warmup_steps": 0,
    "min_learning_rate": 0.0,
    "gradient_clip": None,
    "eval_every": 2,
    "eval_batches": 2,
    "keep": "last",
    "patience": None,
}
OF_FINETUNING: dict[str, Any] = {
    "drop_rate": 0.0,
    "group_by_length": False,
    "lora_rank": 16,
    "lora_alpha": 16.0,
    "lora_scaling": "alpha",
}
OF_CLASSIFIER: dict[str, Any] = {
    **OF_FINETUNING,
    "base": "pretrained",
    "train_layers": "all",
    "weights": "base",
    "token": "last",
    "padding": "longest",
    "max_length": None,
    "causal_mask": True,
}
OF_PREFERENCES: dict[str, Any] = {
    **OF_FINETUNING,
    "train_layers": "all",
    "max_length": 24,
    "mask_prompt": True,
    "beta": 0.1,
    "mean_log_probability": True,
}


def training_settings(**changes: Any) -> TrainingParams:
    return TrainingParams(**{**DEFAULTS, **changes})


def classifier_settings(**changes: Any) -> ClassifierParams:
    return ClassifierParams(**{**DEFAULTS, **OF_CLASSIFIER, **changes})


def preference_settings(**changes: Any) -> PreferenceTuningParams:
    return PreferenceTuningParams(**{**DEFAULTS, **OF_PREFERENCES, **changes})
