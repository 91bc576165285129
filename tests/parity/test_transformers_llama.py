"""Our Llama against transformers': the same folder, the same logits, gradients, greedy text and LoRA."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file
from torch import Tensor
from torch.nn import functional as F
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, LlamaForCausalLM
from transformers import LlamaConfig as TheirConfig

from scratchlm.checkpoint.folder import load, load_checkpoint, save_checkpoint
from scratchlm.checkpoint.llama_layout import LlamaLayout
from scratchlm.errors import InputError
from scratchlm.generation.decode import Sampling, generate, generate_uncached
from scratchlm.model.config import LlamaConfig
from scratchlm.model.init import new_model
from scratchlm.model.linear import Linear
from scratchlm.model.llama import Llama
from scratchlm.model.lora import add_lora, untied_head
from scratchlm.tokenizer.folder import read_tokenizer, write_tokenizer
from scratchlm.tokenizer.words import build_vocabulary, write_vocabulary

TOLERANCE = 1e-5  # float32
# n_heads, n_kv_heads, head_dim, hidden_dim, rope_base, norm_epsilon, tied
SHAPES = {
    "grouped": (6, 2, 8, 40, 10_000.0, 1e-5, True),
    "one key for all": (4, 1, 12, 50, 500.0, 1e-2, False),
    "a key for each": (3, 3, 10, 24, 500_000.0, 1e-6, True),
    "one head": (1, 1, 32, 33, 1.0, 0.3, False),
}
ANY_SHAPE = pytest.mark.parametrize("shape", SHAPES)
ANY_TOKENIZER = pytest.mark.parametrize("kind", ["bpe", "word", pytest.param("gpt2", marks=pytest.mark.slow)])
TEXTS = ("the cat sat on a mat", "  Two  spaces\n\nand lines ", "Ünïcödé 🙂 don't 1234", "one<|endoftext|> two")


def our_config(shape: str, vocab_size: int = 280) -> LlamaConfig:
    n_heads, n_kv_heads, head_dim, hidden_dim, rope_base, norm_epsilon, tied = SHAPES[shape]
    return LlamaConfig(
        vocab_size,
        64,
        n_heads * head_dim,
        n_heads,
        n_layers=3,
        n_kv_heads=n_kv_heads,
        hidden_dim=hidden_dim,
        rope_base=rope_base,
        norm_epsilon=norm_epsilon,
        tie_embeddings=tied,
    )


def their_config(shape: str) -> TheirConfig:
    n_heads, n_kv_heads, head_dim, hidden_dim, rope_base, norm_epsilon, tied = SHAPES[shape]
    return TheirConfig(
        vocab_size=280,
        max_position_embeddings=64,
        hidden_size=n_heads * head_dim,
        num_attention_heads=n_heads,
        num_hidden_layers=3,
        num_key_value_heads=n_kv_heads,
        intermediate_size=hidden_dim,
        rope_parameters={"rope_theta": rope_base, "rope_type": "default"},
        rms_norm_eps=norm_epsilon,
        tie_word_embeddings=tied,
        bos_token_id=279,
        eos_token_id=279,
    )


@torch.no_grad()
def randomized(model: Any) -> Any:
    """Give a model weights that matter, those of its norms included: logits up to about 10."""
    for parameter in model.parameters():
        if parameter.ndim == 1:
            parameter.uniform_(0.5, 1.5)
        else:
            parameter.normal_(std=1.5 / parameter.shape[1] ** 0.5)
    return model.eval()


def both_models(shape: str) -> tuple[Llama, LlamaForCausalLM]:
    """Return our random model, and transformers' with the same weights, whatever a folder's config.json says."""
    torch.manual_seed(7)
    ours: Any = randomized(new_model(our_config(shape), "gpt2"))
    theirs = LlamaForCausalLM(their_config(shape)).eval()
    missing, unexpected = theirs.load_state_dict(LlamaLayout(ours.config).stored_tensors(ours), strict=False)
    assert unexpected == [] and missing == (["lm_head.weight"] if ours.config.tie_embeddings else [])
    return ours, theirs


def their_gradients(theirs: LlamaForCausalLM) -> dict[str, Tensor]:
    return {name: parameter.grad for name, parameter in theirs.named_parameters() if parameter.grad is not None}


@ANY_SHAPE
def test_logits_and_gradients_are_equal(shape: str) -> None:
    ours, theirs = both_models(shape)
    ids = torch.randint(280, (3, 64))
    for model in (ours, lambda ids: theirs(ids).logits):
        F.cross_entropy(model(ids)[:, :-1].flatten(0, 1), ids[:, 1:].flatten()).backward()  # type: ignore[no-untyped-call]
    logits = ours(ids)
    assert (logits - theirs(ids).logits).abs().max() < TOLERANCE * logits.abs().max()
    expected, layout = their_gradients(theirs), LlamaLayout(ours.config)
    gradients = {name: parameter.grad for name, parameter in ours.named_parameters()}
    assert {layout.parameter_name(name) for name in expected} == gradients.keys()
    for name, gradient in expected.items():
        mine = gradients[str(layout.parameter_name(name))]
        assert mine is not None and (mine - gradient).abs().max() < TOLERANCE, name
        assert gradient.abs().max() > 10 * TOLERANCE, name


@torch.no_grad()
@ANY_SHAPE
@pytest.mark.parametrize("attention", ["sdpa", "manual", "per_head"])
def test_ragged_batches_have_the_logits_of_transformers(shape: str, attention: Any) -> None:
    ours, theirs = both_models(shape)
    for block in ours.h:
        block.attn.kind = attention
    lengths_B = torch.tensor([20, 7, 13, 1])
    ids_BT = torch.randint(280, (4, 20))
    seen_BT = torch.arange(20) >= 20 - lengths_B[:, None]
    positions_BT = (torch.arange(20) - (20 - lengths_B[:, None])).clamp(min=0)
    mask = (torch.ones(20, 20, dtype=torch.bool).tril() & seen_BT[:, None]) | torch.eye(20, dtype=torch.bool)
    logits = ours.head(ours.features(ids_BT, positions_BT, mask[:, None]))
    expected = theirs(ids_BT, attention_mask=seen_BT.long(), position_ids=positions_BT).logits
    assert (logits - expected)[seen_BT].abs().max() < TOLERANCE * expected.abs().max()
    for row, length in enumerate(lengths_B.tolist()):  # and padding changes nothing
        alone = ours(ids_BT[row : row + 1, 20 - length :])[0]
        assert (logits[row, 20 - length :] - alone).abs().max() < TOLERANCE * expected.abs().max()


@torch.no_grad()
def test_far_positions_have_the_logits_of_transformers() -> None:
    ours, theirs = both_models("grouped")
    ids_BT, positions_BT = torch.randint(280, (2, 30)), torch.tensor([[8_000], [100_000]]) + torch.arange(30)
    expected = theirs(ids_BT, position_ids=positions_BT).logits
    assert (ours.head(ours.features(ids_BT, positions_BT)) - expected).abs().max() < TOLERANCE * expected.abs().max()


@pytest.mark.parametrize("shape", ["grouped", "one key for all"])
def test_greedy_text_of_ragged_prompts_equals_transformers_cached_and_not(shape: str) -> None:
    ours, theirs = both_models(shape)
    prompts = [torch.randint(279, (length,)).tolist() for length in (1, 5, 3, 9, 2)]
    continuations = generate(ours, prompts, 20, (), Sampling(), batch_size=3)
    for prompt, continuation in zip(prompts, continuations, strict=True):
        expected = theirs.generate(
            torch.tensor([prompt]),
            attention_mask=torch.ones(1, len(prompt), dtype=torch.int64),
            max_new_tokens=20,
            do_sample=False,
            eos_token_id=None,
            pad_token_id=0,
        )
        assert continuation.ids == expected[0, len(prompt) :].tolist()
        assert continuation.ids == generate_uncached(ours, prompt, 20)
    assert len({tuple(continuation.ids) for continuation in continuations}) == len(prompts)


# --- folders ------------------------------------------------------------------------------------------------


@pytest.fixture
def written(kind: str, tokenizer_folder: Path, tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    """The folder of a tokenizer of each kind, as build_tokenizer writes it."""
    if kind == "bpe":
        return tokenizer_folder
    if kind == "word":
        write_vocabulary(tmp_path / "words", build_vocabulary(["the cat sat on a mat, and the dog did not."], 20))
        return tmp_path / "words"
    mirror: Path = request.getfixturevalue("mirror")
    encoder = json.loads((mirror / "encoder.json").read_text(encoding="utf-8"))
    merges = (mirror / "vocab.bpe").read_text(encoding="utf-8").splitlines()[1:]
    write_tokenizer(tmp_path / "gpt2", encoder, [line for line in merges if line])
    return tmp_path / "gpt2"


@ANY_TOKENIZER
def test_transformers_loads_our_folder_with_each_tokenizer(kind: str, written: Path, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    torch.manual_seed(7)
    tokenizer = read_tokenizer(written)
    ours = randomized(new_model(our_config("grouped", tokenizer.n_vocab), "gpt2"))
    save_checkpoint(folder, ours, written)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        theirs = AutoModelForCausalLM.from_pretrained(folder).eval()
        their_tokenizer = AutoTokenizer.from_pretrained(folder)
    assert type(theirs) is LlamaForCausalLM
    ids = torch.randint(tokenizer.n_vocab, (2, 64))
    with torch.no_grad():
        logits = ours(ids)
        assert (logits - theirs(ids).logits).abs().max() < TOLERANCE * logits.abs().max()
        assert torch.equal(load_checkpoint(folder)(ids), logits)
    for text in TEXTS:
        assert their_tokenizer.encode(text) == tokenizer.encode(text, allowed_special="all")
    end = tokenizer.eot_token
    assert (their_tokenizer.bos_token_id, their_tokenizer.eos_token_id, len(their_tokenizer)) == (
        end,
        end,
        tokenizer.n_vocab,
    )
    assert theirs.generation_config.eos_token_id == theirs.config.eos_token_id == theirs.config.bos_token_id == end


@ANY_SHAPE
def test_transformers_reads_our_description_as_we_mean_it(shape: str, tmp_path: Path, tokenizer_folder: Path) -> None:
    save_checkpoint(tmp_path / "model", new_model(our_config(shape), "gpt2"), tokenizer_folder)
    found, expected = AutoConfig.from_pretrained(tmp_path / "model"), their_config(shape)
    for key in (
        "rope_parameters",
        "rms_norm_eps",
        "head_dim",
        "num_key_value_heads",
        "tie_word_embeddings",
        "mlp_bias",
    ):
        assert getattr(found, key) == getattr(expected, key), key
    described = json.loads((tmp_path / "model/config.json").read_text())
    assert described["rope_theta"] == expected.rope_parameters["rope_theta"]  # where version 4 looks
    assert set(described) - set(expected.to_dict()) == {"rope_theta", "rope_scaling"}


@ANY_SHAPE
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_we_load_a_folder_of_transformers_with_equal_logits(shape: str, dtype: torch.dtype, tmp_path: Path) -> None:
    torch.manual_seed(11)
    randomized(LlamaForCausalLM(their_config(shape))).to(dtype).save_pretrained(tmp_path)
    theirs = LlamaForCausalLM.from_pretrained(tmp_path, dtype=torch.float32).eval()
    ours = load_checkpoint(tmp_path)
    assert ours.config == our_config(shape)
    ids = torch.randint(280, (2, 64))
    with torch.no_grad():
        expected = theirs(ids).logits
        assert (ours(ids) - expected).abs().max() < TOLERANCE * expected.abs().max()


def test_a_folder_of_version_4_has_the_same_logits(tmp_path: Path) -> None:
    theirs = randomized(LlamaForCausalLM(their_config("one key for all")))
    theirs.save_pretrained(tmp_path)
    ids = torch.arange(60)[None]
    before = load_checkpoint(tmp_path)(ids)
    description = json.loads((tmp_path / "config.json").read_text())
    description["rope_theta"] = description.pop("rope_parameters")["rope_theta"]
    (tmp_path / "config.json").write_text(json.dumps(description))
    assert torch.equal(load_checkpoint(tmp_path)(ids), before)


def test_a_folder_in_parts_is_refused_with_what_to_do(tmp_path: Path) -> None:
    theirs = LlamaForCausalLM(their_config("grouped"))
    theirs.save_pretrained(tmp_path, max_shard_size="30KB")
    with pytest.raises(InputError, match=r"holds its weights in several files, .*; wanted one model\.safetensors: "):
        load_checkpoint(tmp_path)
    LlamaForCausalLM.from_pretrained(tmp_path).save_pretrained(tmp_path / "whole", max_shard_size="1TB")
    load_checkpoint(tmp_path / "whole")


def test_a_loaded_folder_is_a_llama_with_its_tokenizer(tmp_path: Path, tokenizer_folder: Path) -> None:
    save_checkpoint(tmp_path / "model", new_model(our_config("grouped"), "book"), tokenizer_folder)
    model, tokenizer = load(tmp_path / "model")
    assert isinstance(model, Llama) and not model.training and tokenizer.n_vocab == 280
    stored = load_file(tmp_path / "model/model.safetensors")
    assert stored.keys() == dict(LlamaForCausalLM(their_config("grouped")).named_parameters()).keys()


# --- LoRA ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", ["grouped", "one key for all"])
def test_peft_has_the_same_logits_and_gradients(shape: str) -> None:
    rank, scale = 4, 2.0
    ours, base = both_models(shape)
    layers = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
    config = LoraConfig(r=rank, lora_alpha=scale * rank, target_modules=layers)
    theirs = get_peft_model(base, config).eval()
    add_lora(ours, [ours.h], rank, scale)
    pairs = {
        name.removeprefix("base_model.model.model."): part
        for name, part in theirs.named_modules()
        if name.endswith(tuple(layers))
    }
    mine = {
        f"layers.{name.removeprefix('h.').replace('attn', 'self_attn')}": part.lora
        for name, part in ours.named_modules()
        if isinstance(part, Linear) and part.lora is not None
    }
    assert mine.keys() == pairs.keys() and len(mine) == 7 * 3
    with torch.no_grad():
        for name, pair in mine.items():
            pair.B.normal_(std=0.1)
            pairs[name].lora_A["default"].weight.copy_(pair.A.T)
            pairs[name].lora_B["default"].weight.copy_(pair.B.T)
    ids = torch.randint(280, (3, 32))
    for model in (ours, lambda ids: theirs(ids).logits):
        F.cross_entropy(model(ids)[:, :-1].flatten(0, 1), ids[:, 1:].flatten()).backward()  # type: ignore[no-untyped-call]
    logits = ours(ids)
    assert (logits - theirs(ids).logits).abs().max() < TOLERANCE * logits.abs().max()
    for name, pair in mine.items():
        for key in "AB":
            expected = getattr(pairs[name], f"lora_{key}")["default"].weight.grad.T
            assert (getattr(pair, key).grad - expected).abs().max() < TOLERANCE, name
            assert expected.abs().max() > 10 * TOLERANCE, name
    merged = LlamaLayout(ours.config).stored_tensors(ours)
    with torch.no_grad():
        for name, tensor in theirs.merge_and_unload().named_parameters():
            assert (merged[name] - tensor).abs().max() < TOLERANCE, name


def test_a_folder_of_a_model_with_lora_on_its_head_has_the_same_logits(tmp_path: Path, tokenizer_folder: Path) -> None:
    ours = both_models("grouped")[0]
    add_lora(ours, [ours.h, untied_head(ours)], 4, 2.0)
    with torch.no_grad():
        for part in ours.modules():
            if isinstance(part, Linear):
                part.lora.B.normal_(std=0.1)
        save_checkpoint(tmp_path / "model", ours, tokenizer_folder)
        ids = torch.randint(280, (2, 64))
        logits = ours(ids)
        theirs = AutoModelForCausalLM.from_pretrained(tmp_path / "model").eval()
        assert not theirs.config.tie_word_embeddings
        for found in (theirs(ids).logits, load_checkpoint(tmp_path / "model")(ids)):
            assert (found - logits).abs().max() < TOLERANCE * logits.abs().max()
