"""The three trainings against the loops of the book's published package, on small models with dropout.

Equal losses at every evaluation and equal sample texts mean: the same start, the same batches, the same dropout,
the same updates. The sizes of chapter 5 itself are in benchmarks/book_figures.py.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset
from training_settings import classifier_settings, training_settings

from scratchlm.assistant.batches import Example, collate
from scratchlm.classifier import finetune as finetuning
from scratchlm.classifier.classifier import Messages, choose_trained_layers, new_classifier
from scratchlm.classifier.reading import BOOK
from scratchlm.generation.decode import Sampling, generate
from scratchlm.model.config import GPTConfig
from scratchlm.model.gpt import GPT
from scratchlm.model.init import new_model
from scratchlm.stage.snapshots import Snapshots
from scratchlm.training.loaders import loaders
from scratchlm.training.loop import train
from scratchlm.training.loss import next_token_loss

REASON = "llms-from-scratch is not installed (`make setup` installs it without its dependencies)"
book_gpt = pytest.importorskip("llms_from_scratch.ch04", reason=REASON)
chapter_5 = pytest.importorskip("llms_from_scratch.ch05", reason=REASON)
chapter_6 = pytest.importorskip("llms_from_scratch.ch06", reason=REASON)
chapter_7 = pytest.importorskip("llms_from_scratch.ch07", reason=REASON)

SEED = 123
CPU = torch.device("cpu")
CONFIG = GPTConfig(
    vocab_size=60,
    context_length=32,
    emb_dim=24,
    n_heads=3,
    n_layers=3,
    drop_rate=0.1,
    qkv_bias=True,
    tie_embeddings=False,
)
SETTINGS = training_settings(learning_rate=0.003, eval_batches=3)


class Letters:
    """A tokenizer of 60 characters with the methods that the book's sample printing calls."""

    def encode(self, text: str, allowed_special: Any = ()) -> list[int]:
        return [ord(character) - 64 for character in text]

    def decode(self, ids: list[int]) -> str:
        return "".join(chr(index + 64) for index in ids)


def both_models(drop_rate: float = 0.1) -> tuple[GPT, nn.Module]:
    """Build our model and the book's from the same seed."""
    config = GPTConfig(**{**CONFIG.__dict__, "drop_rate": drop_rate})
    torch.manual_seed(SEED)
    ours = new_model(config, "book")
    torch.manual_seed(SEED)
    keys = ("vocab_size", "context_length", "emb_dim", "n_heads", "n_layers", "drop_rate", "qkv_bias")
    theirs = book_gpt.GPTModel({key: getattr(config, key) for key in keys})
    return ours, theirs


def windows(n: int, seed: int) -> TensorDataset:
    ids = torch.randint(CONFIG.vocab_size, (n, 17), generator=torch.Generator().manual_seed(seed))
    return TensorDataset(ids[:, :-1], ids[:, 1:])


def optimizer_of(model: nn.Module) -> torch.optim.Optimizer:
    return torch.optim.AdamW(model.parameters(), lr=SETTINGS.learning_rate, weight_decay=SETTINGS.weight_decay)


def evaluations(curve: list[Any]) -> tuple[list[float], list[float]]:
    """Return the losses that the book has too: every `eval_every` steps, not those after the last step."""
    rows = [row for row in curve if row.step % SETTINGS.eval_every == 0]
    return [row.train_loss for row in rows], [row.validation_loss for row in rows]


def test_pretraining_draws_and_learns_as_the_books_loop(capsys: pytest.CaptureFixture[str]) -> None:
    train_set, validation_set = windows(27, 1), windows(5, 2)
    ours, theirs = both_models()
    texts = []

    def write_sample(epoch: int) -> None:
        ids = generate(ours, [Letters().encode("EVERY")], 20, (), Sampling(), batch_size=1)[0].ids
        texts.append("EVERY" + Letters().decode(ids))

    torch.manual_seed(SEED)
    curve = train(
        ours,
        loss=next_token_loss,
        batches=loaders(train_set, validation_set, 4),
        params=SETTINGS,
        name="test",
        after_epoch=write_sample,
    ).curve
    capsys.readouterr()
    torch.manual_seed(SEED)
    train_losses, validation_losses, tokens_seen = chapter_5.train_model_simple(
        theirs,
        DataLoader(train_set, 4, shuffle=True, drop_last=True),
        DataLoader(validation_set, 4),
        optimizer_of(theirs),
        CPU,
        SETTINGS.epochs,
        SETTINGS.eval_every,
        SETTINGS.eval_batches,
        "EVERY",
        Letters(),
    )
    printed = capsys.readouterr().out.splitlines()
    # The book's loop prints 50 tokens, of which the first 20 are compared.
    assert [line[:25] for line in printed if line.startswith("EVERY")] == texts
    assert evaluations(curve)[0] == pytest.approx(train_losses, abs=2e-5)
    assert evaluations(curve)[1] == pytest.approx(validation_losses, abs=2e-5)
    assert [row.tokens_seen for row in curve if row.step % 2 == 0] == tokens_seen


def trained_by_the_book(model: nn.Module, train_layers: str) -> list[nn.Module]:
    """Return the parts that the published code trains beside the new head."""
    blocks = {"last_block": 1, "last_two_blocks": 2}.get(train_layers, 0)
    return [model] if train_layers == "all" else [model.final_norm, *model.trf_blocks[-blocks:]] if blocks else []


@pytest.mark.parametrize("train_layers", ["last_layer", "last_block", "last_two_blocks", "all"])
def test_the_classifier_draws_and_learns_as_the_books_loop(
    train_layers: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(finetuning, "open_snapshots", lambda stage, device: Snapshots(tmp_path / stage))
    generator = torch.Generator().manual_seed(3)
    ids, labels = torch.randint(60, (53, 12), generator=generator), torch.randint(2, (53,), generator=generator)
    ends = {"train": (0, 30), "validation": (30, 42), "test": (42, 53)}
    splits = {name: Messages(ids[start:end], labels[start:end].tolist()) for name, (start, end) in ends.items()}
    gpt, theirs = both_models(drop_rate=0.0)

    params = classifier_settings(**SETTINGS.model_dump(), train_layers=train_layers)
    classifier = new_classifier(gpt, 2, BOOK, "base", SEED)
    choose_trained_layers(classifier, params)
    done = finetuning.finetune(classifier, splits, params, SEED, lambda: None)

    loader = DataLoader(splits["train"], 4, shuffle=True, drop_last=True)
    others = [DataLoader(splits[name], 4) for name in ("validation", "test")]
    theirs.requires_grad_(False)
    torch.manual_seed(SEED)
    theirs.out_head = nn.Linear(CONFIG.emb_dim, 2)
    for part in trained_by_the_book(theirs, train_layers):
        part.requires_grad_(True)
    whole = [DataLoader(splits["train"], 4), *others]  # the book's accuracy leaves out two messages, ours none
    before = [chapter_6.calc_accuracy_loader(split, theirs, CPU) for split in whole]
    torch.manual_seed(SEED)
    train_losses, validation_losses, train_accuracies, validation_accuracies, examples_seen = (
        chapter_6.train_classifier_simple(
            theirs,
            loader,
            others[0],
            optimizer_of(theirs),
            CPU,
            SETTINGS.epochs,
            SETTINGS.eval_every,
            SETTINGS.eval_batches,
        )
    )
    after = [chapter_6.calc_accuracy_loader(split, theirs, CPU) for split in whole]
    curve, notes = done.state.curve, done.state.epoch_notes
    assert evaluations(curve)[0] == pytest.approx(train_losses, abs=2e-5)
    assert evaluations(curve)[1] == pytest.approx(validation_losses, abs=2e-5)
    assert curve[-1].examples_seen == examples_seen
    assert [note["train_accuracy"] for note in notes] == pytest.approx([100 * part for part in train_accuracies])
    assert [note["validation_accuracy"] for note in notes] == pytest.approx(
        [100 * part for part in validation_accuracies]
    )
    assert [done.initial[name]["accuracy"] for name in splits] == pytest.approx([100 * part for part in before])
    assert [done.final[name]["accuracy"] for name in splits] == pytest.approx([100 * part for part in after])


def test_the_assistant_draws_and_learns_as_the_books_loop() -> None:
    generator = torch.Generator().manual_seed(4)
    lengths = torch.randint(4, 28, (31,), generator=generator).tolist()
    texts: list[list[int]] = [torch.randint(59, (length,), generator=generator).tolist() for length in lengths]
    train_texts, validation_texts = texts[:25], texts[25:]
    ours, theirs = both_models(drop_rate=0.0)
    pad_id, max_length = CONFIG.vocab_size - 1, 24

    ours_batches = loaders(
        [Example(ids, prompt_length=2) for ids in train_texts],
        [Example(ids, prompt_length=2) for ids in validation_texts],
        SETTINGS.batch_size,
        partial(collate, pad_id=pad_id, max_length=max_length, mask_prompt=False),
    )
    torch.manual_seed(SEED)
    curve = train(ours, loss=next_token_loss, batches=ours_batches, params=SETTINGS, name="test").curve

    def pad(batch: list[list[int]]) -> tuple[Tensor, Tensor]:
        return chapter_7.custom_collate_fn(batch, pad_token_id=pad_id, allowed_max_length=max_length)

    torch.manual_seed(SEED)
    train_losses, validation_losses, _ = chapter_5.train_model_simple(
        theirs,
        DataLoader(train_texts, 4, shuffle=True, drop_last=True, collate_fn=pad),  # type: ignore[arg-type]
        DataLoader(validation_texts, 4, collate_fn=pad),  # type: ignore[arg-type]
        optimizer_of(theirs),
        CPU,
        SETTINGS.epochs,
        SETTINGS.eval_every,
        SETTINGS.eval_batches,
        "EVERY",
        Letters(),
    )
    assert evaluations(curve)[0] == pytest.approx(train_losses, abs=2e-5)
    assert evaluations(curve)[1] == pytest.approx(validation_losses, abs=2e-5)
