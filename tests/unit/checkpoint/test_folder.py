"""Checkpoints: what is saved loads again, and everything that does not fit is reported at once."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from torch import Tensor

from scratchlm.assistant.folder import load_assistant, save_assistant
from scratchlm.bases.own import copy_checkpoint
from scratchlm.checkpoint.config_json import read_config
from scratchlm.checkpoint.folder import check_vocabulary, load, load_checkpoint, save_checkpoint
from scratchlm.classifier.classifier import Classifier
from scratchlm.classifier.folder import Description, load_classifier, save_classifier
from scratchlm.errors import InputError, OutputError
from scratchlm.model.config import Activation, GPTConfig
from scratchlm.model.init import new_model
from scratchlm.tokenizer.bpe import train_bpe
from scratchlm.tokenizer.folder import read_tokenizer, write_tokenizer

CONFIG = GPTConfig(280, 12, 16, 2, 2, 0.1, qkv_bias=True, tie_embeddings=True)


@pytest.fixture
def folder(tmp_path: Path, tokenizer_folder: Path) -> Path:
    torch.manual_seed(0)
    save_checkpoint(tmp_path / "model", new_model(CONFIG, "gpt2"), tokenizer_folder)
    return tmp_path / "model"


def test_a_model_is_loaded_with_the_dropout_that_is_asked_for_and_saved_with_it(
    folder: Path, tmp_path: Path, tokenizer_folder: Path
) -> None:
    ids = torch.arange(10)[None]
    quiet, noisy = load(folder)[0], load(folder, drop_rate=0.5)[0]
    assert (quiet.config.drop_rate, noisy.config.drop_rate) == (0.0, 0.5)
    assert torch.equal(quiet(ids), noisy(ids))  # no dropout outside training
    for model, changes in ((quiet.train(), False), (noisy.train(), True)):
        assert torch.equal(model(ids), model(ids)) is not changes
    rates = {module.p for module in noisy.modules() if isinstance(module, torch.nn.Dropout)}
    assert rates == {0.5}
    save_checkpoint(tmp_path / "tuned", noisy, tokenizer_folder)
    saved = json.loads((tmp_path / "tuned/config.json").read_text())
    assert [saved[name] for name in ("embd_pdrop", "attn_pdrop", "resid_pdrop")] == [0.5] * 3


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
    config = GPTConfig(280, 12, 16, 2, 2, 0.1, qkv_bias=qkv_bias, tie_embeddings=tie)
    model = new_model(config, "book")
    save_checkpoint(tmp_path / "model", model, tokenizer_folder)
    loaded, tokenizer = load(tmp_path / "model")
    assert loaded.config == GPTConfig(280, 12, 16, 2, 2, 0.0, qkv_bias=qkv_bias, tie_embeddings=tie)
    assert read_config(tmp_path / "model") == config
    assert loaded.state_dict().keys() == model.state_dict().keys()
    assert all(torch.equal(loaded.state_dict()[name], tensor) for name, tensor in model.state_dict().items())
    assert tokenizer.n_vocab == 280
    assert not loaded.training


def test_a_model_without_biases_of_query_key_and_value_is_stored_with_zeros(
    tmp_path: Path, tokenizer_folder: Path
) -> None:
    save_checkpoint(tmp_path / "model", new_model(replace(CONFIG, qkv_bias=False), "book"), tokenizer_folder)
    stored = load_file(tmp_path / "model" / "model.safetensors")
    for layer in range(CONFIG.n_layers):
        bias = stored[f"transformer.h.{layer}.attn.c_attn.bias"]
        assert bias.shape == (3 * CONFIG.emb_dim,) and not bias.any()


def test_saving_twice_gives_the_same_bytes(folder: Path, tmp_path: Path, tokenizer_folder: Path) -> None:
    torch.manual_seed(0)
    save_checkpoint(tmp_path / "again", new_model(CONFIG, "gpt2"), tokenizer_folder)
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
        "transformer.wpe.weight has shape [20, 16], expected [12, 16]: it holds one trained vector for each of 20",
        "transformer.ln_f.bias has dtype I32, expected one of F32, F16, BF16",
        "transformer.extra is not a tensor of this model",
    ):
        assert part in str(error.value)


@pytest.mark.parametrize("n_positions", [8, 20])
def test_another_context_length_is_refused_with_the_reason_and_the_fix(folder: Path, n_positions: int) -> None:
    change_config(folder, n_positions=n_positions)
    with pytest.raises(InputError) as error:
        load_checkpoint(folder)
    assert str(error.value).endswith(
        f"  - transformer.wpe.weight has shape [12, 16], expected [{n_positions}, 16]: it holds one trained vector for "
        f"each of 12 positions, so the model that it belongs to has context_length 12, not {n_positions} (texts may be "
        f"shorter); set n_positions to 12 in config.json, or use weights trained with {n_positions}"
    )
    change_config(folder, n_positions=12)
    load_checkpoint(folder)


def test_positions_of_another_width_are_not_blamed_on_context_length(folder: Path) -> None:
    change_config(folder, n_embd=8)
    with pytest.raises(InputError, match=r"wpe\.weight has shape \[12, 16\], expected \[12, 8\]\n"):
        load_checkpoint(folder)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_weights_that_are_not_finite_are_refused(folder: Path, value: float, dtype: torch.dtype) -> None:
    def spoil(tensors: dict[str, Tensor]) -> None:
        spoilt = tensors["transformer.h.0.mlp.c_fc.weight"].to(dtype)
        spoilt[9, 30] = value
        tensors["transformer.h.0.mlp.c_fc.weight"] = spoilt

    change_weights(folder, spoil)
    with pytest.raises(InputError, match=r"h\.0\.mlp\.c_fc\.weight holds NaN or infinity"):
        load_checkpoint(folder)


def test_biases_that_qkv_bias_would_drop_are_refused_with_the_fix(folder: Path) -> None:
    change_weights(folder, lambda tensors: tensors["transformer.h.0.attn.c_attn.bias"].fill_(0.5))
    change_config(folder, qkv_bias=False)
    with pytest.raises(InputError, match=r"qkv_bias is false, but transformer\.h\.0\.attn\.c_attn\.bias is not zero"):
        load_checkpoint(folder)
    change_weights(folder, lambda tensors: tensors["transformer.h.1.attn.c_attn.bias"].fill_(0.5))
    with pytest.raises(
        InputError, match=r"c_attn\.bias and 1 more are not zero: .* set qkv_bias to true in config\.json"
    ):
        load_checkpoint(folder)
    change_config(folder, qkv_bias=True)
    load_checkpoint(folder)


def test_missing_biases_that_qkv_bias_requires_are_refused_with_the_fix(folder: Path) -> None:
    before = load_checkpoint(folder)
    assert not before.h[0].attn.c_attn.bias.any()

    def drop_biases(tensors: dict[str, Tensor]) -> None:
        for layer in range(2):
            del tensors[f"transformer.h.{layer}.attn.c_attn.bias"]

    change_weights(folder, drop_biases)
    with pytest.raises(InputError) as error:
        load_checkpoint(folder)
    assert "1 difference\n  - qkv_bias is true, but h.0.attn.c_attn.bias and 1 more are missing: " in str(error.value)
    assert str(error.value).endswith("without biases of query, key and value; set qkv_bias to false in config.json")
    change_config(folder, qkv_bias=False)
    ids = torch.arange(12)[None]
    assert torch.equal(load_checkpoint(folder)(ids), before(ids))


def test_a_file_that_lacks_one_of_its_biases_is_damaged(folder: Path) -> None:
    change_weights(folder, lambda tensors: tensors.pop("transformer.h.1.attn.c_attn.bias"))
    with pytest.raises(InputError, match=r"1 difference\n  - h\.1\.attn\.c_attn\.bias is missing, expected \[48\]"):
        load_checkpoint(folder)


@pytest.mark.parametrize("shortcuts", [True, False])
@pytest.mark.parametrize("activation", get_args(Activation))
def test_activation_and_shortcuts_load_again_with_equal_logits(
    activation: Activation, shortcuts: bool, tmp_path: Path, tokenizer_folder: Path
) -> None:
    torch.manual_seed(1)
    config = replace(CONFIG, drop_rate=0.0, activation=activation, shortcuts=shortcuts)
    model = new_model(config, "book").eval()
    save_checkpoint(tmp_path / "model", model, tokenizer_folder)
    loaded = load_checkpoint(tmp_path / "model")
    assert loaded.config == config
    ids = torch.arange(12)[None]
    assert torch.equal(loaded(ids), model(ids))


def test_the_kind_of_attention_is_not_saved_with_a_model(tmp_path: Path, tokenizer_folder: Path) -> None:
    torch.manual_seed(1)
    model = new_model(CONFIG, "book")
    save_checkpoint(tmp_path / "sdpa", model, tokenizer_folder)
    manual = new_model(CONFIG, "book", attention="manual")
    manual.load_state_dict(model.state_dict())
    save_checkpoint(tmp_path / "manual", manual, tokenizer_folder)
    for path in (tmp_path / "sdpa").iterdir():
        assert path.read_bytes() == (tmp_path / "manual" / path.name).read_bytes()


def test_fine_tuned_models_keep_activation_and_shortcuts(tmp_path: Path, tokenizer_folder: Path) -> None:
    config = replace(CONFIG, drop_rate=0.0, activation="relu", shortcuts=False)
    save_checkpoint(tmp_path / "base", new_model(config, "gpt2"), tokenizer_folder)
    copy_checkpoint(tmp_path / "base", tmp_path / "copied")
    base = load_checkpoint(tmp_path / "copied")
    save_classifier(tmp_path / "classifier", Classifier(base), tokenizer_folder, Description(["a", "b"], 12, 1.0))
    assert load_classifier(tmp_path / "classifier")[0].gpt.config == config
    save_assistant(tmp_path / "assistant", base, tokenizer_folder, "alpaca")
    assert load_assistant(tmp_path / "assistant")[0].config == config


def test_a_config_without_activation_and_shortcuts_loads_as_gpt2(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    for key in ("shortcuts", "activation_function", "model_type", "qkv_bias"):
        del config[key]
    (folder / "config.json").write_text(json.dumps(config))
    assert read_config(folder) == CONFIG


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"n_head": 3}, "n_embd 16 is not a multiple of n_head 3"),
        ({"n_layer": "2"}, "n_layer is '2', expected a whole number from 1 to 1,000"),
        ({"n_layer": 0}, "n_layer is 0, expected a whole number"),
        ({"n_layer": 1001}, "n_layer is 1001, expected a whole number from 1 to 1,000"),
        ({"n_embd": 10**10}, "n_embd is 10000000000, expected a whole number from 1 to 1,000,000"),
        ({"resid_pdrop": "0.1"}, "resid_pdrop is '0.1', expected a number from 0 to below 1"),
        ({"resid_pdrop": float("nan")}, "resid_pdrop is nan"),
        ({"resid_pdrop": None}, "resid_pdrop is None"),
        ({"n_layer": None}, "n_layer is None"),
        ({"activation_function": "silu"}, "activation_function is 'silu', supported: 'gelu_new' or .* or 'relu'"),
        ({"shortcuts": False}, "model_type is 'gpt2', supported: 'gpt2_without_shortcuts'"),
        ({"model_type": "gpt2_without_shortcuts"}, "model_type is 'gpt2_without_shortcuts', supported: 'gpt2'"),
        ({"shortcuts": "false"}, "shortcuts is 'false', expected true or false"),
        ({"qkv_bias": 0}, "qkv_bias is 0, expected true or false"),
        ({"tie_word_embeddings": None}, "tie_word_embeddings is None, expected true or false"),
        ({"n_inner": 17}, "n_inner is 17, supported: null or 4"),
        ({"model_type": "mistral"}, "another kind of model: model_type is 'mistral', supported: 'gpt2' or 'llama'$"),
        ({"model_type": ["gpt2"]}, r"another kind of model: model_type is \['gpt2'\], supported"),
        ({"layer_norm_epsilon": 1e-6}, "layer_norm_epsilon is 1e-06"),
        ({"scale_attn_weights": False}, "scale_attn_weights is False, supported: True"),
        ({"scale_attn_by_inverse_layer_idx": True}, "scale_attn_by_inverse_layer_idx is True, supported: False"),
        ({"add_cross_attention": True}, "add_cross_attention is True, supported: False"),
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


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "tokenizer.json"])
def test_a_missing_file_is_an_output_to_build_again(folder: Path, name: str) -> None:
    (folder / name).unlink()
    with pytest.raises(OutputError, match=f"{name} is missing"):
        load(folder)


@given(content=st.binary(max_size=60), size=st.integers(0, 2**64 - 1) | st.integers(0, 60))
def test_any_weights_and_description_are_refused_by_name(
    tmp_path_factory: pytest.TempPathFactory, tokenizer_folder: Path, content: bytes, size: int
) -> None:
    folder = tmp_path_factory.getbasetemp() / "any-model"
    if not folder.exists():
        save_checkpoint(folder, new_model(CONFIG, "gpt2"), tokenizer_folder)
    for found in (content, size.to_bytes(8, "little") + content):
        (folder / "model.safetensors").write_bytes(found)
        with pytest.raises(InputError, match=r"any-model/model\.safetensors (is not a readable|does not fit)"):
            load_checkpoint(folder)
    config = (folder / "config.json").read_bytes()
    (folder / "config.json").write_bytes(content)
    with pytest.raises(InputError, match=r"any-model/config\.json[ ,]"):
        read_config(folder)
    (folder / "config.json").write_bytes(config)


def test_a_long_list_of_differences_is_cut(folder: Path) -> None:
    change_weights(folder, lambda tensors: tensors.update({f"extra.{n}": torch.zeros(1) for n in range(70)}))
    with pytest.raises(InputError, match=r"config\.json: 70 differences\n(  - extra\.\d+ is .*\n){50}  and 20 more$"):
        load_checkpoint(folder)


def test_a_header_that_is_too_large_is_not_read(folder: Path) -> None:
    change_weights(folder, lambda tensors: tensors.update({f"{n:>100}": torch.zeros(0) for n in range(60_000)}))
    with pytest.raises(InputError, match=r"a header of [\d,]+ bytes, at most 8,388,608 are read"):
        load_checkpoint(folder)


def test_a_folder_within_a_model_folder_is_not_copied(folder: Path, tmp_path: Path) -> None:
    (folder / "mine").mkdir()
    copy_checkpoint(folder, tmp_path / "copy")
    assert {path.name for path in (tmp_path / "copy").iterdir()} == {path.name for path in folder.iterdir()} - {"mine"}


def test_a_model_of_another_vocabulary_is_refused(folder: Path, tmp_path: Path) -> None:
    write_tokenizer(tmp_path / "other", *train_bpe(["something else, and another thing that is not like it"], 270))
    with pytest.raises(InputError, match="has 280 tokens, the tokenizer 270"):
        check_vocabulary(folder, read_tokenizer(tmp_path / "other"))
