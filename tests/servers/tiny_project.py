"""A finished project with tiny models, as `make repro` leaves it: what the server's tests serve."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import torch

from scratchlm.assistant.folder import save_assistant
from scratchlm.checkpoint.folder import save_checkpoint
from scratchlm.classifier.classifier import Classifier
from scratchlm.classifier.folder import Description, save_classifier
from scratchlm.classifier.reading import Reading
from scratchlm.model.config import GPTConfig
from scratchlm.model.gpt import GPT
from scratchlm.model.init import new_model
from scratchlm.tokenizer.bpe import train_bpe
from scratchlm.tokenizer.folder import read_tokenizer, write_tokenizer

ROOT = Path(__file__).parents[2]
CORPUS = "the cat sat on the mat. the dog ran over the green hill to the house by the sea. "
INSTRUCTIONS = [
    {"instruction": "Name the colour of the hill.", "input": "", "output": "The hill is green."},
    {"instruction": "Put it into the past tense.", "input": "The dog runs.", "output": "The dog ran."},
]
MESSAGES = 'Label,Text\n0,"the cat sat on the mat"\n1,"win the green house by the sea now"\n'


def make_project(root: Path) -> None:
    """Write a project whose models have 300 tokens, two layers and random weights, each other ones."""
    shutil.copy(ROOT / "profiles/sample.yaml", root / "params.yaml")
    data, models = root / "data", root / "models"
    for folder in ("corpus", "instructions", "sms"):
        (data / folder).mkdir(parents=True)
    (data / "corpus/1.txt").write_text(CORPUS, encoding="utf-8")
    (data / "instructions/test.json").write_text(json.dumps(INSTRUCTIONS), encoding="utf-8")
    (data / "sms/labels.json").write_text('["ham", "spam"]', encoding="utf-8")
    (data / "sms/test.csv").write_text(MESSAGES, encoding="utf-8")
    tokenizer = data / "tokenizer"
    write_tokenizer(tokenizer, *train_bpe([CORPUS, "Below is an instruction. ### Response:"] * 4, 300))
    n_vocab, end = (built := read_tokenizer(tokenizer)).n_vocab, built.eot_token
    (models / "bases").mkdir(parents=True)
    save_checkpoint(models / "pretrained", random_model(n_vocab, 1), tokenizer)
    save_checkpoint(models / "bases/pretrained", random_model(n_vocab, 1), tokenizer)
    save_assistant(models / "assistant", random_model(n_vocab, 2), tokenizer, "alpaca")
    save_assistant(models / "preferred", random_model(n_vocab, 3), tokenizer, "alpaca")
    classifier = Classifier(random_model(n_vocab, 4), 2, Reading(pad_id=end))
    torch.nn.init.normal_(classifier.head.weight, std=0.5)
    save_classifier(models / "classifier", classifier, tokenizer, Description(["ham", "spam"], 120, 1.0))


def random_model(n_vocab: int, seed: int) -> GPT:
    """Return a model whose tokens are not equally likely."""
    torch.manual_seed(seed)
    return new_model(GPTConfig(n_vocab, 320, 32, 4, 2, 0.0, qkv_bias=True, tie_embeddings=False), "gpt2", 0.3).eval()
