"""Answers of models to instructions: the text after the prompt, and why it ended."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from scratchlm.assistant.instructions import Answer, Entry, format_prompt
from scratchlm.checkpoint.folder import load
from scratchlm.generation.decode import Sampling, batches_by_length, continue_batch
from scratchlm.params.choices import PromptStyle
from scratchlm.stage.interruption import deferred
from scratchlm.stage.progress import progress_bar
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
    saved = snapshots.load()
    # By the entry's number as a string: JSON has no other keys.
    answers: dict[str, dict[str, Answer]] = saved[1] if saved else {name: {} for name in folders}

    def position() -> str:
        return f"{sum(map(len, answers.values()))} of {len(folders) * len(entries)} answers"

    if saved:
        print(f"resuming after {position()}")
    with deferred():
        for name, given in answers.items():
            if len(given) == len(entries):
                continue
            model, tokenizer = load(folders[name])
            model.to(device)
            prompts = tokenizer.encode_ordinary_batch([format_prompt(entry, style) for entry in entries])
            with progress_bar(len(entries), name, "answer", initial=len(given)) as bar:
                for numbers in batches_by_length(prompts, batch_size):
                    if str(numbers[0]) in given:
                        continue
                    snapshots.keep(lambda: ({}, answers), position())
                    batch = continue_batch(model, prompts, numbers, max_new_tokens, tokenizer.eot_token, sampling)
                    for number, new in zip(numbers, batch, strict=True):
                        text = tokenizer.decode(new.ids).strip()
                        given[str(number)] = Answer(
                            text=text, finish="stop" if new.stopped else "length", tokens=len(new.ids)
                        )
                    bar.update(len(numbers))
        snapshots.keep(lambda: ({}, answers), position(), ended=True)
    return {name: [given[str(number)] for number in range(len(entries))] for name, given in answers.items()}


def as_rows(entries: Sequence[Entry], answers: Mapping[str, Sequence[Answer]]) -> list[dict[str, Any]]:
    """Return one row per entry with its answers, as in data/responses.json."""
    return [
        {"id": number, **entry, **{name: given[number] for name, given in answers.items()}}
        for number, entry in enumerate(entries)
    ]


def count_endings(answers: Sequence[Answer], prefix: str = "") -> dict[str, int]:
    """Count the empty answers, and those that the model ended with end-of-text."""
    return {
        f"{prefix}empty": sum(not given["text"] for given in answers),
        f"{prefix}stopped_at_end": sum(given["finish"] == "stop" for given in answers),
    }
