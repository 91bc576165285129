"""`scratchlm export` in a project that has run: the card has its figures, and llama.cpp gives its answers."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import requests
from llama_cpp_server import LlamaCppServer
from project import Project, copy_project
from test_repro import all_bytes

from scratchlm.assistant.instructions import Entry, Variant, format_prompt
from scratchlm.export.last_run import find_run

# Of 110 answers. The base never learned to answer: its long texts are close choices, and one of them changes the rest.
AT_LEAST: dict[Variant, dict[str, int]] = {
    "assistant": {"f32": 110, "f16": 110, "q8_0": 105},
    "preferred": {"f32": 110, "f16": 110, "q8_0": 105},
    "base": {"f32": 105, "f16": 100},
}
FOLDERS = {"base": "models/bases/pretrained", "assistant": "models/assistant", "preferred": "models/preferred"}


def export(project: Project, *words: str, variables: Sequence[str] = ()) -> None:
    project.run("env", "PYTHONPATH=src", *variables, sys.executable, "-m", "scratchlm.cli", "export", *words)


@pytest.mark.parametrize(("variant", "folder"), FOLDERS.items())
def test_dvcs_record_of_every_model_is_found(variant: Variant, folder: str, project: Project) -> None:
    run = find_run(project.folder / folder)
    assert run is not None
    assert (run.variant, run.base) == (variant, "pretrained")
    assert run.params["model.emb_dim"] == 16 and {"judge_responses", "pretrain"} <= run.metrics.keys()
    assert "data/corpus" in [one.path for one in run.data]


def test_exporting_leaves_the_pipeline_as_it_was(project: Project) -> None:
    export(project, "--license", "mit")
    card = project.read("exports/assistant/README.md")
    scores = json.loads(project.read("metrics/judge_responses.json"))["assistant"]
    assert (
        f"| mean score of its answers | {scores['mean']:.2f} (" in card and f", {scores['n_scored']} answers |" in card
    )
    assert "model.emb_dim: 16\n" in card and str(project.folder) not in card
    assert project.git("status", "--porcelain") == ""
    assert "Data and pipelines are up to date." in project.dvc("status").stdout


@pytest.mark.slow
def test_unlike_environments_give_the_same_bytes(project: Project) -> None:
    exported = []
    for seed in ("1", "2"):
        variables = [f"PYTHONHASHSEED={seed}", f"TZ=Etc/GMT+{seed}"]
        export(project, "--out", f"exports/{seed}", "--dtype", "q8_0", variables=variables)
        exported.append(all_bytes(project, f"exports/{seed}/**/*"))
    first, second = ({Path(name).name: content for name, content in found.items()} for found in exported)
    assert first == second and len(first) > 10


@pytest.mark.slow
def test_llama_cpp_gives_the_runs_answers_to_all_test_prompts(tmp_path: Path) -> None:
    pytest.importorskip("xllamacpp", reason="xllamacpp is not installed (scripts/setup.sh installs it where it can)")
    project = copy_project(tmp_path / "sample")
    project.dvc("repro", "generate_responses")
    answered = json.loads(project.read("data/responses.json"))
    assert len(answered) == 110
    for variant, at_least in AT_LEAST.items():
        for dtype, n_wanted in at_least.items():
            export(project, "--model", FOLDERS[variant], "--dtype", dtype, "--name", variant)
            path = project.folder / "exports" / variant / f"{variant}-{dtype.upper()}.gguf"
            with LlamaCppServer(path, variant, tmp_path / f"{variant}-{dtype}.log", 160, 1) as server:
                n_equal = sum(text_of(server, entry, variant) == entry[variant]["text"] for entry in answered)
            assert n_equal >= n_wanted, (variant, dtype)


def text_of(server: LlamaCppServer, entry: dict[str, Any], variant: str) -> str:
    """Return what llama.cpp says: of a chat to an assistant, and after the same prompt to a base."""
    content = "\n".join(filter(None, (entry["instruction"], entry["input"])))
    prompt = format_prompt(Entry(instruction=content, input="", output=""), "phi3")
    with requests.Session() as session:
        session.trust_env = False  # no proxy stands before this machine itself
        if variant == "base":
            request: dict[str, Any] = {"prompt": prompt, "n_predict": 48}
            text: str = session.post(f"{server.host}/completion", json=request, timeout=60).json()["content"]
        else:
            request = {"messages": [{"role": "user", "content": content}], "max_tokens": 48}
            answer = session.post(f"{server.url}/chat/completions", json=request, timeout=60).json()
            text = answer["choices"][0]["message"]["content"]
    return text.strip()
