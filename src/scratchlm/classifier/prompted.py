"""The prompted baseline: a base that was not fine-tuned is asked whether a message is spam (chapter 6.4).

Shape suffixes as in model.py: B batch, T tokens, D emb_dim, V vocab_size; A tokens of an answer.
"""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from scratchlm.model.gpt import GPT
from scratchlm.tokenizer.protocol import Tokenizer
from scratchlm.training.loop import evaluation_mode

BEFORE, AFTER = "Is the following text 'spam'? Answer with 'yes' or 'no': '", "'"  # the book's words
ANSWERS = {"ham": " no", "spam": " yes"}


def question(message: str) -> str:
    """Return the book's question about a message."""
    return f"{BEFORE}{message}{AFTER}"


def prompted_accuracy(
    model: GPT, tokenizer: Tokenizer, messages: pd.DataFrame, labels: Sequence[str], batch_size: int
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
    scores = torch.stack([answer_log_likelihoods(model, prompts, answer, batch_size) for answer in answers], dim=1)
    return 100 * float((scores.argmax(dim=1) == torch.tensor(messages["Label"].tolist())).double().mean())


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


@torch.no_grad()
def answer_log_likelihoods(
    model: GPT, prompts: Sequence[Sequence[int]], answer: Sequence[int], batch_size: int
) -> Tensor:
    """Return the log-likelihood of an answer after each prompt, [n] float32 on the CPU, in nats.

    It is that of all tokens of the answer. Its first token alone would not do, since other words may begin with it.
    Prompts are padded on the right, where causal attention does not see the padding.
    """
    found = []
    with evaluation_mode(model):
        for start in range(0, len(prompts), batch_size):
            batch = prompts[start : start + batch_size]
            texts = [torch.tensor([*prompt, *answer[:-1]]) for prompt in batch]
            features_BTD = model.features(pad_sequence(texts, batch_first=True).to(model.device))
            # The prompt's last token predicts the answer's first, and so on.
            positions_BA = torch.tensor([[len(prompt) - 1] for prompt in batch]) + torch.arange(len(answer))
            features_BAD = features_BTD[torch.arange(len(batch))[:, None], positions_BA]
            log_probabilities_BAV = model.head(features_BAD).float().log_softmax(dim=-1)
            found.append(log_probabilities_BAV[:, torch.arange(len(answer)), torch.tensor(answer)].sum(dim=1).cpu())
    return torch.cat(found)
