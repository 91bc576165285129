"""Model folders: what is written comes back, and everything that does not fit is named at once."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from scratchlm.checkpoint import check_vocabulary, load, load_checkpoint, read_config, save_checkpoint
from scratchlm.errors import InputError
from scratchlm.model import GPTConfig, new_gpt
from scratchlm.tokenizer import read_tokenizer, train_bpe, write_tokenizer

CONFIG = GPTConfig(280, 12, 16, 2, 2, 0.1, True, True)


@pytest.fixture
def folder(tmp_path: Path, tokenizer_folder: Path) -> Path:
    torch.manual_seed(0)
    save_checkpoint(tmp_path / "model", new_gpt(CONFIG, "gpt2"), tokenizer_folder)
    return tmp_path / "model"


def change_weights(folder: Path, change: Callable[[dict[str, Tensor]], Any]) -> None:
    tensors = load_file(folder / "model.safetensors")
    change(tensors)
    save_file(tensors, folder / "model.safetensors")


def change_config(folder: Path, **changes: Any) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, **changes}))


@pytest.mark.parametrize("tie", [True, False])
@pytest.mark.parametrize("qkv_bias", [True, False])
def test_a_saved_model_loads_with_equal_weights(
    tie: bool, qkv_bias: bool, tmp_path: Path, tokenizer_folder: Path
) -> None:
    torch.manual_seed(1)
    config = GPTConfig(280, 12, 16, 2, 2, 0.1, qkv_bias, tie)
    model = new_gpt(config, "book")
    save_checkpoint(tmp_path / "model", model, tokenizer_folder)
    loaded, tokenizer = load(tmp_path / "model")
    assert loaded.config == GPTConfig(280, 12, 16, 2, 2, 0.0, qkv_bias, tie)
    assert read_config(tmp_path / "model") == config
    assert loaded.state_dict().keys() == model.state_dict().keys()
    assert all(torch.equal(loaded.state_dict()[name], tensor) for name, tensor in model.state_dict().items())
    assert tokenizer.n_vocab == 280
    assert not loaded.training


def test_saving_twice_gives_the_same_bytes(folder: Path, tmp_path: Path, tokenizer_folder: Path) -> None:
    torch.manual_seed(0)
    save_checkpoint(tmp_path / "again", new_gpt(CONFIG, "gpt2"), tokenizer_folder)
    for path in folder.iterdir():
        assert path.read_bytes() == (tmp_path / "again" / path.name).read_bytes()


def test_openais_names_without_prefix_and_with_mask_buffers_load(folder: Path) -> None:
    before = load_checkpoint(folder)

    def as_openai(tensors: dict[str, Tensor]) -> None:
        for name in list(tensors):
            tensors[name.removeprefix("transformer.")] = tensors.pop(name)
        tensors["h.0.attn.bias"] = torch.ones(1, 1, 12, 12)
        tensors["h.0.attn.masked_bias"] = torch.tensor(-1e4)

    change_weights(folder, as_openai)
    after = load_checkpoint(folder)
    assert all(torch.equal(a, b) for a, b in zip(before.parameters(), after.parameters(), strict=True))


def test_all_differences_are_reported_at_once(folder: Path) -> None:
    def damage(tensors: dict[str, Tensor]) -> None:
        del tensors["transformer.h.1.mlp.c_fc.bias"]
        tensors["transformer.wpe.weight"] = torch.zeros(20, 16)
        tensors["transformer.ln_f.bias"] = torch.zeros(16, dtype=torch.int32)
        tensors["transformer.extra"] = torch.zeros(1)

    change_weights(folder, damage)
    with pytest.raises(InputError) as error:
        load_checkpoint(folder)
    assert "4 differences" in str(error.value)
    for part in (
        "h.1.mlp.c_fc.bias is missing, expected [64]",
        "transformer.wpe.weight has shape [20, 16], expected [12, 16] (context_length differs)",
        "transformer.ln_f.bias has dtype I32, expected one of F32, F16, BF16",
        "transformer.extra is not a tensor of this model",
    ):
        assert part in str(error.value)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_refused(folder: Path, value: float) -> None:
    change_weights(folder, lambda tensors: tensors["transformer.h.0.ln_1.weight"].fill_(value))
    with pytest.raises(InputError, match=r"h\.0\.ln_1\.weight holds NaN or infinity"):
        load_checkpoint(folder)


def test_biases_that_qkv_bias_would_drop_are_refused(folder: Path) -> None:
    change_weights(folder, lambda tensors: tensors["transformer.h.0.attn.c_attn.bias"].fill_(0.5))
    change_config(folder, qkv_bias=False)
    with pytest.raises(InputError, match="set qkv_bias to true"):
        load_checkpoint(folder)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"n_head": 3}, "n_embd 16 is not a multiple of n_head 3"),
        ({"n_layer": "2"}, "n_layer is '2', expected a positive integer"),
        ({"n_layer": None}, "n_layer is None"),
        ({"activation_function": "relu"}, "activation_function is 'relu', supported: 'gelu_new'"),
        ({"n_inner": 17}, "n_inner is 17, supported: null or 4"),
        ({"model_type": "llama"}, "model_type is 'llama', supported: 'gpt2'"),
        ({"layer_norm_epsilon": 1e-6}, "layer_norm_epsilon is 1e-06"),
    ],
)
def test_a_configuration_that_is_not_this_gpt_is_refused(folder: Path, change: dict[str, Any], message: str) -> None:
    change_config(folder, **change)
    with pytest.raises(InputError, match=message):
        load_checkpoint(folder)


@pytest.mark.parametrize("content", [b"", b"not safetensors", pickle.dumps({"a": 1})])
def test_a_file_in_another_format_is_refused(folder: Path, content: bytes) -> None:
    (folder / "model.safetensors").write_bytes(content)
    with pytest.raises(InputError, match=r"not a readable safetensors file .*pickles are never read"):
        load_checkpoint(folder)


def test_a_truncated_file_is_refused(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-7])
    with pytest.raises(InputError, match="not a readable safetensors file"):
        load_checkpoint(folder)


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "vocab.json", "merges.txt"])
def test_a_missing_file_says_what_to_run(folder: Path, name: str) -> None:
    (folder / name).unlink()
    with pytest.raises(InputError, match="run `make repro`"):
        load(folder)


def test_a_model_of_another_vocabulary_is_refused(folder: Path, tmp_path: Path) -> None:
    write_tokenizer(tmp_path / "other", *train_bpe(["something else, and another thing that is not like it"], 270))
    with pytest.raises(InputError, match="has 280 tokens, the tokenizer 270"):
        check_vocabulary(folder, read_tokenizer(tmp_path / "other"))
