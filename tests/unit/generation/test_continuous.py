"""Requests that join and leave a running batch are continued as they are alone."""

from __future__ import annotations

from dataclasses import dataclass
from types import SimpleNamespace

import psutil
import pytest
import torch
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from tiny_models import ARCHITECTURES, EACH, config_of
from torch import Tensor

from scratchlm.generation import continuous
from scratchlm.generation.continuous import NewToken, Request, Row, RunningBatch
from scratchlm.generation.decode import Sampling, decode, generate
from scratchlm.model.config import Architecture
from scratchlm.model.init import new_model
from scratchlm.model.language_model import LanguageModel

VOCAB_SIZE, CONTEXT = 30, 24
GREEDY = Sampling()
FREE: frozenset[int] = frozenset()


def make_model(architecture: Architecture) -> LanguageModel:
    """A tiny model in double precision, so that rounding never decides between two tokens."""
    torch.manual_seed(3)
    return new_model(config_of(architecture, VOCAB_SIZE, CONTEXT, 16, 2, 2), "gpt2", init_std=0.5).double().eval()


MODELS = {architecture: make_model(architecture) for architecture in ARCHITECTURES}
PROMPTS = st.integers(1, CONTEXT - 1).flatmap(
    lambda n: st.lists(st.integers(0, VOCAB_SIZE - 1), min_size=n, max_size=n)
)
SAMPLING = st.builds(
    Sampling, st.sampled_from([0.0, 0.01, 1.0, 100.0]), st.none() | st.integers(1, VOCAB_SIZE + 9), st.integers(0, 9)
)
REQUESTS = st.builds(
    Request,
    PROMPTS.map(tuple),
    st.integers(1, CONTEXT + 9),
    st.frozensets(st.integers(0, VOCAB_SIZE - 1), max_size=3),
    SAMPLING,
    st.none() | st.integers(0, VOCAB_SIZE + 3),
)


@dataclass
class Visit:
    """A request that comes, and leaves after so many turns of the loop, if it has not ended."""

    request: Request
    comes_after: int  # turns after the one before it
    leaves_after: int | None


VISITS = st.lists(st.builds(Visit, REQUESTS, st.integers(0, 5), st.none() | st.integers(0, 9)), min_size=1, max_size=12)


def run(model: LanguageModel, n_rows: int, visits: list[Visit]) -> list[tuple[list[NewToken], str | None]]:
    """Let visits come and go as an engine does; return the tokens of each, and how it ended."""
    batch = RunningBatch(model, n_rows)
    coming = list(enumerate(visits))
    tokens: list[list[NewToken]] = [[] for _ in visits]
    ends: list[str | None] = [None] * len(visits)
    present: dict[Row, int] = {}
    turns_left: dict[Row, int] = {}
    wait = 0
    while coming or present:
        wait += 1
        while coming and len(present) < n_rows and wait > coming[0][1].comes_after:
            number, visit = coming.pop(0)
            row = batch.admit(visit.request)
            present[row] = number
            if visit.leaves_after is not None:
                turns_left[row] = visit.leaves_after
            wait = 0
        gone = [row for row in present if turns_left.get(row) == 0]
        batch.drop(gone)
        for row in gone:
            del present[row]
        turns_left = {row: turns - 1 for row, turns in turns_left.items()}
        for row, token, finish in batch.read() + batch.step():
            if token is not None:
                tokens[present[row]].append(token)
            if finish is not None:
                ends[present.pop(row)] = finish
        assert {*batch.joining, *batch.running} == set(present)
        assert batch._cache.keys.shape[1] == n_rows and batch._cache.keys.shape[3] <= CONTEXT
    return list(zip(tokens, ends, strict=True))


@EACH
@given(st.data(), VISITS, st.integers(1, 4), st.integers(1, 40))
@settings(max_examples=40, phases=[Phase.generate])  # shrinking would take minutes
def test_whoever_comes_and_goes_each_request_gets_what_it_gets_alone(
    architecture: Architecture, data: st.DataObject, visits: list[Visit], n_rows: int, read_tokens: int
) -> None:
    model = MODELS[architecture]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(continuous, "READ_TOKENS", read_tokens)
        found = run(model, n_rows, visits)
    for visit, (tokens, end) in zip(visits, found, strict=True):
        request, ids = visit.request, [token.id for token in tokens]
        (alone,) = generate(
            model, [request.ids], request.max_new_tokens, request.stop_ids, request.sampling, batch_size=1
        )
        if end is None:
            assert visit.leaves_after is not None and ids == alone.ids[: len(ids)]
        else:
            assert ids == alone.ids and (end == "stop") == alone.stopped


@EACH
def test_a_request_alone_in_float32_draws_exactly_what_decode_draws(architecture: Architecture) -> None:
    model = make_model(architecture).float()
    for sampling in (GREEDY, Sampling(1.3, 10, 5), Sampling(0.7, None, 6)):
        batch = RunningBatch(model, 3)
        batch.admit(Request((3, 1, 4), 20, FREE, sampling))
        ids = [token.id for _, token, _ in batch.read() if token]
        while batch.running:
            ids += [token.id for _, token, _ in batch.step() if token]
        assert ids == [token for _, token in decode(model, [(3, 1, 4)], 20, FREE, sampling)]


def test_logarithms_are_those_of_the_model_itself_whatever_the_sampling() -> None:
    model = MODELS["gpt2"]
    requests = [
        Request((1, 2, 3), 9, FREE, Sampling(3.0, 4, 1), n_logprobs=5),
        Request((4,), 9, FREE, GREEDY, n_logprobs=0),
        Request((5, 6), 9, FREE, Sampling(1.0, None, 2)),
        Request((7, 8), 9, FREE, GREEDY, n_logprobs=VOCAB_SIZE + 5),
    ]
    for request, (tokens, _) in zip(requests, run(model, 4, [Visit(one, 0, None) for one in requests]), strict=True):
        text = [*request.ids, *(token.id for token in tokens)]
        with torch.no_grad():
            logprobs_TV = model(torch.tensor([text]))[0, len(request.ids) - 1 :].float().log_softmax(-1)
        for token, logprobs_V in zip(tokens, logprobs_TV, strict=False):
            if request.n_logprobs is None:
                assert token.logprob is None and token.likeliest == ()
                continue
            n_shown = min(request.n_logprobs, VOCAB_SIZE)
            assert token.logprob == pytest.approx(float(logprobs_V[token.id]), abs=1e-5)
            assert [value for _, value in token.likeliest] == pytest.approx(
                logprobs_V.sort(descending=True).values[:n_shown].tolist(), abs=1e-5
            )
            assert [float(logprobs_V[shown]) for shown, _ in token.likeliest] == pytest.approx(
                [value for _, value in token.likeliest], abs=1e-5
            )


def test_short_prompts_are_read_together_and_a_long_one_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    model = MODELS["gpt2"]
    monkeypatch.setattr(continuous, "READ_TOKENS", 8)
    seen: list[tuple[int, ...]] = []
    hook = model.wte.register_forward_pre_hook(lambda _, inputs: seen.append(tuple(inputs[0].shape)))
    batch = RunningBatch(model, 8)
    try:
        for length in (3, 4, 1, 20, 2):
            batch.admit(Request((1,) * length, 20, FREE, GREEDY))
        finished = [[len(row.request.ids) for row, _, _ in batch.read()] for _ in range(6)]
    finally:
        hook.remove()
    assert seen == [(2, 4), (1, 1), (1, 8), (1, 8), (1, 4), (1, 2)]
    assert finished == [[3, 4], [1], [], [], [20], [2]]


def test_rows_that_run_go_on_while_a_long_prompt_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(continuous, "READ_TOKENS", 4)
    batch = RunningBatch(MODELS["gpt2"], 2)
    short = batch.admit(Request((1, 2), 20, FREE, GREEDY))
    batch.read()
    long = batch.admit(Request((3,) * 18, 2, FREE, GREEDY))
    came = [row for _ in range(5) for row, _, _ in batch.read() + batch.step()]
    assert came == [short] * 4 + [long, short, long]


def test_a_long_prompt_that_leaves_while_it_is_read_leaves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    model = MODELS["gpt2"]
    monkeypatch.setattr(continuous, "READ_TOKENS", 4)
    batch = RunningBatch(model, 2)
    first = batch.admit(Request((1,) * 18, 5, FREE, GREEDY))
    batch.admit(Request((2, 3) * 5, 5, FREE, GREEDY))
    batch.read()
    batch.drop([first])
    ids = []
    while batch.joining or batch.running:
        ids += [token.id for _, token, _ in batch.read() + batch.step() if token]
    assert ids == generate(model, [[2, 3] * 5], 5, FREE, GREEDY, 1)[0].ids


def test_the_model_never_sees_more_than_its_context() -> None:
    model = MODELS["gpt2"]
    seen: list[int] = []

    def note(position_embedding: torch.nn.Module, inputs: tuple[Tensor]) -> None:
        seen.extend(inputs[0].flatten().tolist())

    hook = model.wpe.register_forward_pre_hook(note)  # type: ignore[operator, union-attr]
    try:
        requests = [Request((1,) * length, 2 * CONTEXT, FREE, GREEDY) for length in (1, 20, CONTEXT - 1)]
        found = run(model, 3, [Visit(request, 1, None) for request in requests])
    finally:
        hook.remove()
    assert [(len(tokens), end) for tokens, end in found] == [(CONTEXT - 1, "length"), (4, "length"), (1, "length")]
    assert max(seen) == CONTEXT - 2  # the last token that is chosen never enters the model


def test_the_cache_grows_with_the_longest_text_as_far_as_memory_allows(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where memory ends before the model's context, it ends the answer that is too long, and no other."""
    model = MODELS["gpt2"]
    n_bytes = 2 * 2 * 3 * 16 * 8  # keys and values, blocks, rows, width, bytes of float64: of each column
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(total=11 * n_bytes + 1))
    batch = RunningBatch(model, 3)
    assert batch.context == 11
    requests = [Request((1, 2, 3), 19, FREE, GREEDY), Request((4,), 10, FREE, GREEDY)]
    widths = []
    hook = model.wte.register_forward_pre_hook(lambda *_: widths.append(batch._cache.keys.shape[3]))
    rows = [batch.admit(request) for request in requests]
    came: dict[Row, list[int]] = {row: [] for row in rows}
    ends = {}
    try:
        while batch.joining or batch.running:
            for row, token, finish in batch.read() + batch.step():
                came[row] += [token.id] if token else []
                ends[row] = finish
    finally:
        hook.remove()
    assert list(ends.values()) == ["length", "length"]
    for row, n in zip(rows, (8, 10), strict=True):
        assert came[row] == generate(model, [row.request.ids], n, FREE, GREEDY, 1)[0].ids
    assert widths == [0, *[6] * 3, *[11] * 6] and MODELS["gpt2"].config.context_length == CONTEXT
