"""A small assistant, and checkpoints of every architecture and option that a GGUF file can hold."""

from __future__ import annotations

from pathlib import Path

import pytest
from gguf_files import SPECIAL, tiny_vocabulary
from tiny_exports import GPT, Checkpoint, random_model

from scratchlm.assistant.folder import save_assistant
from scratchlm.checkpoint.folder import save_checkpoint
from scratchlm.model.config import ModelConfig
from scratchlm.model.language_model import LanguageModel
from scratchlm.tokenizer.byte_level import describe_byte_level, write_byte_level


@pytest.fixture(scope="session")
def smollm_tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tokenizer of 281 tokens that cuts text as SmolLM2's does, its special tokens first."""
    folder = tmp_path_factory.mktemp("smollm")
    write_byte_level(folder, describe_byte_level(*tiny_vocabulary(), SPECIAL, cut_digits=True))
    return folder


@pytest.fixture
def checkpoint(tokenizer_folder: Path, smollm_tokenizer: Path, tmp_path: Path) -> Checkpoint:
    """Save a random model of a shape with the tokenizer that has as many tokens."""

    def save(config: ModelConfig) -> tuple[Path, LanguageModel]:
        folder, model = tmp_path / "checkpoint", random_model(config)
        save_checkpoint(folder, model, tokenizer_folder if config.vocab_size == 280 else smollm_tokenizer)
        return folder, model

    return save


@pytest.fixture
def assistant(tokenizer_folder: Path, tmp_path: Path) -> Path:
    """A small assistant in a project without a dvc.lock."""
    folder = tmp_path / "project" / "models" / "assistant"
    save_assistant(folder, random_model(GPT), tokenizer_folder, "phi3")
    return folder
