"""What `scratchlm next` shows is the distribution from which generation draws."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
import torch

from scratchlm.generation import decode
from scratchlm.generation.decode import Sampling, generate
from scratchlm.generation.next_token import bar, describe_expected, expect_token
from scratchlm.model.config import GPTConfig
from scratchlm.model.gpt import GPT
from scratchlm.model.init import new_model
from scratchlm.model.next_token import draw
from scratchlm.tokenizer.folder import read_tokenizer

PROMPT = [5, 90, 17, 3]


@pytest.fixture(scope="module")
def model() -> GPT:
    torch.manual_seed(3)
    return new_model(GPTConfig(280, 40, 32, 4, 2, 0.1, qkv_bias=True, tie_embeddings=False), "gpt2", 0.3).eval()


@pytest.mark.parametrize("top_k", [None, 1, 7, 280, 1000])
@pytest.mark.parametrize("temperature", [0.01, 0.5, 1.0, 100.0])
def test_it_is_exactly_what_generation_draws_from(
    model: GPT, temperature: float, top_k: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn_from = []

    def note(probabilities_BV: torch.Tensor, generators: Sequence[torch.Generator]) -> torch.Tensor:
        drawn_from.append(probabilities_BV[0])
        return draw(probabilities_BV, generators)

    monkeypatch.setattr(decode, "draw", note)
    sampling = Sampling(temperature, top_k, seed=1)
    generate(model, [PROMPT], 2, (), sampling, batch_size=1)
    assert torch.equal(expect_token(model, PROMPT, sampling), drawn_from[0])
    assert not torch.equal(drawn_from[0], drawn_from[1])


@pytest.mark.parametrize(("temperature", "top_k"), [(1.0, None), (0.5, None), (3.0, 7)])
def test_it_is_the_softmax_of_the_kept_logits_over_the_temperature(
    model: GPT, temperature: float, top_k: int | None
) -> None:
    with torch.no_grad():
        logits = model(torch.tensor([PROMPT]))[0, -1]
    kept = logits.topk(top_k or 280).indices
    expected = torch.zeros(280)
    expected[kept] = (logits[kept] / temperature).softmax(dim=0)
    assert torch.allclose(expect_token(model, PROMPT, Sampling(temperature, top_k)), expected, atol=1e-6)


def test_at_temperature_0_the_token_that_generation_takes_has_all(model: GPT) -> None:
    (given,) = generate(model, [PROMPT], 1, (), Sampling(), batch_size=1)
    expected = expect_token(model, PROMPT, Sampling())
    assert expected[given.ids[0]] == expected.sum() == 1


def test_the_table_has_the_likeliest_first_and_what_is_left(model: GPT, tokenizer_folder: Path) -> None:
    tokenizer = read_tokenizer(tokenizer_folder)
    probabilities = torch.zeros(280)
    probabilities[[7, 30, 2, 100]] = torch.tensor([0.25, 0.5, 0.125, 0.125])
    top = describe_expected(tokenizer, probabilities, 3).splitlines()
    assert [line.split()[:3] for line in top[1:4]] == [["30", "50.00", "%"], ["7", "25.00", "%"], ["2", "12.50", "%"]]
    assert top[1].count("█") == 20 and top[2].count("█") == 10
    assert top[4].split()[:2] == ["12.50", "%"] and top[4].endswith("  1 others")
    assert describe_expected(tokenizer, probabilities, 4).splitlines()[4].split()[0] == "100"
    assert len(describe_expected(tokenizer, probabilities, 280).splitlines()) == 5  # no token that cannot be drawn
    whole = describe_expected(tokenizer, expect_token(model, PROMPT, Sampling(1.0)), 280)
    assert sum(float(line.split()[1]) for line in whole.splitlines()[1:]) == pytest.approx(100, abs=1.5)
    assert all(len(line) <= 80 for line in whole.splitlines())


@pytest.mark.parametrize(
    ("fraction", "drawn"), [(1.0, "█" * 40), (0.5, "█" * 20), (1 / 40, "█"), (0.5 / 40, "▌"), (1e-9, ""), (0.0, "")]
)
def test_a_bar_is_as_long_as_the_probability(fraction: float, drawn: str) -> None:
    assert bar(fraction) == drawn
