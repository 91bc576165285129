"""Answers of models to instructions: the text after the prompt, and why it ended."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from scratchlm.assistant.instructions import Answer, Entry, format_prompt
from scratchlm.checkpoint.folder import load
from scratchlm.generation.decode import Sampling, batches_by_length, continue_batch
from scratchlm.params.choices import PromptStyle
from scratchlm.stage.batches import Numbers, Work, compute_batches
from scratchlm.stage.snapshots import Snapshots


def answer(
    folders: Mapping[str, Path],
    entries: Sequence[Entry],
    *,
    style: PromptStyle,
    max_new_tokens: int,
    sampling: Sampling,
    batch_size: int,
    device: torch.device,
    snapshots: Snapshots,
) -> dict[str, list[Answer]]:
    """Let the model of each folder answer every entry; return the answers in order, under the names of `folders`.

    An answer is the new tokens only, without white space around them; an entry whose prompt leaves no room in the
    model's context gets an empty answer. Answers saved in `snapshots` are not generated again. Raises Interrupted
    between two batches if a stop was requested.
    """
    texts = [format_prompt(entry, style) for entry in entries]

    def begin(name: str) -> Work:
        model, tokenizer = load(folders[name])
        model.to(device)
        prompts = tokenizer.encode_ordinary_batch(texts)

        def compute(numbers: Numbers) -> list[Answer]:
            batch = continue_batch(model, prompts, numbers, max_new_tokens, tokenizer.stop_ids, sampling)
            return [
                Answer(
                    text=tokenizer.decode(new.ids).strip(),
                    finish="stop" if new.stopped else "length",
                    tokens=len(new.ids),
                )
                for new in batch
            ]

        return batches_by_length(prompts, batch_size), compute

    return compute_batches(list(folders), len(entries), "answer", begin, snapshots)


def as_rows(entries: Sequence[Entry], answers: Mapping[str, Sequence[Answer]]) -> list[dict[str, Any]]:
    """Return one row per entry with its answers, as in data/responses.json."""
    return [
        {"id": number, **entry, **{name: given[number] for name, given in answers.items()}}
        for number, entry in enumerate(entries)
    ]


def summarise_answers(answers: Mapping[str, Sequence[Answer]], shares: Mapping[str, float]) -> dict[str, Any]:
    """Turn the answers of each model into the metrics; the assistant's have its name left out.

    `empty` answers, those `stopped_at_end`, so by end-of-text, and `preference_share`: how many read like the answers
    that preference tuning prefers, in percent, which `shares` holds by the model's name.
    """
    summary: dict[str, Any] = {"answers": len(answers["assistant"])}
    for name, given in answers.items():
        prefix = prefix_of(name)
        summary[f"{prefix}empty"] = sum(not one["text"] for one in given)
        summary[f"{prefix}stopped_at_end"] = sum(one["finish"] == "stop" for one in given)
        summary[f"{prefix}preference_share"] = shares[name]
    return summary


def prefix_of(name: str) -> str:
    """Return what the names of a model's metrics begin with."""
    return "" if name == "assistant" else f"{name}_"


def describe_summary(summary: Mapping[str, Any], names: Iterable[str]) -> str:
    """Return the metrics of `summarise_answers` as a table for the console."""
    lines = [f"{summary['answers']:,} answers of each".ljust(24) + f"{'empty':>7}{'ended':>7}{'as preferred':>14}"]
    for name in names:
        empty, ended, share = (
            summary[prefix_of(name) + key] for key in ("empty", "stopped_at_end", "preference_share")
        )
        lines.append(f"{name:24}{empty:7,}{ended:7,}{share:12.1f} %")
    return "\n".join(lines)
