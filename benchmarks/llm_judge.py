"""How far a language model agrees with GPT-4 as a judge: python benchmarks/llm_judge.py openai:MODEL

Its server is found as by the pipeline (OPENAI_BASE_URL, OLLAMA_HOST), and so are the cached answers. Reads
judged-answers.json in the folder that SCRATCHLM_MIRROR names: 100 answers of one model, each with GPT-4's score. For
both prompts: how many answers got a score and what became of the others, the agreement with GPT-4 and with `overlap`
on those that did, and the probes. Then pairs, each asked in both orders: answers to which GPT-4 gave less than 50
against their references, which an able judge prefers.
"""

from __future__ import annotations

import json
import os
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from scratchlm.errors import InputError
from scratchlm.judging.answer_cache import AnswerCache, cache_path
from scratchlm.judging.comparison import agreement, spearman
from scratchlm.judging.judges import open_judge
from scratchlm.judging.overlap import OverlapJudge
from scratchlm.judging.pairwise import summarise_pairs
from scratchlm.judging.probes import KINDS, probe_items, summarise_probes
from scratchlm.judging.verdicts import Judge, Row, judge_items
from scratchlm.params.file import load_params

SEED = 123
AT_ONCE = 4
PATIENCE_S = 60.0
BAD_BELOW = 50.0  # GPT-4's score of an answer that is clearly worse than the reference


def read_entries(path: Path) -> tuple[list[Any], np.ndarray]:
    """Read the judged answers as entries, the answer as `base` and the reference as `assistant`, and GPT-4's scores."""
    judged = json.loads(path.read_text(encoding="utf-8"))
    entries = [
        {
            **{"id": number, **{key: one[key] for key in ("instruction", "input", "output")}},
            "base": {"text": one["response"]},
            "assistant": {"text": one["output"]},
        }
        for number, one in enumerate(judged)
    ]
    return entries, np.array([one["gpt4_score"] for one in judged], dtype=float)  # (n,)


def report_scores(judge: Judge, entries: list[Any], gpt_4: np.ndarray, n_probes: int) -> None:
    """Print a judge's coverage, its agreement, and its probes."""
    answers = [("base", entry, entry["base"]["text"]) for entry in entries]
    rows = judge_items(answers, judge, AT_ONCE, PATIENCE_S, "answers")
    scored = [index for index, row in enumerate(rows) if row["score"] is not None]
    statuses = Counter(row["status"] for row in rows)
    print(f"  {len(scored)} of {len(rows)} answers scored: {dict(sorted(statuses.items()))}")
    scores, theirs = np.array([rows[index]["score"] for index in scored], dtype=float), gpt_4[scored]
    if (rank := spearman(scores, theirs)) is not None:
        pearson, difference = np.corrcoef(scores, theirs)[0, 1], np.abs(scores - theirs).mean()
        print(f"  with GPT-4: Pearson {pearson:.2f}, Spearman {rank:.2f}, mean absolute difference {difference:.1f}")
    print(f"  with overlap: {agreement(rows, judge_items(answers, OverlapJudge(), 1, PATIENCE_S, 'answers'))}")
    found = summarise_probes(judge_items(probe_items(entries, n_probes, SEED), judge, AT_ONCE, PATIENCE_S, "probes"))
    shown = ", ".join(f"{name} {shown_value(found[name])}" for name in (*KINDS, "padding_gain", "auc"))
    print(f"  {found['n_scored']} of {found['n']} probes scored: {shown}")


def report_pairs(judge: Judge, entries: list[Any]) -> None:
    """Print how often a judge prefers the reference, and how often the order decides."""
    orders = (("base", "assistant"), ("assistant", "base"))
    pairs: list[Any] = [(one, entry, entry[one]["text"], two) for entry in entries for one, two in orders]
    rows: list[Row] = judge_items(pairs, judge, AT_ONCE, PATIENCE_S, "pairs")
    found = summarise_pairs(rows, ("base", "assistant"), SEED)
    print(f"  {dict(sorted(Counter(row['status'] for row in rows).items()))} of {len(rows)} comparisons")
    print(f"  {', '.join(f'{name} {shown_value(value)}' for name, value in found.items())}")


def shown_value(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}".rstrip("0").rstrip(".")


def main() -> None:
    named = os.environ.get("SCRATCHLM_MIRROR")
    if len(sys.argv) != 2 or not sys.argv[1].startswith(("openai:", "ollama:")) or not named:
        sys.exit(
            "python benchmarks/llm_judge.py openai:MODEL (or ollama:MODEL), with SCRATCHLM_MIRROR naming the folder of "
            "judged-answers.json"
        )
    root, name = Path(__file__).parents[1], sys.argv[1]
    settings = load_params(root / "profiles/sample.yaml").judge
    entries, gpt_4 = read_entries(root / named / "judged-answers.json")
    bad = [entry for entry, score in zip(entries, gpt_4, strict=True) if score < BAD_BELOW]
    with AnswerCache(cache_path()) as cache:
        for prompt in ("book", "rubric"):
            judge = open_judge(name, settings.model_copy(update={"prompt": prompt}), SEED, cache)
            print(f"{name}, prompt {prompt}")
            report_scores(judge, entries, gpt_4, settings.probes)
        print(f"{name}, {len(bad)} bad answers against their references")
        report_pairs(judge, bad)


if __name__ == "__main__":
    try:
        main()
    except (InputError, FileNotFoundError) as error:
        sys.exit(f"llm_judge: error: {error}")
