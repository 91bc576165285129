"""The whole pipeline with the other architecture: every stage that has a model takes a Llama like a GPT."""

from __future__ import annotations

import json

import pytest
import torch
from project import Project
from test_repro import STAGES, read_metrics, stages_run

from scratchlm.checkpoint.folder import load

WITHOUT_A_MODEL = {
    *("download_corpus", "build_tokenizer", "tokenize_corpus"),
    *("prepare_sms", "prepare_instructions", "prepare_preferences"),
}
FOLDERS = ("pretrained", "bases/pretrained", "classifier", "assistant", "preferred")
# Ways of fine-tuning that reach into the layers: features computed once and the last block at one position, and LoRA.
SETTINGS = {
    "model.architecture": "llama",
    "model.n_layers": 2,
    "finetune_classifier.train_layers": "last_block",
    "finetune_instructions.train_layers": "lora",
}


@pytest.mark.slow
def test_every_stage_with_a_model_takes_a_llama(project: Project) -> None:
    from transformers import AutoModelForCausalLM

    project.set_params(SETTINGS)
    ran = project.dvc("repro")
    assert sorted(stages_run(ran.stdout)) == sorted(set(STAGES) - WITHOUT_A_MODEL)
    for folder in FOLDERS:
        config = json.loads(project.read(f"models/{folder}/config.json"))
        assert (config["model_type"], config["num_key_value_heads"]) == ("llama", 1), folder
    for stage in ("pretrain", "finetune_classifier", "finetune_instructions", "tune_preferences"):
        metrics = read_metrics(project, stage)
        assert metrics["train_loss"] < metrics["initial_train_loss"], stage
    ours, tokenizer = load(project.folder / "models" / "preferred")
    theirs = AutoModelForCausalLM.from_pretrained(project.folder / "models" / "preferred")
    ids = torch.tensor([tokenizer.encode_ordinary("One morning Tom went to the market and")])
    with torch.no_grad():
        assert torch.allclose(ours(ids), theirs(ids).logits, atol=1e-5)
    assert "gate * up" in project.read("data/plots/shapes.md")
    assert "without_shortcuts" not in project.read("data/plots/gradients.csv")
    assert "gradient_decades_without_shortcuts" not in read_metrics(project, "visualize_model")
    assert stages_run(project.dvc("repro").stdout) == []  # the outs of a Llama are those that dvc.yaml lists
