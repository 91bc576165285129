"""Folders of a Llama: what is stored, and every description of a model that this Llama would not compute is refused."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from scratchlm.checkpoint.config_json import read_config
from scratchlm.checkpoint.folder import check_checkpoint, load, load_checkpoint, save_checkpoint
from scratchlm.checkpoint.llama_layout import config_from_json, config_problems, config_to_json
from scratchlm.errors import InputError, OutputError
from scratchlm.model.config import LlamaConfig
from scratchlm.model.init import new_model

CONFIG = LlamaConfig(
    280, 12, 16, 4, 2, 0.1, n_kv_heads=2, hidden_dim=20, rope_base=5000.0, norm_epsilon=1e-6, tie_embeddings=True
)


@pytest.fixture
def folder(tmp_path: Path, tokenizer_folder: Path) -> Path:
    torch.manual_seed(0)
    save_checkpoint(tmp_path / "model", new_model(CONFIG, "gpt2"), tokenizer_folder)
    return tmp_path / "model"


def change_config(folder: Path, **changes: Any) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, **changes}))


def drop_from_config(folder: Path, *keys: str) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({key: config[key] for key in config.keys() - set(keys)}))


@pytest.mark.parametrize("tie", [True, False])
def test_a_saved_model_loads_with_equal_weights(tie: bool, tmp_path: Path, tokenizer_folder: Path) -> None:
    config = replace(CONFIG, tie_embeddings=tie)
    model = new_model(config, "book")
    save_checkpoint(tmp_path / "model", model, tokenizer_folder)
    assert read_config(tmp_path / "model") == check_checkpoint(tmp_path / "model") == config
    loaded, tokenizer = load(tmp_path / "model")
    assert loaded.config == replace(config, drop_rate=0.0) and tokenizer.n_vocab == 280
    assert loaded.state_dict().keys() == model.state_dict().keys()
    assert all(torch.equal(loaded.state_dict()[name], tensor) for name, tensor in model.state_dict().items())


def test_saving_twice_gives_the_same_bytes(folder: Path, tmp_path: Path, tokenizer_folder: Path) -> None:
    save_checkpoint(tmp_path / "again", load_checkpoint(folder, drop_rate=0.1), tokenizer_folder)
    for path in folder.iterdir():
        assert path.read_bytes() == (tmp_path / "again" / path.name).read_bytes()


def test_the_angles_and_the_tied_head_of_other_programs_are_redundant(folder: Path) -> None:
    tensors = load_file(folder / "model.safetensors")
    before = load_checkpoint(folder)
    tensors["model.layers.1.self_attn.rotary_emb.inv_freq"] = torch.ones(2)
    tensors["lm_head.weight"] = tensors["model.embed_tokens.weight"].clone()
    save_file(tensors, folder / "model.safetensors")
    after = load_checkpoint(folder)
    assert all(torch.equal(a, b) for a, b in zip(before.parameters(), after.parameters(), strict=True))


def test_all_differences_of_the_tensors_are_reported_at_once_by_the_names_in_the_file(folder: Path) -> None:
    tensors = load_file(folder / "model.safetensors")
    del tensors["model.layers.1.mlp.up_proj.weight"]
    tensors["model.layers.0.self_attn.k_proj.weight"] = torch.zeros(16, 16)
    tensors["model.layers.0.self_attn.q_proj.bias"] = torch.zeros(16)  # Qwen's
    tensors["model.layers.0.mlp.gate_proj.weight"] = torch.zeros(20, 16, dtype=torch.int8)
    save_file(tensors, folder / "model.safetensors")
    with pytest.raises(OutputError) as error:
        load_checkpoint(folder)
    assert str(error.value).splitlines()[1:] == [
        "  - model.layers.0.mlp.gate_proj.weight has dtype I8, expected one of F32, F16, BF16",
        "  - model.layers.0.self_attn.k_proj.weight has shape [16, 16], expected [8, 16]",
        "  - model.layers.0.self_attn.q_proj.bias is not a tensor of this model",
        "  - model.layers.1.mlp.up_proj.weight is missing, expected [20, 16]",
    ]


LLAMA_3 = {"factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "rope_type": "llama3"}
USUAL = "supported: {'rope_theta': 5000.0, 'rope_type': 'default'}"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"rope_scaling": LLAMA_3}, "rope_scaling is {'factor': 8.0, .*}, supported: None"),
        ({"rope_parameters": {"rope_theta": 5000.0, **LLAMA_3}}, f"rope_parameters is .*'llama3'.*, {USUAL}"),
        ({"rope_parameters": {"rope_theta": 10000.0, "rope_type": "default"}}, f"rope_parameters is .*, {USUAL}"),
        ({"rope_parameters": {"vocab_size": 5}}, f"rope_parameters is {{'vocab_size': 5}}, {USUAL}"),
        ({"rope_parameters": {"partial_rotary_factor": 0.5}}, f"rope_parameters is .*, {USUAL}"),
        ({"rope_parameters": {"full_attention": {"rope_theta": 5000.0}}}, f"rope_parameters is .*, {USUAL}"),
        ({"rope_parameters": [5000.0]}, f"rope_parameters is \\[5000.0\\], {USUAL}"),
        ({"rope_theta": 0.5}, "rope_theta is 0.5, expected a number from 1 to 1e\\+09"),
        ({"rope_theta": float("nan")}, "rope_theta is nan"),
        ({"rope_theta": True, "rope_parameters": None}, "rope_theta is True"),
        ({"partial_rotary_factor": 0.5}, "partial_rotary_factor is 0.5, supported: None or 1"),
        ({"rope_interleaved": True}, "rope_interleaved is True, supported: None or False"),
        ({"attention_bias": True}, "attention_bias is True, supported: False"),
        ({"mlp_bias": True}, "mlp_bias is True, supported: False"),
        ({"hidden_act": "gelu"}, "hidden_act is 'gelu', supported: 'silu'"),
        ({"pretraining_tp": 2}, "pretraining_tp is 2, supported: 1"),
        ({"sliding_window": 4096}, "sliding_window is 4096, supported: None"),
        ({"quantization_config": {"quant_method": "bitsandbytes"}}, "quantization_config is {.*}, supported: None"),
        ({"head_dim": 8}, "head_dim is 8, supported: hidden_size / num_attention_heads = 4"),
        ({"head_dim": [4]}, "head_dim is \\[4\\], supported"),
        ({"num_key_value_heads": 3}, "num_attention_heads 4 is not a multiple of num_key_value_heads 3"),
        ({"num_key_value_heads": 8}, "num_attention_heads 4 is not a multiple of num_key_value_heads 8"),
        ({"num_key_value_heads": 0}, "num_key_value_heads is 0, expected a whole number from 1 to"),
        ({"num_attention_heads": 16}, "hidden_size 16 is not an even number for each of num_attention_heads 16"),
        ({"num_attention_heads": 3}, "hidden_size 16 is not an even number for each of num_attention_heads 3"),
        ({"hidden_size": "16"}, "hidden_size is '16', expected a whole number from 1 to 1,000,000"),
        ({"intermediate_size": 10**12}, "intermediate_size is 1000000000000, expected a whole number from 1 to"),
        ({"num_hidden_layers": 1001}, "num_hidden_layers is 1001, expected a whole number from 1 to 1,000"),
        ({"rms_norm_eps": -1e-5}, "rms_norm_eps is -1e-05, expected a number from 0 to 1"),
        ({"rms_norm_eps": "1e-5"}, "rms_norm_eps is '1e-5'"),
        ({"attention_dropout": 1.5}, "attention_dropout is 1.5"),
        ({"tie_word_embeddings": 1}, "tie_word_embeddings is 1, expected true or false"),
        ({"model_type": "mistral"}, "another kind of model: model_type is 'mistral', supported: 'gpt2' or 'llama'"),
        ({"model_type": "qwen2"}, "another kind of model: model_type is 'qwen2', supported: 'gpt2' or 'llama'"),
    ],
    ids=str,
)
def test_a_configuration_that_is_not_this_llama_is_refused(folder: Path, change: dict[str, Any], message: str) -> None:
    change_config(folder, **change)
    with pytest.raises(InputError, match=message):
        load_checkpoint(folder)


@pytest.mark.parametrize("key", ["vocab_size", "hidden_size", "num_hidden_layers", "max_position_embeddings"])
def test_a_key_that_no_value_can_be_guessed_for_must_be_there(folder: Path, key: str) -> None:
    drop_from_config(folder, key)
    with pytest.raises(InputError, match=rf"not a Llama configuration that can be used:\n  - {key} is None, expected"):
        load_checkpoint(folder)


def test_all_problems_are_reported_at_once(folder: Path) -> None:
    change_config(folder, hidden_act="relu", vocab_size=None, rope_scaling=LLAMA_3, rms_norm_eps=2, mlp_bias=1)
    with pytest.raises(InputError) as error:
        read_config(folder)
    lines = str(error.value).splitlines()
    assert lines[0].endswith("config.json is not a Llama configuration that can be used:") and len(lines) == 6
    for key in ("hidden_act", "vocab_size", "rope_scaling", "rms_norm_eps", "mlp_bias"):
        assert sum(line.startswith(f"  - {key} is ") for line in lines) == 1


def test_what_is_left_out_or_null_has_the_values_of_transformers(folder: Path) -> None:
    left_out = ("num_key_value_heads", "head_dim", "rms_norm_eps", "rope_theta", "rope_parameters", "hidden_act")
    drop_from_config(folder, *left_out, "attention_dropout", "tie_word_embeddings", "attention_bias", "rope_scaling")
    expected = replace(CONFIG, n_kv_heads=4, norm_epsilon=1e-6, rope_base=10_000.0, drop_rate=0.0, tie_embeddings=False)
    assert read_config(folder) == expected
    change_config(folder, **dict.fromkeys(left_out[:-1]))
    assert read_config(folder) == expected


@pytest.mark.parametrize("where", ["version 4", "version 5", "both"])
def test_the_base_of_the_angles_is_found_where_either_version_writes_it(folder: Path, where: str) -> None:
    dropped = {"version 4": ["rope_parameters"], "version 5": ["rope_theta"], "both": []}[where]
    drop_from_config(folder, *dropped)
    config = read_config(folder)
    assert isinstance(config, LlamaConfig) and config.rope_base == 5000.0


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=5), inner, max_size=2),
    max_leaves=4,
)


@given(st.data())
def test_any_description_is_refused_or_describes_the_model_that_is_built(data: st.DataObject) -> None:
    described = config_to_json(CONFIG, 279)
    key = data.draw(st.sampled_from([*sorted(described), "quantization_config", "sliding_window"]))
    changed = {**described, key: data.draw(JSON)}
    if not config_problems(changed):
        read = config_from_json(changed)
        again = config_to_json(read, 279)
        assert config_problems(again) == [] and config_from_json(again) == read
        differing = {name for name in described if again[name] != described[name]} - {"rope_parameters"}
        assert differing <= {key, "head_dim"}  # and no other key changes its meaning
