"""The model card: a header that the hub can read, figures of this model alone, and nothing of the user's machine."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import ModelCard
from runs import MD5, METRICS
from tiny_exports import GPT, LLAMA

from scratchlm.export.card import write_card
from scratchlm.export.exported_model import ExportedModel
from scratchlm.export.last_run import LastRun, Recorded
from scratchlm.export.origin import origin_of

DATA = [Recorded("data/corpus", f"{MD5}.dir", 480_337, 369)]
RUN = LastRun(
    "finetune_instructions",
    "pretrained",
    "assistant",
    ["pretrain", "finetune_instructions"],
    {"corpus.source": "sample", "pretrain.start": "random", "seed": 123},
    DATA,
    METRICS,
)
MODEL = ExportedModel(Path("models/assistant"), "my-model", "f16", GPT, 672_512, "phi3", "mit", None, RUN)


def sections(card: str) -> dict[str, str]:
    """Return the text below each heading."""
    return {part.partition("\n")[0]: part.partition("\n")[2].strip() for part in card.split("\n## ")[1:]}


def test_the_hub_reads_the_header() -> None:
    data = ModelCard(write_card(replace(MODEL, origin=origin_of("smollm2-135M"), licence="apache-2.0"))).data
    assert data.to_dict() == {
        "library_name": "transformers",
        "pipeline_tag": "text-generation",
        "license": "apache-2.0",
        "base_model": "HuggingFaceTB/SmolLM2-135M-Instruct",
        "base_model_relation": "finetune",
        "tags": ["gguf", "scratchlm"],
    }


def test_a_model_from_scratch_names_no_base_and_without_a_choice_no_licence() -> None:
    card = write_card(replace(MODEL, licence=None))
    assert ModelCard(card).data.to_dict().keys() == {"library_name", "pipeline_tag", "tags"}
    assert "All its weights were trained from scratch." in card
    assert sections(card)["Licence"].startswith("No licence was chosen for these weights.")


def test_every_figure_has_its_number_of_texts_and_its_interval() -> None:
    assert sections(write_card(MODEL))["Figures"].split("\n\n")[0].splitlines()[2:] == [
        "| validation loss of the pretraining | 1.157 (7.904 before) |",
        "| validation loss of the fine-tuning | 0.606 (4.378 before) |",
        "| mean score of its answers | 75.21 (68.54 to 81.60), 109 answers |",
        "| the same of the model before it was fine-tuned | 0.01 (68.54 to 81.60), 109 answers |",
        "| the same where the answer is in no training entry | 74.62 (68.54 to 81.60), 106 answers |",
        "| multiple choice, % (chance 25) | 66.84 (60.00 to 73.68), 190 questions |",
    ]
    assert "the judge `overlap`, from 0 to 100" in sections(write_card(MODEL))["Figures"]


def test_the_preferred_model_has_its_own_figures() -> None:
    run = RUN.__class__(**{**vars(RUN), "variant": "preferred", "behind": [*RUN.behind, "tune_preferences"]})
    figures = sections(write_card(replace(MODEL, run=run)))["Figures"]
    assert "| mean score of its answers | 53.57 (" in figures and "75.21" not in figures
    assert "| validation loss of the preference tuning | 0.111 (0.693 before) |" in figures


def test_without_a_run_nothing_is_claimed() -> None:
    found = sections(write_card(replace(MODEL, run=None)))
    assert found["Figures"].startswith("None are given") and found["How it was trained"].startswith(
        "There is no record"
    )
    assert "|" not in found["Figures"] + found["How it was trained"]
    assert "from scratch." not in write_card(replace(MODEL, run=None)).partition("## ")[0]


@pytest.mark.parametrize("params", [{}, {"pretrain.start": "inputs/models/mine"}])
def test_only_a_recorded_start_is_called_from_scratch(params: dict[str, Any]) -> None:
    assert "trained from scratch" not in write_card(replace(MODEL, run=replace(RUN, params=params)))


def test_scores_that_no_judge_gave_are_left_out() -> None:
    judged = {**METRICS["judge_responses"], "assistant": {"mean": None, "n": 110, "n_scored": 0}}
    run = replace(RUN, metrics={"judge_responses": judged})
    assert "mean score of its answers" not in write_card(replace(MODEL, run=run))


def test_params_and_data_stand_with_their_hashes() -> None:
    found = sections(write_card(MODEL))["How it was trained"]
    assert 'corpus.source: "sample"\npretrain.start: "random"\nseed: 123\n' in found
    assert f"| data/corpus | 369 | 480,337 | `{MD5}.dir` |" in found


@pytest.mark.parametrize("source", [["/home/me/secret.txt"], "inputs/mine", "https://me:hunter2@example.org/a.json"])
def test_a_users_own_places_stay_private(source: Any) -> None:
    card = write_card(replace(MODEL, run=replace(RUN, params={"instructions.source": source})))
    assert 'instructions.source: "files of the author\'s own"' in card
    assert not [part for part in ("secret", "mine", "hunter2") if part in card]


def test_only_known_names_of_data_are_told() -> None:
    known = {"corpus.source": "the-verdict", "instructions.source": "alpaca", "pretrain.start": "random"}
    own = {"corpus.source": "clients", "preferences.source": "alpaca", "pretrain.start": "thesis"}
    for params, n_own in ((known, 0), (own, 3)):
        found = sections(write_card(replace(MODEL, run=replace(RUN, params=params))))["How it was trained"]
        assert found.count("files of the author's own") == n_own
        assert "clients" not in found and "thesis" not in found


def test_the_card_repeats_what_speaks_against_the_judge() -> None:
    probes = {"n": 5, "n_scored": 5, "auc": 0.5, "padding_gain": 0.0, "shuffled": 0.0, "echo": 0.0, "injection": 0.0}
    judged = {**METRICS["judge_responses"], "probes": probes}
    found = sections(write_card(replace(MODEL, run=replace(RUN, metrics={"judge_responses": judged}))))["Figures"]
    doubt = "AUC of references against wrong answers 0.50 (at least 0.9)"
    assert f"**overlap cannot be trusted, its scores say little about the answers: {doubt}.**" in found
    assert "cannot be trusted" not in sections(write_card(MODEL))["Figures"]
    older = {key: value for key, value in judged.items() if key != "preferred"}
    assert "overlap" in write_card(replace(MODEL, run=replace(RUN, metrics={"judge_responses": older})))


def test_a_text_among_the_params_cannot_end_the_block() -> None:
    card = write_card(replace(MODEL, run=replace(RUN, params={"pretrain.sample_prompt": "```\n# Hello\n```"})))
    assert 'pretrain.sample_prompt: "```\\n# Hello\\n```"\n```\n' in card


def test_a_tuned_base_names_its_authors_and_the_licence_of_the_data() -> None:
    run = replace(RUN, base="smollm2-135M", params={"instructions.source": "alpaca"})
    model = replace(MODEL, config=LLAMA, origin=origin_of("smollm2-135M"), licence="apache-2.0", run=run)
    card = write_card(model)
    source = "[SmolLM2-135M-Instruct](https://huggingface.co/HuggingFaceTB/SmolLM2-135M-Instruct)"
    assert (
        f"A Llama of 0.7 million parameters that answers one instruction at a time. It was fine-tuned from {source}"
        in card
    )
    assert "`apache-2.0`. NOTICE names the authors of SmolLM2-135M-Instruct" in card
    assert "CC BY-NC 4.0, allows no commercial use" in card


def test_a_base_as_it_came_is_no_work_of_ours() -> None:
    run = replace(RUN, stage="download_weights", base="smollm2-135M", variant="base", params={}, data=[], behind=[])
    card = write_card(replace(MODEL, style=None, origin=origin_of("smollm2-135M"), run=run))
    assert "in other formats, not trained further." in card and "It was not trained here." in card
    assert ModelCard(card).data.to_dict()["base_model_relation"] == "quantized"
    assert 'print(model("One morning", max_new_tokens=40' in card


def test_no_line_of_code_is_too_long_to_read() -> None:
    blocks = write_card(MODEL).split("```")[1::2]
    assert max(len(line) for block in blocks for line in block.splitlines()) <= 80
