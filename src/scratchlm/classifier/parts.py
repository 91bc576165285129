"""A classified message from the inside: what each token adds to the label, and the probability while reading."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from scratchlm.classifier.classifier import Classifier, label_logits, pad_messages
from scratchlm.errors import InputError
from scratchlm.training.measuring import evaluation_mode

MOST_TOKENS = 128  # of a message: one needs a row of its own for each token left out, and for each beginning


@dataclass(frozen=True)
class Parts:
    """A message with n tokens that are read, and N labels; all as float64 on the CPU.

    `probabilities_N` are those that `scratchlm classify` prints one of, and `label` is the likeliest. `parts_T` is what
    each token adds to the log-odds of that label, in nats: those of the message minus those of the message without the
    token. It is above 0 where the token speaks for the label. `reading_TN` are the probabilities of the message that
    ends after each token; the last row is the whole message.

    Tokens depend on each other, so the parts do not sum to the log-odds: of two words that say the same, leaving out
    either may change nothing.
    """

    label: int
    probabilities_N: Tensor
    parts_T: Tensor
    reading_TN: Tensor


@torch.no_grad()
def take_apart(classifier: Classifier, ids: Sequence[int], max_length: int, temperature: float) -> Parts:
    """Classify a message, every beginning of it, and the message without each of its tokens.

    Tokens after `max_length`, which the classifier does not read, have no part. Without a token the others move up, as
    if the message had been written so. Raises InputError if it has no token, or more than 128.
    """
    n_read = min(len(ids), max_length)
    if not 0 < n_read <= MOST_TOKENS:
        raise InputError(
            f"the message has {len(ids)} tokens, wanted 1 to {MOST_TOKENS}: give a {'shorter' if ids else 'longer'} one"
        )
    shortened = [[*ids[:place], *ids[place + 1 :]] for place in range(n_read)]
    rows = pad_messages(shortened, classifier.reading.pad_id, max_length)
    logits_TN = torch.cat(
        [logits_while_reading(classifier, ids[:n_read], max_length), label_logits(classifier, rows, n_read)]
    )
    reading_TN, without_TN = torch.split((logits_TN.double() / temperature).log_softmax(dim=-1), n_read)
    label = int(reading_TN[-1].argmax())
    parts_T = log_odds(reading_TN[-1], label) - log_odds(without_TN, label)
    return Parts(label, reading_TN[-1].exp(), parts_T, reading_TN.exp())


@torch.no_grad()
def logits_while_reading(classifier: Classifier, ids: Sequence[int], max_length: int) -> Tensor:
    """Return the logits of the labels of the text that ends after each of T tokens, [T, N] float32 on the CPU.

    Where no token sees a later one and padding changes nothing, the features of the whole text are those of its
    beginnings, too, and are computed once.
    """
    reading, T = classifier.reading, len(ids)
    beginnings = pad_messages([ids[: end + 1] for end in range(T)], reading.pad_id, max_length)
    if not reading.causal_mask or reading.sees_padding:
        return label_logits(classifier, beginnings, T)
    beginnings_TT = beginnings[:, :T].to(classifier.gpt.device)
    with evaluation_mode(classifier):
        features_1TD = classifier.gpt.features(beginnings_TT[-1:])
        return classifier.head(reading.choose(features_1TD.expand(T, T, -1), beginnings_TT)).float().cpu()  # type: ignore[no-any-return]


def log_odds(log_probabilities: Tensor, label: int) -> Tensor:
    """Return the log of a label's probability over that of all others, [..., N] to [...]."""
    others = torch.cat([log_probabilities[..., :label], log_probabilities[..., label + 1 :]], dim=-1)
    return log_probabilities[..., label] - others.logsumexp(dim=-1)
