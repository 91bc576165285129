"""Chapter 7.3's collate rules, on the book's own example and on random batches."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from scratchlm.assistant.batches import Example, check_lengths, collate, encode_entries, read_batches
from scratchlm.assistant.instructions import Entry, format_prompt
from scratchlm.errors import InputError
from scratchlm.model.config import GPTConfig
from scratchlm.model.init import new_model
from scratchlm.params.choices import PromptStyle
from scratchlm.params.schema import AssistantParams
from scratchlm.tokenizer.bpe import train_bpe
from scratchlm.tokenizer.folder import read_tokenizer, write_tokenizer
from scratchlm.training.loss import IGNORED, count_targets, next_token_loss

PAD = 50256


def test_the_books_three_lists_give_the_books_batch() -> None:
    examples = [Example([0, 1, 2, 3, 4], 0), Example([5, 6], 0), Example([7, 8, 9], 0)]
    inputs, targets = collate(examples, PAD, max_length=1024, mask_prompt=False)
    assert inputs.tolist() == [[0, 1, 2, 3, 4], [5, 6, PAD, PAD, PAD], [7, 8, 9, PAD, PAD]]
    assert targets.tolist() == [
        [1, 2, 3, 4, PAD],
        [6, PAD, IGNORED, IGNORED, IGNORED],
        [8, 9, PAD, IGNORED, IGNORED],
    ]


def test_long_entries_are_cut_to_the_limit() -> None:
    inputs, targets = collate([Example([1, 2, 3, 4], 0), Example([5], 0)], PAD, 3, mask_prompt=False)
    assert inputs.tolist() == [[1, 2, 3], [5, PAD, PAD]]
    assert targets.tolist() == [[2, 3, 4], [PAD, IGNORED, IGNORED]]


def test_prompt_tokens_carry_no_loss_when_masked() -> None:
    _, targets = collate([Example([1, 2, 3, 4, 5], 3)], PAD, 1024, mask_prompt=True)
    assert targets.tolist() == [[IGNORED, IGNORED, 4, 5, PAD]]


def test_prompts_that_fill_the_limit_are_refused_when_masked() -> None:
    examples = [Example([1, 2, 3, 4, 5], 3), Example([1, 2, 3, 4], 4)]
    assert check_lengths(examples, 4, True, "finetune_instructions") == 1
    assert check_lengths(examples, 3, False, "finetune_instructions") == 2
    with pytest.raises(InputError, match=r"prompts of 1 of 2 entries .*max_length \(3 tokens; entry 1 .* has 4\)"):
        check_lengths(examples, 3, True, "finetune_instructions")


def books_collate(batch: list[list[int]], max_length: int) -> tuple[list[list[int]], list[list[int]]]:
    longest = max(len(ids) + 1 for ids in batch)
    inputs, targets = [], []
    for ids in batch:
        padded = ids + [PAD] * (longest - len(ids))
        row_in, row_out = padded[:-1], padded[1:]
        first = len(ids) - 1
        row_out = [IGNORED if token == PAD and place > first else token for place, token in enumerate(row_out)]
        inputs.append(row_in[:max_length])
        targets.append(row_out[:max_length])
    return inputs, targets


@given(
    st.lists(st.lists(st.integers(0, 99), min_size=1, max_size=12), min_size=1, max_size=6),
    st.integers(1, 14),
)
def test_any_batch_is_collated_as_the_book_does(batch: list[list[int]], max_length: int) -> None:
    inputs, targets = collate([Example(ids, 0) for ids in batch], PAD, max_length, mask_prompt=False)
    assert (inputs.tolist(), targets.tolist()) == books_collate(batch, max_length)


@given(
    st.lists(
        st.tuples(st.lists(st.integers(0, 99), min_size=1, max_size=12), st.integers(0, 12)), min_size=1, max_size=6
    ),
    st.integers(1, 14),
)
def test_masking_takes_the_prompts_out_of_any_batch_and_nothing_else(
    batch: list[tuple[list[int], int]], max_length: int
) -> None:
    examples = [Example(ids, min(prompt_length, len(ids))) for ids, prompt_length in batch]
    whole_inputs, whole = collate(examples, PAD, max_length, mask_prompt=False)
    inputs, targets = collate(examples, PAD, max_length, mask_prompt=True)
    assert inputs.tolist() == whole_inputs.tolist()
    for example, row, whole_row in zip(examples, targets.tolist(), whole.tolist(), strict=True):
        # Targets are shifted by one: the first target that is kept is the answer's first token.
        n_prompt = max(0, min(example.prompt_length - 1, len(row)))
        assert row == [IGNORED] * n_prompt + whole_row[n_prompt:]


def test_padding_does_not_change_the_loss() -> None:
    torch.manual_seed(0)
    model = new_model(GPTConfig(100, 16, 16, 2, 1, 0.0, qkv_bias=False, tie_embeddings=True), "gpt2").eval()
    examples = [Example([1, 2, 3, 4, 5, 6], 2), Example([7, 8], 1), Example([9], 1)]
    together = collate(examples, 99, 16, mask_prompt=False)
    alone = [collate([example], 99, 16, mask_prompt=False) for example in examples]
    assert count_targets(together) == sum(map(count_targets, alone)) == 9
    losses = torch.stack([next_token_loss(model, batch) for batch in alone])
    assert torch.allclose(next_token_loss(model, together), losses.sum(), atol=1e-4)


def test_the_prompt_is_a_prefix_of_the_entry_in_tokens(tmp_path) -> None:  # type: ignore[no-untyped-def]
    write_tokenizer(tmp_path, *train_bpe(["### Response:\nThe answer is here.\n\n### Input:\n"] * 3, 300))
    tokenizer = read_tokenizer(tmp_path)
    for style in ("alpaca", "phi3"):
        for given_input in ("", "cold"):
            entry = Entry(instruction="Say the opposite.", input=given_input, output="The answer is hot.")
            example = encode_entries([entry], style, tokenizer)[0]  # type: ignore[list-item, arg-type]
            prompt = tokenizer.encode_ordinary(format_prompt(entry, style))  # type: ignore[arg-type]
            assert example.ids[: example.prompt_length] == prompt
            assert tokenizer.decode(example.ids[example.prompt_length :]) == "The answer is hot."


def test_special_tokens_in_a_users_text_are_plain_text(tmp_path) -> None:  # type: ignore[no-untyped-def]
    write_tokenizer(tmp_path, *train_bpe(["plain text"], 300))
    tokenizer = read_tokenizer(tmp_path)
    entry = Entry(instruction="Repeat <|endoftext|>", input="", output="<|endoftext|>")
    assert tokenizer.eot_token not in encode_entries([entry], "alpaca", tokenizer)[0].ids


@pytest.mark.parametrize("mask_prompt", [False, True])
def test_batches_are_read_as_the_params_say(mask_prompt: bool, tokenizer_folder: Path, tmp_path: Path) -> None:
    entries = [{"instruction": f"the cat {'sat ' * n}", "input": "", "output": "the dog"} for n in range(1, 5)]
    for split in ("train", "validation", "test"):
        (tmp_path / f"{split}.json").write_text(json.dumps(entries if split == "train" else entries[:2]))
    tokenizer = read_tokenizer(tokenizer_folder)
    style: PromptStyle = "phi3"
    lengths = [len(tokenizer.encode_ordinary(format_prompt(entry, style) + "the dog")) for entry in entries]  # type: ignore[arg-type]
    params = AssistantParams.model_construct(
        batch_size=4, max_length=lengths[2], mask_prompt=mask_prompt, group_by_length=False
    )
    batches = read_batches(tmp_path, style, tokenizer, params)
    inputs, targets = next(iter(batches.loaders.train))
    assert inputs.shape == (4, lengths[2]) and (batches.truncated, batches.validation_truncated) == (1, 0)
    assert {part: len(texts) for part, texts in batches.texts.items()} == {"train": 4, "validation": 2, "test": 2}
    ignored_first = bool((targets[:, 0] == IGNORED).all())
    assert ignored_first == mask_prompt


@pytest.mark.parametrize("group_by_length", [False, True])
def test_entries_of_like_lengths_are_put_together_if_asked(
    group_by_length: bool, tokenizer_folder: Path, tmp_path: Path
) -> None:
    entries = [{"instruction": f"the cat {'sat ' * (n % 6)}", "input": "", "output": "the dog"} for n in range(24)]
    for split in ("train", "validation", "test"):
        (tmp_path / f"{split}.json").write_text(json.dumps(entries))
    changes = {"batch_size": 4, "max_length": 64, "mask_prompt": True, "group_by_length": group_by_length}
    tokenizer = read_tokenizer(tokenizer_folder)
    batches = read_batches(tmp_path, "phi3", tokenizer, AssistantParams.model_construct(**changes)).loaders
    for loader in batches:
        padded = [bool((inputs == tokenizer.eot_token).any()) for inputs, _ in loader]
        assert len(padded) == 6 and any(padded) != group_by_length
