"""The start of pretraining: random weights as before, or a user's model folder, checked and never written to."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.utils.data import TensorDataset
from training_settings import training_settings
from transformers import GPT2LMHeadModel

from scratchlm.bases.own import copy_checkpoint
from scratchlm.bases.start import start_model
from scratchlm.checkpoint.folder import load, save_checkpoint
from scratchlm.errors import InputError, explain
from scratchlm.model.config import LlamaConfig
from scratchlm.model.gpt import GPT
from scratchlm.model.init import new_model
from scratchlm.params.schema import ModelParams
from scratchlm.tokenizer.bpe import train_bpe
from scratchlm.tokenizer.folder import read_tokenizer, write_tokenizer
from scratchlm.tokenizer.words import build_vocabulary, write_vocabulary
from scratchlm.training.loaders import loaders
from scratchlm.training.loop import train
from scratchlm.training.loss import next_token_loss
from scratchlm.training.optimizer import new_optimizer, state_of

INPUTS = Path("inputs/models")
START = "inputs/models/mine"
SHAPE: dict[str, Any] = {
    "architecture": "gpt2",
    "n_kv_heads": 1,
    "hidden_dim": 40,
    "rope_base": 10_000.0,
    "context_length": 12,
    "emb_dim": 16,
    "n_heads": 2,
    "n_layers": 2,
    "drop_rate": 0.1,
    "qkv_bias": False,
    "activation": "gelu_tanh",
    "shortcuts": True,
    "attention": "manual",
    "tie_embeddings": False,
    "init": "gpt2",
    "init_std": 0.02,
}
SETTINGS = training_settings(epochs=1, eval_every=100, eval_batches=1)


LLAMA: dict[str, Any] = {"architecture": "llama", "n_heads": 4, "n_kv_heads": 2}


def shape(**changes: Any) -> ModelParams:
    return ModelParams(**{**SHAPE, **changes})


@pytest.fixture
def trained(tmp_path: Path, tokenizer_folder: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Tensor]:
    """A project as the current folder, with a trained model in its inputs; return the optimizer's state."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DVC_ROOT", raising=False)
    torch.manual_seed(0)
    model = new_model(shape().config(280), "gpt2")
    ids = torch.randint(280, (8, 9), generator=torch.Generator().manual_seed(1))
    data = TensorDataset(ids[:, :-1], ids[:, 1:])
    optimizer = new_optimizer(model, SETTINGS)
    batches = loaders(data, data, 4)
    train(model, loss=next_token_loss, batches=batches, params=SETTINGS, name="test", optimizer=optimizer)
    state = state_of(model, optimizer)
    save_checkpoint(Path(START), model, tokenizer_folder, state)
    return state


@pytest.fixture
def tokenizer(tokenizer_folder: Path) -> Any:
    return read_tokenizer(tokenizer_folder)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_a_random_start_draws_as_new_gpt_does(tokenizer: Any) -> None:
    torch.manual_seed(5)
    model, state = start_model("random", INPUTS, shape(), tokenizer)
    torch.manual_seed(5)
    expected = new_model(shape().config(280), "gpt2", 0.02, "manual")
    assert state is None and model.config == expected.config
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), expected.parameters(), strict=True))


def test_a_folder_gives_its_weights_and_the_optimizers_state_and_is_not_written_to(
    trained: dict[str, Tensor], tokenizer: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    before, generator = contents(Path(START)), torch.get_rng_state()
    model, state = start_model(START, INPUTS, shape(drop_rate=0.3), tokenizer)
    saved = load_file(f"{START}/model.safetensors")
    assert torch.equal(model.wte.weight, saved["transformer.wte.weight"])
    assert torch.equal(model.h[1].mlp.c_fc.weight, saved["transformer.h.1.mlp.c_fc.weight"].T)
    assert model.config.drop_rate == 0.3
    assert state is not None and state.keys() == trained.keys()
    assert all(torch.equal(state[name], value) for name, value in trained.items())
    assert contents(Path(START)) == before
    assert torch.equal(torch.get_rng_state(), generator)
    printed = f"starts with the weights of {START}; AdamW with the state in optimizer.safetensors\n"
    assert capsys.readouterr() == (printed, "")


def test_attention_is_that_of_the_params(trained: object, tokenizer: Any) -> None:
    for kind in ("manual", "per_head", "sdpa"):
        model = start_model(START, INPUTS, shape(attention=kind), tokenizer).model
        assert [block.attn.kind for block in model.h] == [kind, kind]


def test_a_folder_without_an_optimizer_starts_a_fresh_one(
    trained: object, tokenizer: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    Path(START, "optimizer.safetensors").unlink()
    assert start_model(START, INPUTS, shape(), tokenizer).optimizer_state is None
    assert capsys.readouterr().out == (
        f"starts with the weights of {START}; AdamW with a fresh state: there is no optimizer.safetensors\n"
    )


def test_the_state_is_saved_to_the_same_bytes_and_only_where_it_is_asked_for(
    trained: dict[str, Tensor], tokenizer: Any, tokenizer_folder: Path
) -> None:
    model, state = start_model(START, INPUTS, shape(), tokenizer)
    save_checkpoint(Path("again"), model, tokenizer_folder, state)
    assert contents(Path("again")) == contents(Path(START))
    save_checkpoint(Path("weights"), model, tokenizer_folder)
    assert contents(Path("again")).keys() - contents(Path("weights")).keys() == {"optimizer.safetensors"}


def test_a_checkpoint_with_the_state_loads_everywhere_and_a_base_is_copied_without_it(trained: object) -> None:
    ids = torch.arange(12)[None]
    logits = load(Path(START))[0](ids)
    theirs = GPT2LMHeadModel.from_pretrained(START).eval()
    assert torch.allclose(theirs(ids).logits, logits, atol=1e-5)
    copy_checkpoint(Path(START), Path("base"))
    assert contents(Path("base")).keys() == contents(Path(START)).keys() - {"optimizer.safetensors"}
    assert torch.equal(load(Path("base"))[0](ids), logits)


def test_a_llama_starts_with_its_weights_its_epsilon_and_the_optimizers_state(
    tokenizer_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    saved = new_model(replace(cast(LlamaConfig, shape(**LLAMA).config(280)), norm_epsilon=1e-6), "gpt2")
    saved(torch.arange(9)[None]).sum().backward()
    optimizer = new_optimizer(saved, SETTINGS)
    optimizer.step()
    save_checkpoint(Path(START), saved, tokenizer_folder, state_of(saved, optimizer))
    loaded, state = start_model(START, INPUTS, shape(**LLAMA), read_tokenizer(tokenizer_folder))
    assert loaded.config == saved.config  # epsilon is no key of params.yaml, so that of the folder stays
    assert all(torch.equal(a, b) for a, b in zip(loaded.parameters(), saved.parameters(), strict=True))
    assert state is not None and {name.rpartition(".")[0] for name in state} == dict(saved.named_parameters()).keys()
    copy_checkpoint(Path(START), Path("base"))
    assert contents(Path("base")).keys() == contents(Path(START)).keys() - {"optimizer.safetensors"}
    assert load(Path("base"))[0].config == replace(saved.config, drop_rate=0.0)


# --- what is refused ----------------------------------------------------------------------------------------


def refusal(model: ModelParams, tokenizer: Any, start: str = START) -> str:
    before = contents(Path(start)) if Path(start).is_dir() else {}
    with pytest.raises(InputError) as raised:
        start_model(start, INPUTS, model, tokenizer)
    assert (contents(Path(start)) if Path(start).is_dir() else {}) == before
    return explain(raised.value).replace(f"{Path.cwd()}/", "")


DIFFERS = (
    f"pretrain.start: {START} differs from the model of params.yaml and the tokenizer in data/tokenizer: set the "
    "model's keys to the values of that folder, and make the tokenizer it was trained with, or start from another "
    "folder"
)


@pytest.mark.parametrize(
    ("key", "value", "problem"),
    [
        ("context_length", 10, "context_length is 12, wanted 10"),
        ("emb_dim", 32, "emb_dim is 16, wanted 32"),
        ("n_heads", 4, "n_heads is 2, wanted 4"),
        ("n_layers", 3, "n_layers is 2, wanted 3"),
        ("qkv_bias", True, "qkv_bias is False, wanted True"),
        ("activation", "relu", "activation is 'gelu_tanh', wanted 'relu'"),
        ("shortcuts", False, "shortcuts is True, wanted False"),
        ("tie_embeddings", True, "tie_embeddings is False, wanted True"),
    ],
)
def test_a_model_of_another_shape_is_refused(
    trained: object, tokenizer: Any, key: str, value: Any, problem: str
) -> None:
    assert refusal(shape(**{key: value}), tokenizer) == f"{DIFFERS}\n  - {problem}"


def test_a_model_of_another_architecture_is_refused_by_name_and_with_what_else_differs(
    trained: object, tokenizer: Any, tokenizer_folder: Path
) -> None:
    differing = "\n  - architecture is 'gpt2', wanted 'llama'"
    assert refusal(shape(architecture="llama"), tokenizer) == DIFFERS + differing
    save_checkpoint(Path(START), new_model(shape(**LLAMA).config(280), "gpt2"), tokenizer_folder)
    differing = "\n  - architecture is 'llama', wanted 'gpt2'\n  - n_layers is 2, wanted 3"
    assert refusal(shape(n_heads=4, n_layers=3), tokenizer) == DIFFERS + differing


@pytest.mark.parametrize(
    ("key", "value", "problem"),
    [
        ("n_heads", 2, "n_heads is 4, wanted 2"),
        ("n_kv_heads", 4, "n_kv_heads is 2, wanted 4"),
        ("hidden_dim", 48, "hidden_dim is 40, wanted 48"),
        ("rope_base", 500.0, "rope_base is 10000.0, wanted 500.0"),
    ],
)
def test_a_llama_of_another_shape_is_refused(
    tokenizer_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, key: str, value: Any, problem: str
) -> None:
    monkeypatch.chdir(tmp_path)
    save_checkpoint(Path(START), new_model(shape(**LLAMA).config(280), "gpt2"), tokenizer_folder)
    assert refusal(shape(**{**LLAMA, key: value}), read_tokenizer(tokenizer_folder)) == f"{DIFFERS}\n  - {problem}"


def test_all_differences_are_reported_at_once(trained: object, tmp_path: Path) -> None:
    write_tokenizer(tmp_path / "other", *train_bpe(["something else, and not like it at all"] * 3, 270))
    found = refusal(shape(n_heads=4, n_layers=3), read_tokenizer(tmp_path / "other"))
    lines = found.removeprefix(DIFFERS).splitlines()[1:]
    assert lines[:3] == [
        "  - vocab_size is 280, wanted 270",
        "  - n_heads is 2, wanted 4",
        "  - n_layers is 2, wanted 3",
    ]
    assert len(lines) == 4 and "of its tokens are others: " in lines[3]


def test_a_tokenizer_of_the_same_size_with_other_tokens_is_refused(trained: object, tmp_path: Path) -> None:
    encoder, merges = train_bpe(["something else, and another thing that is not at all like it " * 4] * 9, 280)
    write_tokenizer(tmp_path / "other", encoder, merges)
    assert len(encoder) == 280
    found = refusal(shape(), read_tokenizer(tmp_path / "other"))
    assert found.startswith(f"{DIFFERS}\n  - ") and " of its tokens are others: 25" in found


def test_words_are_not_byte_pairs(trained: object, tmp_path: Path) -> None:
    words = build_vocabulary([" ".join(f"w{number}" for number in range(500))], 280)
    write_vocabulary(tmp_path / "words", words)
    assert " of its tokens are others: 0 is b'!', wanted 'w" in refusal(shape(), read_tokenizer(tmp_path / "words"))


def test_a_model_of_words_starts_with_the_same_words_and_no_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name, text in (("words", "one two three"), ("others", "one two four")):
        write_vocabulary(tmp_path / name, build_vocabulary([text], 5))
    save_checkpoint(Path(START), new_model(shape().config(5), "gpt2"), tmp_path / "words")
    start_model(START, INPUTS, shape(), read_tokenizer(tmp_path / "words"))
    assert "others: 0 is 'one', wanted 'four'" in refusal(shape(), read_tokenizer(tmp_path / "others"))


@pytest.mark.parametrize("start", ["inputs/models/none", "inputs/models/mine/config.json", "Random"])
def test_what_is_no_folder_is_refused(trained: object, tokenizer: Any, start: str) -> None:
    assert refusal(shape(), tokenizer, start) == (
        f"pretrain.start: {start} is no folder, wanted `random` or a model folder, such as a copy of "
        "models/pretrained in inputs/models/; paths are relative to the project's folder"
    )


def test_a_folder_elsewhere_works_and_is_warned_of(
    trained: object, tokenizer: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Path(START).rename(tmp_path / "elsewhere")
    start_model("elsewhere", INPUTS, shape(), tokenizer)
    assert capsys.readouterr().err.startswith("pretrain: warning: DVC does not notice changes of elsewhere: ")


def change_state(change: Callable[[dict[str, Tensor]], object]) -> None:
    path = f"{START}/optimizer.safetensors"
    state = load_file(path)
    change(state)
    save_file(state, path)


def change_config(change: dict[str, Any]) -> None:
    path = Path(START, "config.json")
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))


INCOMPLETE = "\nName a complete model folder, or copy it again"
MISFIT = rf"pretrain.start: {START}/optimizer.safetensors does not fit the model beside it:"


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (
            lambda: Path(START, "config.json").unlink(),
            f"pretrain.start: {START} holds no model (config.json is missing){INCOMPLETE}",
        ),
        (
            lambda: Path(START, "model.safetensors").unlink(),
            f"pretrain.start: {START}/model.safetensors is missing{INCOMPLETE}",
        ),
        (
            lambda: Path(START, "tokenizer.json").unlink(),
            f"pretrain.start: {START}/tokenizer.json is missing, wanted a tokenizer{INCOMPLETE}",
        ),
        (
            lambda: change_config({"model_type": "qwen2"}),
            f"{START}/config.json describes another kind of model: model_type is 'qwen2', supported: 'gpt2' or 'llama'",
        ),
        (
            lambda: change_state(lambda state: state.pop("ln_f.bias.step")),
            f"{MISFIT}\n  - ln_f.bias.step is missing{INCOMPLETE}",
        ),
        (
            lambda: change_state(
                lambda state: state.update(
                    {"ln_f.bias.exp_avg": torch.zeros(8), "ln_f.bias.step": torch.tensor(3), "x.step": torch.zeros(1)}
                )
            ),
            f"{MISFIT}\n  - ln_f.bias.exp_avg is F32 [8], expected F32 [16]\n"
            f"  - ln_f.bias.step is I64 [], expected F32 []\n  - x.step is not of this model{INCOMPLETE}",
        ),
        (
            lambda: change_state(lambda state: state["wte.weight.exp_avg_sq"].fill_(math.nan)),
            f"{MISFIT}\n  - wte.weight.exp_avg_sq holds NaN or infinity{INCOMPLETE}",
        ),
    ],
)
def test_a_damaged_folder_is_refused_without_a_hint_at_the_pipeline(
    trained: object, tokenizer: Any, damage: Callable[[], object], message: str
) -> None:
    damage()
    assert refusal(shape(), tokenizer) == message


def test_an_optimizer_in_another_format_is_refused(trained: object, tokenizer: Any) -> None:
    Path(START, "optimizer.safetensors").write_bytes(b"pickle")
    assert "optimizer.safetensors is not a readable safetensors file" in refusal(shape(), tokenizer)


def test_the_loaded_model_is_a_gpt_in_evaluation_mode(trained: object, tokenizer: Any) -> None:
    model = start_model(START, INPUTS, shape(), tokenizer).model
    assert isinstance(model, GPT) and not model.training
