"""What a message's tokens add is what classifying it without them says, for every way of reading."""

from __future__ import annotations

import math
from typing import Any, get_args

import pytest
import torch

from scratchlm.classifier.classifier import Classifier, label_logits, pad_messages
from scratchlm.classifier.parts import MOST_TOKENS, log_odds, take_apart
from scratchlm.classifier.reading import Reading
from scratchlm.errors import InputError
from scratchlm.model.config import GPTConfig
from scratchlm.model.init import new_model
from scratchlm.params.choices import Padding, Token

PAD = 39
IDS = [5, 17, 5, 30, 2, 11, 38]
MAX_LENGTH = 10
TEMPERATURE = 1.7
EXACT = {"abs": 1e-6, "rel": 1e-6}


def classifier_of(n_labels: int = 2, context: int = 16, **choices: Any) -> Classifier:
    torch.manual_seed(0)
    gpt = new_model(GPTConfig(40, context, 16, 2, 2), "gpt2", init_std=0.3)
    return Classifier(gpt, n_labels, Reading(**choices, pad_id=PAD)).eval()


def classified(model: Classifier, ids: list[int], max_length: int = MAX_LENGTH) -> list[float]:
    """Return the probabilities of one message alone, as the command line computes them."""
    logits = label_logits(model, pad_messages([ids], PAD, max_length), 1) / TEMPERATURE
    return logits.double().softmax(dim=-1)[0].tolist()


@pytest.mark.parametrize("n_labels", [2, 4])
@pytest.mark.parametrize("causal_mask", [True, False])
@pytest.mark.parametrize("padding", get_args(Padding))
@pytest.mark.parametrize("token", get_args(Token))
def test_all_numbers_are_those_of_messages_classified_one_by_one(
    token: Token, padding: Padding, causal_mask: bool, n_labels: int
) -> None:
    model = classifier_of(n_labels, token=token, padding=padding, causal_mask=causal_mask)
    found = take_apart(model, IDS, MAX_LENGTH, TEMPERATURE)
    whole = classified(model, IDS)
    assert found.probabilities_N.tolist() == pytest.approx(whole, **EXACT)
    assert found.label == whole.index(max(whole))
    for end, row in enumerate(found.reading_TN.tolist(), 1):
        assert row == pytest.approx(classified(model, IDS[:end]), **EXACT)

    def odds(probabilities: list[float]) -> float:
        others = probabilities[: found.label] + probabilities[found.label + 1 :]
        return math.log(probabilities[found.label] / sum(others))

    shortened = [odds(classified(model, IDS[:place] + IDS[place + 1 :])) for place in range(len(IDS))]
    assert found.parts_T.tolist() == pytest.approx([odds(whole) - without for without in shortened], abs=1e-5)


def test_a_token_that_speaks_for_the_label_has_a_part_above_zero() -> None:
    model = classifier_of(token="mean_real", padding="none")
    found = take_apart(model, IDS, MAX_LENGTH, TEMPERATURE)
    best = int(found.parts_T.argmax())
    assert found.parts_T[best] > 0
    without = classified(model, IDS[:best] + IDS[best + 1 :])
    assert without[found.label] < found.probabilities_N[found.label]


def test_what_is_not_read_has_no_part_but_moves_up_where_a_token_is_left_out() -> None:
    model = classifier_of(token="last")
    found = take_apart(model, IDS, 4, TEMPERATURE)
    assert len(found.parts_T) == len(found.reading_TN) == 4
    assert found.probabilities_N.tolist() == pytest.approx(classified(model, IDS[:4], 4), **EXACT)
    without = torch.tensor(classified(model, [*IDS[:2], *IDS[3:5]], 4)).log()
    expected = log_odds(found.probabilities_N.log(), found.label) - log_odds(without, found.label)
    assert float(found.parts_T[2]) == pytest.approx(float(expected), abs=1e-5)


def test_one_token_is_compared_with_the_empty_message() -> None:
    model = classifier_of(token="last_real", padding="none")
    found = take_apart(model, [7], MAX_LENGTH, TEMPERATURE)
    empty = torch.tensor(classified(model, [])).log()
    expected = log_odds(found.probabilities_N.log(), found.label) - log_odds(empty, found.label)
    assert found.parts_T.tolist() == pytest.approx([float(expected)], abs=1e-5)


@pytest.mark.parametrize(("n", "words"), [(0, "0 tokens, wanted 1 to 128: give a longer"), (129, "129 tokens, wanted")])
def test_too_short_and_too_long_messages_are_refused(n: int, words: str) -> None:
    with pytest.raises(InputError, match=words):
        take_apart(classifier_of(context=200), [3] * n, MOST_TOKENS + 5, TEMPERATURE)


def test_the_log_odds_of_two_labels_are_the_difference_of_their_logits() -> None:
    logits = torch.tensor([[2.0, -1.0], [0.5, 0.0]], dtype=torch.float64)
    assert log_odds(logits.log_softmax(dim=-1), 0).tolist() == pytest.approx([3.0, 0.5])
    certain = torch.tensor([0.0, -800.0], dtype=torch.float64)
    assert float(log_odds(certain, 0)) == pytest.approx(800.0)
