"""The model card: what a model is, how to use it, its figures, and how it was trained; with the hub's header."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from importlib.metadata import version
from typing import Any

from ruamel.yaml import YAML

from scratchlm.assistant.instructions import VARIANTS
from scratchlm.bases.start import RANDOM
from scratchlm.export.exported_model import YOU, ExportedModel
from scratchlm.export.last_run import LastRun
from scratchlm.export.origin import START
from scratchlm.judging.trust import find_doubts
from scratchlm.model.config import LlamaConfig

# What the project has, or knows where to get; another value names a user's own files.
SOURCES: dict[str, tuple[str, ...]] = {
    "corpus.source": ("sample", "the-verdict"),
    "instructions.source": ("sample", "book", "alpaca"),
    "preferences.source": ("sample", "book"),
    START: (RANDOM,),
}
OWN_FILES = "files of the author's own"
PACKAGES = ("scratchlm", "torch", "safetensors", "gguf")


def write_card(model: ExportedModel) -> str:
    """Return the README.md of a model's folder on the Hugging Face hub, in Markdown with a header in YAML."""
    parts = [
        f"# {model.name}",
        introduction(model),
        "## What it is not for",
        "It is a small model to learn from. It makes mistakes, and states what is false in the same words as what is "
        "true. Nothing was done here to keep it from saying what hurts or offends. Do not let it advise, decide or "
        "publish.",
        "## How to use it",
        *usage(model),
        "## Figures",
        *figures(model),
        "## How it was trained",
        *training(model),
        "## Licence",
        licence(model),
        "## Versions",
        "Exported with " + ", ".join(f"{name} {version(name).partition('+')[0]}" for name in PACKAGES) + ".",
    ]
    return f"---\n{header(model)}---\n\n" + "\n\n".join(parts) + "\n"


def header(model: ExportedModel) -> str:
    """Return what the hub reads: YAML."""
    fields: dict[str, Any] = {"library_name": "transformers", "pipeline_tag": "text-generation"}
    if model.licence is not None:
        fields["license"] = model.licence
    if model.origin is not None and model.origin.certain:
        fields["base_model"] = model.origin.repository
        fields["base_model_relation"] = "quantized" if model.is_base else "finetune"
    fields["tags"] = ["gguf", "scratchlm"]
    stream = io.StringIO()
    yaml = YAML()
    yaml.default_flow_style = False
    yaml.dump(fields, stream)
    return stream.getvalue()


def introduction(model: ExportedModel) -> str:
    """Return in a paragraph what the model is."""
    kind = "Llama" if isinstance(model.config, LlamaConfig) else "GPT-2"
    does = "continues a text" if model.style is None else "answers one instruction at a time"
    lines = [f"A {kind} of {model.n_parameters / 1e6:,.1f} million parameters that {does}."]
    if model.origin is not None:
        source = f"[{model.origin.name}](https://huggingface.co/{model.origin.repository})"
        if model.is_base:
            lines.append(f"It is {source} in other formats, not trained further.")
        elif model.origin.certain:
            lines.append(f"It was fine-tuned from {source}.")
        else:
            lines.append(f"By its shape it was trained from {source}; there is no record of that.")
    elif model.run is not None and model.run.params.get(START) == RANDOM:
        lines.append("All its weights were trained from scratch.")
    lines.append(
        "It was made with scratchlm, which is the book *Build a Large Language Model (From Scratch)* by Sebastian "
        f"Raschka as one pipeline. It sees {model.config.context_length:,} tokens at most."
    )
    if model.style is not None:
        lines.append("Each message is answered by itself: what was said before is not part of the prompt.")
    return " ".join(lines)


def usage(model: ExportedModel) -> Iterator[str]:
    """Yield how three programs run the model."""
    prompt, repository = model.example, f"{YOU}/{model.name}"
    yield f"With [Ollama](https://ollama.com), where {YOU} is the account that the folder was uploaded to:"
    yield fenced("sh", f'ollama run hf.co/{repository} "{prompt}"')
    yield "or, with the folder on your disk, in the folder:"
    yield fenced("sh", f'ollama create {model.name} -f Modelfile\nollama run {model.name} "{prompt}"')
    yield "With [llama.cpp](https://github.com/ggml-org/llama.cpp), and then at http://127.0.0.1:8080:"
    yield fenced("sh", f"llama-server -m {model.gguf_name}")
    yield "With [transformers](https://huggingface.co/docs/transformers):"
    lines = ["from transformers import pipeline", "", f'model = pipeline("text-generation", "{repository}")']
    if model.style is None:
        lines.append(f'print(model("{prompt}", max_new_tokens=40, do_sample=False)[0]["generated_text"])')
    else:
        lines.append(f'chat = [{{"role": "user", "content": "{prompt}"}}]')
        lines.append('print(model(chat)[0]["generated_text"][-1]["content"])')
    yield fenced("python", "\n".join(lines))


def figures(model: ExportedModel) -> Iterator[str]:
    """Yield what was measured of the model, as a table."""
    rows = list(measured(model.run)) if model.run is not None else []
    if not rows:
        yield "None are given: there is no record of the run that trained the model in this folder."
        return
    yield "\n".join(["| figure | value |", "|---|---|", *(f"| {name} | {value} |" for name, value in rows)])
    if model.run is not None and "judge_responses" in model.run.metrics:
        judged = model.run.metrics["judge_responses"]
        judge = judged["judge"]
        yield (
            f"The score is that of the judge `{judge}`, from 0 to 100, on instructions that were not trained on; "
            "intervals are 95 % (bootstrap)."
        )
        if judged.keys() >= set(VARIANTS) and (doubts := find_doubts(judged).get(judge)):
            yield f"**{judge} cannot be trusted, its scores say little about the answers: {'; '.join(doubts)}.**"


def measured(run: LastRun) -> Iterator[tuple[str, str]]:
    """Yield each figure's name and value, with the number of texts and the interval where there is one."""
    losses = {
        "pretrain": "validation loss of the pretraining",
        "finetune_instructions": "validation loss of the fine-tuning",
        "tune_preferences": "validation loss of the preference tuning",
    }
    for stage, name in losses.items():
        if stage in run.metrics and stage in run.behind:
            found = run.metrics[stage]
            yield name, f"{found['validation_loss']:.3f} ({found['initial_validation_loss']:.3f} before)"
    judged, asked = run.metrics.get("judge_responses", {}), run.metrics.get("benchmark_models", {})
    scores: list[tuple[str, str]] = [(run.variant, "mean score of its answers")]
    if run.variant != "base":
        scores.append(("base", "the same of the model before it was fine-tuned"))
    if run.variant == "assistant":
        scores.append(("new_answers", "the same where the answer is in no training entry"))
    for key, name in scores:
        found = judged.get(key) or {}
        if found.get("mean") is not None:
            yield name, with_interval(found, "mean", "ci95", f"{found['n_scored']} answers")
    found = asked.get(run.variant)
    if found:
        value = with_interval(found, "acc", "acc_ci95", f"{asked['questions']} questions")
        yield f"multiple choice, % (chance {asked['chance']:.0f})", value


def with_interval(found: dict[str, Any], key: str, interval: str, count: str) -> str:
    """Return a figure with its interval and the number of texts behind it."""
    value = f"{found[key]:.2f}"
    if found.get(f"{interval}_low") is not None:
        value += f" ({found[f'{interval}_low']:.2f} to {found[f'{interval}_high']:.2f})"
    return f"{value}, {count}"


def training(model: ExportedModel) -> Iterator[str]:
    """Yield the params and the data of the run that trained the model."""
    if model.run is None:
        yield "There is no record of the run that trained the model in this folder."
        return
    if model.run.params:
        yield "The parameters of the run, as the project's `params.yaml` explains them:"
        yield fenced("yaml", "\n".join(f"{key}: {shown(key, value)}" for key, value in model.run.params.items()))
    if model.run.data:
        yield "The data of the run, with the hashes by which DVC knows them:"
        rows = [f"| {one.path} | {one.n_files:,} | {one.size_bytes:,} | `{one.md5}` |" for one in model.run.data]
        yield "\n".join(["| data | files | bytes | md5 |", "|---|---|---|---|", *rows])
    if not model.run.params and not model.run.data:
        yield "It was not trained here."


def shown(key: str, value: Any) -> str:
    """Return a parameter's value in one line of YAML, without the places of a user's own files."""
    if key in SOURCES and value not in SOURCES[key]:
        value = OWN_FILES
    return json.dumps(value, ensure_ascii=False)


def licence(model: ExportedModel) -> str:
    """Return a paragraph on what may be done with the model."""
    if model.licence is None:
        lines = ["No licence was chosen for these weights. Ask their author before you use or pass them on."]
    else:
        lines = [f"`{model.licence}`."]
    if model.origin is not None:
        lines.append(f"NOTICE names the authors of {model.origin.name} and its licence; keep it with the model.")
    if model.run is not None and model.run.params.get("instructions.source") == "alpaca":
        lines.append("The instructions are Stanford Alpaca's, whose licence, CC BY-NC 4.0, allows no commercial use.")
    return " ".join(lines)


def fenced(language: str, text: str) -> str:
    """Return a block of code."""
    return f"```{language}\n{text}\n```"
