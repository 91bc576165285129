"""GPT-2's released shapes from download to text, with random weights in place of the real ones."""

from __future__ import annotations

import hashlib
import json
import shutil
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import torch
from loading import measure_in_fresh_process, write_random_checkpoint
from safetensors.torch import load_file, save_file
from transformers import GPT2LMHeadModel

from scratchlm import load
from scratchlm.bases import gpt2
from scratchlm.download.sources import GPT2_WEIGHTS
from scratchlm.generation.decode import Sampling, generate

WEIGHTS = "model.safetensors"
TOLERANCE = 1e-4  # float32, 12 and 24 layers


class QuietHandler(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def big_folder() -> Iterator[Path]:
    """Like tmp_path, but removed after the test: pytest would keep gigabytes."""
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder)


@pytest.fixture(scope="module")
def upload_124m() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as folder:
        write_random_checkpoint("124M", Path(folder))
        yield Path(folder)


@contextmanager
def served(folder: Path) -> Iterator[str]:
    httpd = ThreadingHTTPServer(("127.0.0.1", 0), partial(QuietHandler, directory=folder))
    threading.Thread(target=httpd.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{httpd.server_port}"
    httpd.shutdown()
    httpd.server_close()


def write_with_openais_names(upload: Path, folder: Path) -> Path:
    """Write a checkpoint again as OpenAI's own upload has it: without a prefix, with each layer's causal mask."""
    shutil.copytree(upload, folder, ignore=shutil.ignore_patterns(WEIGHTS))
    tensors = {name.removeprefix("transformer."): tensor for name, tensor in load_file(upload / WEIGHTS).items()}
    mask = torch.ones(1024, 1024).tril().view(1, 1, 1024, 1024)
    n_layers = json.loads((upload / "config.json").read_text())["n_layer"]
    tensors |= {f"h.{layer}.attn.bias": mask.clone() for layer in range(n_layers)}
    save_file(tensors, folder / WEIGHTS, metadata={"format": "pt"})
    return folder


def check_download(size: str, upload: Path, folder: Path, mirror: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Download `upload` from a server into `folder`; compare logits and greedy text with transformers'."""
    with (upload / WEIGHTS).open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    monkeypatch.setenv("SCRATCHLM_CACHE", str(folder / "cache"))
    monkeypatch.delenv("SCRATCHLM_MIRROR", raising=False)
    with served(upload) as url:
        source = replace(
            GPT2_WEIGHTS[size],
            urls=(f"{url}/{WEIGHTS}",),
            size_bytes=(upload / WEIGHTS).stat().st_size,
            sha256=sha256,
        )
        monkeypatch.setitem(gpt2.GPT2_WEIGHTS, size, source)
        gpt2.download_checkpoint(size, folder / size, tokenizer_folder=mirror)

    ours, tokenizer = load(folder / size)
    theirs = GPT2LMHeadModel.from_pretrained(upload).eval()
    ids = tokenizer.encode_ordinary((mirror / "the-verdict.txt").read_text(encoding="utf-8"))[:64]
    with torch.no_grad():
        expected = theirs(torch.tensor([ids])).logits
        assert expected.std() > 1  # nearly equal logits would prove nothing
        assert (ours(torch.tensor([ids])) - expected).abs().max() < TOLERANCE
    continuation = generate(ours, [ids], 20, (), Sampling(), batch_size=1)[0]
    their_ids = theirs.generate(
        torch.tensor([ids]),
        attention_mask=torch.ones(1, len(ids), dtype=torch.int64),
        max_new_tokens=20,
        do_sample=False,
        eos_token_id=None,
        pad_token_id=0,
    )[0, len(ids) :].tolist()
    assert continuation.ids == their_ids


@pytest.mark.mirror
def test_the_124m_shape_is_downloaded_and_gives_transformers_logits_and_text(
    upload_124m: Path, big_folder: Path, mirror: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    check_download("124M", upload_124m, big_folder, mirror, monkeypatch)


@pytest.mark.slow
@pytest.mark.mirror
def test_the_124m_shape_is_downloaded_with_the_names_of_openais_upload(
    upload_124m: Path, big_folder: Path, mirror: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    upload = write_with_openais_names(upload_124m, big_folder / "upload")
    check_download("124M", upload, big_folder, mirror, monkeypatch)


@pytest.mark.slow
@pytest.mark.mirror
def test_the_355m_shape_is_downloaded_too(big_folder: Path, mirror: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_random_checkpoint("355M", big_folder / "upload")
    check_download("355M", big_folder / "upload", big_folder, mirror, monkeypatch)


@pytest.mark.skipif(sys.platform != "linux", reason="memory is counted in Linux's /proc")
def test_loading_the_124m_shape_takes_hardly_more_memory_than_its_file(
    upload_124m: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(Path(gpt2.__file__).parents[2]))
    assert 1 < measure_in_fresh_process("scratchlm", upload_124m)["load_peak_share"] < 1.3
