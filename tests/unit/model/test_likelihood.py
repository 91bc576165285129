"""The log-likelihood of a text's end: the sum of its tokens' log-probabilities, in whatever batch and on any device."""

from __future__ import annotations

from itertools import product
from typing import Any

import pytest
import torch
from tiny_models import ARCHITECTURES, config_of
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from scratchlm.model.init import new_model
from scratchlm.model.language_model import LanguageModel
from scratchlm.model.likelihood import log_likelihoods, next_log_probs, score_tokens

CONTEXT = 12
TEXTS = [[5, 9, 3, 30, 7], [2, 2], [7] * (CONTEXT + 1), [1, 30, 4, 8, 12, 20, 3]]
N_SCORED = [3, 1, CONTEXT, 2]
TOLERANCE = 1e-4  # nats, float32


@pytest.fixture(scope="module", params=product(ARCHITECTURES, [True, False]), ids=str)
def model(request: pytest.FixtureRequest) -> LanguageModel:
    torch.manual_seed(2)
    architecture, tied = request.param
    return new_model(config_of(architecture, 40, CONTEXT, 16, 2, 2, 0.5, tie_embeddings=tied), "gpt2", 1.0).eval()


@torch.no_grad()
def readable(model: LanguageModel, text: list[int], n_scored: int) -> float:
    """Sum log P(token | all before), token by token."""
    ends = range(len(text) - n_scored, len(text))
    return sum(model(torch.tensor([text[:end]]))[0, -1].double().log_softmax(dim=0)[text[end]].item() for end in ends)


@pytest.mark.parametrize("logits", [1, 3, 512])
def test_it_is_the_sum_over_the_scored_tokens_whatever_the_batch(
    model: LanguageModel, logits: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("scratchlm.model.likelihood.LOGITS_AT_ONCE", logits)
    expected = [readable(model, text, n) for text, n in zip(TEXTS, N_SCORED, strict=True)]
    assert log_likelihoods(model, TEXTS, N_SCORED).tolist() == pytest.approx(expected, abs=TOLERANCE)
    for text, n, one in zip(TEXTS, N_SCORED, expected, strict=True):
        assert log_likelihoods(model, [text], [n]).item() == pytest.approx(one, abs=TOLERANCE)


@pytest.mark.parametrize("logits", [1, 3, 512])
def test_every_token_but_the_first_is_scored_whatever_the_batch(
    model: LanguageModel, logits: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("scratchlm.model.likelihood.LOGITS_AT_ONCE", logits)
    texts = [*TEXTS, [8]]
    for text, scores in zip(texts, score_tokens(model, texts, 3), strict=True):
        assert len(scores.log_probs_S) == len(scores.likeliest) == len(text) - 1
        for end in range(1, len(text)):
            with torch.no_grad():
                log_probs_V = model(torch.tensor([text[:end]]))[0, -1].log_softmax(dim=0)
            assert scores.log_probs_S[end - 1].item() == pytest.approx(log_probs_V[text[end]].item(), abs=TOLERANCE)
            top = log_probs_V.topk(3)
            assert scores.likeliest[end - 1].tolist() == top.indices.tolist()
            assert scores.likeliest_log_probs[end - 1].tolist() == pytest.approx(top.values.tolist(), abs=TOLERANCE)


def test_texts_of_one_token_have_nothing_to_score(model: LanguageModel) -> None:
    (scores,) = score_tokens(model, [[8]], 3)
    assert (scores.log_probs_S.shape, scores.likeliest.shape, scores.likeliest_log_probs.shape) == (
        (0,),
        (0, 3),
        (0, 3),
    )


class Float64Watch(TorchDispatchMode):
    """Notes the operations that give float64 until a result is fetched from the device."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        super().__init__()
        self.fetched, self.noted = 0, list[str]()
        fetch = Tensor.cpu

        def note_fetch(tensor: Tensor) -> Tensor:
            self.fetched += 1
            return fetch(tensor)

        monkeypatch.setattr(Tensor, "cpu", note_fetch)

    def __torch_dispatch__(self, operation: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = operation(*args, **(kwargs or {}))
        if not self.fetched and isinstance(result, Tensor) and result.dtype == torch.float64:
            self.noted.append(str(operation))
        return result


def test_the_device_needs_no_float64_which_apples_gpus_do_not_have(
    model: LanguageModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Float64Watch(monkeypatch) as watch:
        assert log_likelihoods(model, TEXTS, N_SCORED).dtype == torch.float64
    assert (watch.fetched, watch.noted) == (1, [])


@pytest.mark.parametrize("start", [[], [4], [5, 9, 3, 30]])
def test_the_next_tokens_are_as_likely_as_each_text_alone_says_whatever_the_texts_share(
    model: LanguageModel, start: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    texts = [start + end for end in ([7, 1], [2], [3, 3, 9, 8], [2, 11])]
    tokens = [17, 0, 39]
    with torch.no_grad():
        expected = [model(torch.tensor([text]))[0, -1].log_softmax(dim=0)[tokens].tolist() for text in texts]
    computed: list[tuple[int, ...]] = []
    model.h[0].register_forward_pre_hook(lambda _, inputs: computed.append(tuple(inputs[0].shape[:2])))
    found = next_log_probs(model, texts, tokens)
    assert torch.allclose(found, torch.tensor(expected), atol=TOLERANCE)
    assert computed == ([(1, len(start))] if start else []) + [(4, 4)]
    for text, one in zip(texts, expected, strict=True):
        assert next_log_probs(model, [text], tokens)[0].tolist() == pytest.approx(one, abs=TOLERANCE)
