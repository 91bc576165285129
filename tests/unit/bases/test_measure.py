"""The measures of a base: its size, and its loss on the corpus if it can read that."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional as F
from torch.utils.data import DataLoader

from scratchlm.bases.measure import BaseMeasures, measure_base
from scratchlm.checkpoint.folder import load_checkpoint, save_checkpoint
from scratchlm.model.config import GPTConfig
from scratchlm.model.init import new_model
from scratchlm.model.language_model import n_parameters
from scratchlm.tokens.windows import Windows
from scratchlm.training import measuring
from scratchlm.training.loaders import Loader


@pytest.fixture
def folder(tokenizer_folder: Path, tmp_path: Path) -> Path:
    """A model with dropout, a vocabulary of 280 and a context of 12."""
    torch.manual_seed(0)
    model = new_model(GPTConfig(280, 12, 16, 2, 2, 0.1, qkv_bias=True, tie_embeddings=True), "gpt2", 0.3)
    save_checkpoint(tmp_path / "base", model, tokenizer_folder)
    return tmp_path / "base"


def windows(n_tokens: int, max_length: int = 8) -> Windows:
    ids = np.random.default_rng(1).integers(0, 280, n_tokens).astype("<u2")
    return Windows(ids, max_length, max_length)


def in_batches(corpus: Windows) -> Loader:
    return DataLoader(corpus, 2, collate_fn=lambda batch: batch)


def measured_base(folder: Path, batches: Loader | None, max_length: int) -> BaseMeasures:
    return measure_base(load_checkpoint(folder), folder, batches, max_length)


def test_the_size_is_that_of_the_model_and_its_file(folder: Path) -> None:
    measured = measured_base(folder, in_batches(windows(50)), 8)
    assert measured.parameters == n_parameters(load_checkpoint(folder))
    assert measured.bytes == len((folder / "model.safetensors").read_bytes())


def test_the_loss_is_the_mean_cross_entropy_of_the_next_token(folder: Path) -> None:
    model, corpus = load_checkpoint(folder), windows(6 * 8 + 1)
    assert len(corpus) == 6
    with torch.no_grad():
        losses = [F.cross_entropy(model(inputs[None])[0], targets).item() for inputs, targets in corpus]
    loss = measured_base(folder, in_batches(corpus), 8).validation_loss
    assert loss == pytest.approx(sum(losses) / 6, rel=1e-5)
    assert loss == measured_base(folder, in_batches(corpus), 8).validation_loss


def test_only_the_start_of_a_large_corpus_is_measured(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("scratchlm.bases.measure.MEASURED_BATCHES", 3)
    assert measuring.MEASURED_BATCHES == 200
    start, whole = windows(6 * 8 + 1), windows(50 * 8 + 1)
    assert np.array_equal(start.ids, whole.ids[: len(start.ids)])
    assert measured_base(folder, in_batches(whole), 8) == measured_base(folder, in_batches(start), 8)


def test_a_base_that_cannot_read_the_corpus_has_no_loss(folder: Path) -> None:
    assert measured_base(folder, in_batches(windows(100, 13)), 13).validation_loss is None
    assert measured_base(folder, None, 8).validation_loss is None


def test_windows_as_long_as_the_context_can_be_read(folder: Path) -> None:
    assert measured_base(folder, in_batches(windows(100, 12)), 12).validation_loss is not None
