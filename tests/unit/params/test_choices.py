"""Every choice of a parameter is known to the code that handles it."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path
from typing import get_args

import pytest

from scratchlm.bases.gpt2 import SHAPES
from scratchlm.checkpoint.gpt2_layout import ACTIVATIONS
from scratchlm.download.sources import GPT2_WEIGHTS, SMOLLM2_WEIGHTS
from scratchlm.model.config import Activation, GPTConfig, LlamaConfig
from scratchlm.params.choices import Base, PromptName, SmolLM2
from scratchlm.params.file import load_params

REPOSITORY = Path(__file__).parents[3]

GPT_ALONE = ("qkv_bias", "activation", "shortcuts")
LLAMA_ALONE = ("n_kv_heads", "hidden_dim", "rope_base")


def test_every_base_but_our_own_has_a_shape_and_a_source() -> None:
    assert get_args(Base) == ("pretrained", *SHAPES, *get_args(SmolLM2))
    assert SHAPES.keys() == GPT2_WEIGHTS.keys()
    assert set(get_args(SmolLM2)) == {"smollm2-135M", *SMOLLM2_WEIGHTS}


def test_every_activation_has_a_name_in_checkpoints() -> None:
    assert set(ACTIVATIONS.values()) == set(get_args(Activation))


@pytest.mark.parametrize("name", get_args(PromptName))
def test_every_prompt_of_the_judge_has_a_template(name: str) -> None:
    assert files("scratchlm.judging").joinpath(f"prompts/{name}.txt").is_file()


@pytest.mark.parametrize("name", ["sample", "book"])
def test_the_shape_of_a_model_is_that_of_its_params(name: str) -> None:
    model = load_params(REPOSITORY / "profiles" / f"{name}.yaml").model
    config = model.config(vocab_size=321)
    assert isinstance(config, GPTConfig) and config.vocab_size == 321
    shape = model.model_dump(exclude={"architecture", "init", "init_std", "attention", *LLAMA_ALONE})
    assert {key: getattr(config, key) for key in shape} == shape
    llama = model.model_copy(update={"architecture": "llama"}).config(vocab_size=321)
    assert isinstance(llama, LlamaConfig)
    shape = model.model_dump(exclude={"architecture", "init", "init_std", "attention", *GPT_ALONE})
    assert {key: getattr(llama, key) for key in shape} == shape
