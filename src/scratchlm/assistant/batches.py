"""Instruction batches (chapter 7.3): each padded to its own longest entry, padding left out of the loss."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from scratchlm.assistant.instructions import Entry, format_entry, format_prompt, read_entries
from scratchlm.errors import InputError
from scratchlm.params.choices import PromptStyle
from scratchlm.params.schema import AssistantParams
from scratchlm.tokenizer.protocol import Tokenizer
from scratchlm.training.loaders import Loaders, loaders
from scratchlm.training.loss import IGNORED

SPLITS = ("train", "validation", "test")


class Batches(NamedTuple):
    """The batches of training and validation, how many entries of each are cut to `max_length`, and all texts."""

    loaders: Loaders
    inputs: list[Tensor]  # the input tokens of each entry in these batches, without padding
    truncated: int
    validation_truncated: int
    texts: dict[str, list[str]]  # prompts and answers of all three splits


def read_batches(folder: Path, style: PromptStyle, tokenizer: Tokenizer, params: AssistantParams) -> Batches:
    """Read the training and validation entries of a folder as batches.

    Raises InputError as `check_lengths` does.
    """
    entries = {split: read_entries(folder / f"{split}.json") for split in SPLITS}
    train, validation = (encode_entries(entries[split], style, tokenizer) for split in ("train", "validation"))
    cut, validation_cut = (
        check_lengths(examples, params.max_length, params.mask_prompt, "finetune_instructions")
        for examples in (train, validation)
    )
    texts = {split: [format_entry(entry, style) for entry in part] for split, part in entries.items()}
    pad = partial(collate, pad_id=tokenizer.eot_token, max_length=params.max_length, mask_prompt=params.mask_prompt)
    length = partial(n_inputs, max_length=params.max_length) if params.group_by_length else None
    inputs = [input_ids(example, params.max_length) for example in (*train, *validation)]
    return Batches(loaders(train, validation, params.batch_size, pad, length), inputs, cut, validation_cut, texts)


@dataclass(frozen=True)
class Example:
    """An entry's token ids, prompt and answer; the first `prompt_length` are the prompt's."""

    ids: list[int]
    prompt_length: int


def encode_entries(entries: Sequence[Entry], style: PromptStyle, tokenizer: Tokenizer) -> list[Example]:
    """Tokenize prompts and answers; special tokens in the text are plain text."""
    prompts = tokenizer.encode_ordinary_batch([format_prompt(entry, style) for entry in entries])
    texts = tokenizer.encode_ordinary_batch([format_prompt(entry, style) + entry["output"] for entry in entries])
    return [Example(ids, len(prompt)) for ids, prompt in zip(texts, prompts, strict=True)]


def check_lengths(examples: Sequence[Example], max_length: int, needs_answer: bool, stage: str) -> int:
    """Return how many examples are longer than `max_length` tokens and will be cut.

    Raises InputError that names the key of `stage` if that would leave nothing of an answer that is needed, as with
    masked prompts.
    """
    unanswered = [index for index, example in enumerate(examples) if example.prompt_length > max_length]
    if unanswered and needs_answer:
        first = unanswered[0]
        raise InputError(
            f"the prompts of {len(unanswered)} of {len(examples)} entries are longer than "
            f"{stage}.max_length ({max_length} tokens; entry {first} of the split has "
            f"{examples[first].prompt_length:,}), so that nothing of the answer is left to learn: raise max_length or "
            "leave these entries out"
        )
    return sum(len(example.ids) > max_length for example in examples)


def n_inputs(example: Example, max_length: int) -> int:
    """Return how many input tokens an example has in a batch, without padding."""
    return min(len(example.ids), max_length)


def input_ids(example: Example, max_length: int) -> Tensor:
    """Return the input tokens that an example has in a batch, without padding, [T] int64."""
    return torch.tensor(example.ids[:max_length])


def collate(examples: Sequence[Example], pad_id: int, max_length: int, mask_prompt: bool) -> tuple[Tensor, Tensor]:
    """Pad a batch; return inputs and targets, each [B, T] int64 with T at most `max_length`.

    End-of-text (`pad_id`) follows every entry. Its first occurrence is a target, so that the model learns to stop;
    the targets after it are -100, which the loss ignores. With `mask_prompt` those of the prompt are -100 too.
    """
    width = max(n_inputs(example, max_length) for example in examples)
    inputs = torch.full((len(examples), width), pad_id)
    targets = torch.full((len(examples), width), IGNORED)
    for row, example in enumerate(examples):
        ids = torch.tensor([*example.ids, pad_id])[: width + 1]
        inputs[row, : min(len(ids), width)] = ids[:width]
        targets[row, : len(ids) - 1] = ids[1:]
        if mask_prompt:
            targets[row, : max(0, example.prompt_length - 1)] = IGNORED
    return inputs, targets
