"""The two kinds of base: a released checkpoint from a server and a checkpoint of our own, with the same checks."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel

from scratchlm.bases import gpt2
from scratchlm.bases.own import copy_checkpoint
from scratchlm.checkpoint.folder import load, save_checkpoint
from scratchlm.download.sources import GPT2_WEIGHTS
from scratchlm.errors import InputError
from scratchlm.model.config import GPTConfig
from scratchlm.model.init import new_model


class QuietHandler(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def server(tmp_path: Path) -> Iterator[tuple[Path, str]]:
    folder = tmp_path / "server"
    folder.mkdir()
    httpd = ThreadingHTTPServer(("127.0.0.1", 0), partial(QuietHandler, directory=folder))
    threading.Thread(target=httpd.serve_forever, daemon=True).start()
    yield folder, f"http://127.0.0.1:{httpd.server_port}"
    httpd.shutdown()
    httpd.server_close()


def small_config(n_layers: int = 2) -> GPTConfig:
    return GPTConfig(280, 20, 24, 2, n_layers, 0.1, qkv_bias=True, tie_embeddings=True)


def test_a_checkpoint_of_transformers_is_downloaded_from_a_server(
    server: tuple[Path, str], tokenizer_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, url = server
    torch.manual_seed(0)
    theirs = GPT2LMHeadModel(
        GPT2Config(
            vocab_size=280,
            n_positions=20,
            n_embd=24,
            n_layer=2,
            n_head=2,
            bos_token_id=279,
            eos_token_id=279,
            initializer_range=0.2,
        )
    ).eval()
    theirs.save_pretrained(folder)
    content = (folder / "model.safetensors").read_bytes()
    source = replace(
        GPT2_WEIGHTS["124M"],
        urls=(f"{url}/model.safetensors",),
        size_bytes=len(content),
        sha256=hashlib.sha256(content).hexdigest(),
    )
    monkeypatch.setitem(gpt2.GPT2_WEIGHTS, "124M", source)
    monkeypatch.setattr(gpt2, "gpt2_config", lambda size: small_config())
    monkeypatch.setenv("SCRATCHLM_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("SCRATCHLM_MIRROR", raising=False)
    gpt2.download_checkpoint("124M", tmp_path / "124M", tokenizer_folder)
    ours, tokenizer = load(tmp_path / "124M")
    assert tokenizer.n_vocab == 280
    ids = torch.randint(280, (2, 20))
    with torch.no_grad():
        assert (ours(ids) - theirs(ids).logits).abs().max() < 1e-5


def test_our_own_checkpoint_is_copied_after_the_same_checks(tokenizer_folder: Path, tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "pretrained", new_model(small_config(), "gpt2"), tokenizer_folder)
    copy_checkpoint(tmp_path / "pretrained", tmp_path / "gpt2" / "pretrained")
    copied = load(tmp_path / "gpt2" / "pretrained")[0]
    assert copied.config.n_layers == 2
    weights = tmp_path / "pretrained" / "model.safetensors"
    save_checkpoint(tmp_path / "deeper", new_model(small_config(3), "gpt2"), tokenizer_folder)
    weights.write_bytes((tmp_path / "deeper" / "model.safetensors").read_bytes())
    with pytest.raises(InputError, match="12 differences"):
        copy_checkpoint(tmp_path / "pretrained", tmp_path / "gpt2" / "other")
    assert not (tmp_path / "gpt2" / "other").exists()


@pytest.mark.parametrize(
    ("size", "parameters"),
    [("124M", 124_439_808), ("355M", 354_823_168), ("774M", 774_030_080), ("1558M", 1_557_611_200)],
)
def test_the_four_sizes_have_gpt2s_parameter_counts(size: str, parameters: int) -> None:
    from scratchlm.model.gpt import GPT
    from scratchlm.model.language_model import n_parameters

    with torch.device("meta"):
        assert n_parameters(GPT(gpt2.gpt2_config(size))) == parameters
