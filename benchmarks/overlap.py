"""How well the embedded scorer agrees with GPT-4, beside an LLM judge and raw metrics: python benchmarks/overlap.py

Reads the folder that SCRATCHLM_MIRROR names: judged-answers.json (100 answers of one model, each with GPT-4's and
Llama-3-8B's score) and instruction-data-with-response.json (the answers of a fine-tuned GPT-2 medium to the book's
110 test entries). The scorer was chosen on the 50 answers that `CHOSEN` draws; the other 50 are held out.

What was tried on the chosen half (Pearson / Spearman; the scorer now: .855 / .882): quotation marks distinguished
.837 / .882, lower case .842 / .860, no word n-grams .848 / .885, word trigrams .862 / .882, times the share of the
new words found .859 / .886, token F1 in place of chrF++ .795 / .809, numbers ignored .737 / .796. Where two variants
did not differ beyond chance, the simpler one was kept. This half cannot decide whether numbers should be compared by
value ("2.0" is 2, "0.2" is not) or as written, nor whether both parts of the prompt together should count as a third
way of repeating it: both are in because they are right in principle.
"""

from __future__ import annotations

import json
import os
import random
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from sacrebleu.metrics import CHRF

from scratchlm.judging import overlap
from scratchlm.judging.comparison import spearman

Answer = dict[str, Any]
Scorer = Callable[[Answer, str], float]  # an entry and a response to it -> 0 to 100

CHOSEN = frozenset(random.Random(123).sample(range(100), 50))  # the half on which the scorer was chosen
SHUFFLES = 20
CHRF_PLUS_PLUS = CHRF(word_order=2)


def score(entry: Answer, response: str) -> float:
    return overlap.score(entry["instruction"], entry["input"], entry["output"], response).score


SCORERS: dict[str, Scorer] = {
    "overlap": score,
    "raw chrF++": lambda entry, response: float(CHRF_PLUS_PLUS.sentence_score(response, [entry["output"]]).score),
    "token F1": lambda entry, response: overlap.token_f1(response, entry["output"]),
    "exact match": lambda entry, response: 100.0 * (response.strip() == entry["output"].strip()),
}


def agreements(scores: Sequence[float], gpt_4: Sequence[float]) -> dict[str, tuple[float, float]]:
    """Return Pearson's and Spearman's correlation with GPT-4, on all answers and on each half."""
    halves = {
        "all": range(len(scores)),
        "chosen": sorted(CHOSEN),
        "held out": [index for index in range(len(scores)) if index not in CHOSEN],
    }
    found = {}
    for name, indices in halves.items():
        ours, theirs = (np.array([column[index] for index in indices], dtype=float) for column in (scores, gpt_4))
        rank = spearman(ours, theirs)
        assert rank is not None, "a scorer gave all answers the same score"
        found[name] = (float(np.corrcoef(ours, theirs)[0, 1]), rank)
    return found


def sanity(entries: Sequence[Answer], scorer: Scorer) -> dict[str, float]:
    """Return a scorer's mean on answers of known quality to the 110 entries."""

    def mean(responses: Sequence[str]) -> float:
        return float(np.mean([scorer(entry, text) for entry, text in zip(entries, responses, strict=True)]))

    references = [entry["output"] for entry in entries]
    shuffled = [random.Random(seed).sample(references, len(references)) for seed in range(SHUFFLES)]
    return {
        "references": mean(references),
        "fine-tuned GPT-2 medium": mean([entry["model_response"] for entry in entries]),
        f"references, shuffled (mean of {SHUFFLES})": float(np.mean([mean(responses) for responses in shuffled])),
        "instruction repeated": mean([entry["instruction"] for entry in entries]),
        "input repeated": mean([entry["input"] for entry in entries]),
        "both repeated": mean([f"{entry['instruction']}\n{entry['input']}" for entry in entries]),
        "nothing": mean([""] * len(entries)),
    }


def read_list(path: Path) -> list[Answer]:
    return list(json.loads(path.read_text(encoding="utf-8")))


def main() -> None:
    named = os.environ.get("SCRATCHLM_MIRROR")
    if not named:
        sys.exit("set SCRATCHLM_MIRROR to the folder with judged-answers.json")
    folder = Path(__file__).parents[1] / named
    answers = read_list(folder / "judged-answers.json")
    gpt_4 = [answer["gpt4_score"] for answer in answers]
    columns = {"Llama-3-8B, an LLM judge": [answer["llama3_8b_score"] for answer in answers]}
    columns |= {name: [scorer(one, one["response"]) for one in answers] for name, scorer in SCORERS.items()}
    print(f"agreement with GPT-4 on {len(answers)} answers: Pearson / Spearman")
    print(f"{'':26}{'all':>14}{'chosen half':>16}{'held-out half':>16}")
    for name, scores in columns.items():
        pairs = (f"{pearson:.3f} / {rank:.3f}" for pearson, rank in agreements(scores, gpt_4).values())
        print(f"{name:26}" + "".join(f"{pair:>{width}}" for pair, width in zip(pairs, (14, 16, 16), strict=True)))
    entries = read_list(folder / "instruction-data-with-response.json")
    means = {name: sanity(entries, scorer) for name, scorer in SCORERS.items()}
    print(f"\nmean score of answers to {len(entries)} entries")
    print(f"{'':38}" + "".join(f"{name:>13}" for name in means))
    for row in means["overlap"]:
        print(f"{row:38}" + "".join(f"{means[name][row]:>13.2f}" for name in means))


if __name__ == "__main__":
    main()
