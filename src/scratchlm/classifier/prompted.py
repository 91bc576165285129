"""The prompted baseline: a base that was not fine-tuned is asked whether a message is spam (chapter 6.4)."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
import torch
from torch import Tensor

from scratchlm.model.language_model import LanguageModel
from scratchlm.model.likelihood import log_likelihoods, next_log_probs
from scratchlm.stage.progress import progress_bar
from scratchlm.tokenizer.protocol import Tokenizer
from scratchlm.training.measuring import evaluation_mode

BEFORE, AFTER = "Is the following text 'spam'? Answer with 'yes' or 'no': '", "'"  # the book's words
ANSWERS = {"ham": " no", "spam": " yes"}


def question(message: str) -> str:
    """Return the book's question about a message."""
    return f"{BEFORE}{message}{AFTER}"


def measure_prompted(
    model: LanguageModel, tokenizer: Tokenizer, messages: pd.DataFrame, labels: Sequence[str], batch_size: int
) -> float | None:
    """Return the accuracy in percent of a base that is asked, and says the likelier of " yes" and " no".

    `messages` has columns Label (the position in `labels`) and Text. None if the base cannot be asked: the labels are
    others than ham and spam, its tokenizer does not know an answer, or the question alone fills its context.
    Draws nothing from torch's generators.
    """
    if set(labels) != set(ANSWERS):
        return None
    answers = tokenizer.encode_ordinary_batch([ANSWERS[label] for label in labels])
    if any(tokenizer.unk_token in answer for answer in answers):
        return None
    room = model.config.context_length + 1 - max(map(len, answers))  # the last token of an answer is not read
    prompts = encode_questions(messages["Text"].tolist(), tokenizer, room)
    if prompts is None:
        return None
    right = 0
    with evaluation_mode(model), progress_bar(len(prompts), "prompted", "message") as bar:
        for start in range(0, len(prompts), batch_size):
            batch = prompts[start : start + batch_size]
            said = likeliest_answers(model, batch, answers)
            right += int((said == torch.tensor(messages["Label"].tolist()[start : start + batch_size])).sum())
            bar.update(len(batch))
    return 100 * right / len(prompts)


def likeliest_answers(model: LanguageModel, prompts: list[list[int]], answers: list[list[int]]) -> Tensor:
    """Return the number of the likeliest answer to each prompt, [B] int64."""
    if all(len(answer) == 1 for answer in answers):
        return next_log_probs(model, prompts, [token for (token,) in answers]).argmax(dim=1)
    # Of all tokens of an answer: other words may begin with its first one.
    scores = [
        log_likelihoods(model, [prompt + answer for prompt in prompts], [len(answer)] * len(prompts))
        for answer in answers
    ]
    return torch.stack(scores, dim=1).argmax(dim=1)


def encode_questions(messages: Sequence[str], tokenizer: Tokenizer, room: int) -> list[list[int]] | None:
    """Tokenize the question about each message into at most `room` tokens; what is too long loses the message's end.

    Returns None if no token of a message would be left.
    """
    before, after = tokenizer.encode_ordinary_batch([BEFORE, AFTER])
    kept = room - len(before) - len(after)
    if kept < 1:
        return None
    prompts = tokenizer.encode_ordinary_batch([question(message) for message in messages])
    for number, prompt in enumerate(prompts):
        if len(prompt) > room:
            prompts[number] = before + tokenizer.encode_ordinary(messages[number])[:kept] + after
    return prompts
