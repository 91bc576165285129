"""What an assistant answers while it is trained: a few entries after each epoch, on one page (chapter 7.6)."""

from __future__ import annotations

from collections.abc import Sequence

from scratchlm.assistant.instructions import Entry, format_prompt
from scratchlm.files.block import labelled
from scratchlm.generation.decode import Sampling, generate
from scratchlm.model.language_model import LanguageModel
from scratchlm.params.choices import PromptStyle
from scratchlm.tokenizer.protocol import Tokenizer

SHOWN_ENTRIES = 3
SAMPLE_TOKENS = 50  # the book's number


def sample_answers(
    model: LanguageModel, tokenizer: Tokenizer, entries: Sequence[Entry], style: PromptStyle
) -> list[str]:
    """Answer a few entries, as one batch, with the likeliest tokens, at most 50 each.

    Draws nothing from torch's global generator, so that looking does not change a training.
    """
    prompts = tokenizer.encode_ordinary_batch([format_prompt(entry, style) for entry in entries])
    answers = generate(model, prompts, SAMPLE_TOKENS, tokenizer.stop_ids, Sampling(), len(prompts))
    return [tokenizer.decode(new.ids).strip() for new in answers]


def describe_answers(
    name: str, entries: Sequence[Entry], epochs: Sequence[Sequence[str]], before: Sequence[str] | None = None
) -> str:
    """Lay the entries out as Markdown, each with its reference and with what a model answered after each of the epochs.

    `name` says in the title which model it is. What was answered `before` the first of them stands above it, if it is
    given.
    """
    stages = {} if before is None else {"before": before}
    stages |= {f"epoch {epoch}": answers for epoch, answers in enumerate(epochs, start=1)}
    lines = [
        f"# What the {name} answers after each epoch",
        "",
        f"The first {len(entries)} entries of the validation set, answered with the likeliest tokens, at most "
        f"{SAMPLE_TOKENS} each. Long lines are wrapped.",
    ]
    for number, entry in enumerate(entries):
        block = [*labelled("instruction", entry["instruction"])]
        if entry["input"]:
            block += labelled("input", entry["input"])
        block += [*labelled("reference", entry["output"]), ""]
        for stage, answers in stages.items():
            block += labelled(stage, answers[number] or "(nothing)")
        lines += ["", f"## Entry {number}", "", "```text", *block, "```"]
    return "\n".join(lines) + "\n"
