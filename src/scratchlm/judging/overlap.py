"""The embedded scorer: how much of the reference an answer holds beyond what the prompt already gave.

Plain overlap is not honest: an answer that repeats the prompt shares half its letters with most references.
So each item's score starts where its own prompt ends: the most that repeating instruction, input or both would
get counts as nothing, the reference as 100. It is no LLM judge: it misses paraphrase and rewards near misses in
wording.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from decimal import Decimal
from functools import lru_cache
from typing import TYPE_CHECKING

from scratchlm.judging.verdicts import Judge, Verdict

if TYPE_CHECKING:
    from sacrebleu.metrics.chrf import CHRF

NUMBER = re.compile(r"\d{1,3}(?:,\d{3})+(?!\d)(?:\.\d+)?|\d+(?:\.\d+)?")  # 1,000.5 and 12 and 2.0
# Which quotation marks are used is no content.
QUOTATION_MARKS = str.maketrans(dict.fromkeys('"\u2018\u2019\u201a\u201c\u201d\u201e«»', "'"))
WORD = re.compile(r"\w+")


@dataclass(frozen=True)
class OverlapScore:
    """One answer's score with what it was made of; all but `exact_match` and `missing_numbers` on 0-100."""

    score: float
    chrf: float  # chrF++ against the reference
    prompt_chrf: float  # the most that repeating the prompt, or a part of it, would have got
    token_f1: float
    exact_match: bool
    missing_numbers: tuple[str, ...]  # not empty: the score is 0 for them


def score(instruction: str, input: str, output: str, response: str) -> OverlapScore:
    """Score `response` against the reference `output`, 0 for repeating the prompt and 100 for the reference.

    With b the highest chrF++ of instruction, input and both, the score is 100 * max(0, (chrF++ - b) / (100 - b)),
    and 0 where the reference holds a number that the prompt does not and the response lacks. Where the prompt
    already holds the whole reference (b = 100), only the whole reference scores.
    """
    prompt = f"{instruction}\n{input}"
    chrf = chrf_plus_plus(response, output)
    # chrF++ sees no white space around a text, so that without an input the prompt is the instruction.
    prompt_chrf = max(chrf_plus_plus(text, output) for text in {instruction.strip(), input.strip(), prompt.strip()})
    missing = missing_numbers(prompt, output, response)
    if missing:
        corrected = 0.0
    elif prompt_chrf < 100.0:
        corrected = 100.0 * max(0.0, (chrf - prompt_chrf) / (100.0 - prompt_chrf))
    else:
        corrected = 100.0 if chrf == 100.0 else 0.0
    exact_match = response.strip() == output.strip()
    return OverlapScore(corrected, chrf, prompt_chrf, token_f1(response, output), exact_match, missing)


def signature() -> str:
    """The scorer's name and every setting that decides its figures, sacrebleu's version included."""
    # sacrebleu fills the number of references in when it first scores.
    metric = _metric("a")
    metric.corpus_score(["a"], None)
    return f"overlap|prompt-corrected|number-values|quotes-alike|{metric.get_signature()}"


@lru_cache(maxsize=4096)
def chrf_plus_plus(hypothesis: str, reference: str) -> float:
    """chrF++ (Popović 2017) of one text against one reference, 0-100, case kept, by sacrebleu.

    All quotation marks are taken for the same one. Cached: the answers to one entry share the scores of its
    instruction and input.
    """
    metric = _metric(reference.translate(QUOTATION_MARKS))
    return float(metric.corpus_score([hypothesis.translate(QUOTATION_MARKS)], None).score)  # a corpus of one


def token_f1(response: str, output: str) -> float:
    """Harmonic mean of word precision and recall, 0-100, over lower-cased words as a bag.

    >>> token_f1("The cat sat.", "the cat sat down")
    85.71428571428571
    """
    got, wanted = (Counter(WORD.findall(text.lower())) for text in (response, output))
    common = (got & wanted).total()
    return 100.0 * 2 * common / (got.total() + wanted.total()) if common else 0.0


def missing_numbers(prompt: str, output: str, response: str) -> tuple[str, ...]:
    """The numbers of the reference whose values stand neither in the prompt nor in the response, in order.

    >>> missing_numbers("Add 6 and 8.", "6 + 8 = 14.", "6 + 8 = 15.")
    ('14',)
    >>> missing_numbers("How many metres are 2 km?", "2,000 m", "2000.0 m")
    ()
    """
    known = {_value(number) for text in (prompt, response) for number in NUMBER.findall(text)}
    return tuple(dict.fromkeys(number for number in NUMBER.findall(output) if _value(number) not in known))


def _value(number: str) -> Decimal:
    return Decimal(number.replace(",", ""))


class OverlapJudge(Judge):
    """The embedded scorer as a judge: no server, no model, the same figures everywhere."""

    name = "overlap"

    def __init__(self) -> None:
        self.model = signature()

    def judge(self, verdict: Verdict, may_ask: bool = True) -> int:
        """Score one answer and put the raw measures beside it."""
        entry = verdict.entry
        overlap = score(entry["instruction"], entry["input"], entry["output"], verdict.response)
        verdict.columns = {name: getattr(overlap, name) for name in ("exact_match", "token_f1", "chrf", "prompt_chrf")}
        verdict.attempts, verdict.status, verdict.score, verdict.reason = 1, "ok", overlap.score, ""
        if not verdict.response.strip():
            verdict.status, verdict.score, verdict.reason = "empty", 0.0, "the response is empty"
        elif overlap.missing_numbers:
            verdict.reason = f"lacks the reference's {', '.join(overlap.missing_numbers)}"
        return 0


@lru_cache(maxsize=256)
def _metric(reference: str) -> CHRF:
    """chrF++ against one reference, whose n-grams are counted once for all answers to its entry."""
    from sacrebleu.metrics.chrf import CHRF  # takes a quarter of a second to import

    return CHRF(word_order=2, references=[[reference]])
