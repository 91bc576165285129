"""The report: readable as text, the same for the same seed, and nothing that a model says is markup in it."""

from __future__ import annotations

from typing import Any

import pytest
from answered import Winners, answer, answered, pair_rows
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from scratchlm.assistant.instructions import COMPARED, VARIANTS
from scratchlm.judging.report import write_report

HOSTILE = (
    "```\n# Heading\n````` five\n<b>bold</b> <script>alert(1)</script>\n| a | b |\n|---|---|\n"
    "[link](http://example.org) ![image](x.png)\n\n    ~~~\n> quote\n- list\n---\n"
)
BASE, PREFERRED = COMPARED.values()


def make_entry(number: int, **changes: Any) -> dict[str, Any]:
    base = answer("The the the", "length")
    return answered(number, "", "An apple.", "Gladly: an apple.", input="red", output="A cherry.", base=base) | changes


def make_rows(scores: list[tuple[float | None, float | None]]) -> list[dict[str, Any]]:
    """Rows of entries by the scores of base and assistant; the preferred answer has 50."""
    return [
        {
            "id": identifier,
            "variant": variant,
            "status": "ok" if score is not None else "parse_error",
            "score": score,
            "reason": "" if score is not None else "no number in the answer",
        }
        for identifier, pair in enumerate(scores)
        for variant, score in zip(VARIANTS, (*pair, 50.0), strict=True)
    ]


def headings(report: str) -> list[str]:
    return [line for line in report.splitlines() if line.startswith("## ")]


def test_one_entry_reads_as_it_should() -> None:
    entry = make_entry(0, assistant=answer("An apple,\nor a pear."))
    verdicts = {"ollama:llama3": make_rows([(None, 87.25)]), "overlap": make_rows([(0.0, 12.0)])}
    report = write_report([entry], verdicts, {}, {}, seed=123)
    assert report.splitlines()[4:] == [
        "## Entry 0: without a score",
        "",
        "```text",
        "instruction  Name fruit 0.",
        "input        red",
        "reference    A cherry.",
        "",
        "base         The the the",
        "             -> 3 tokens, cut at the limit",
        "             -> ollama:llama3 no score (parse_error): no number in the answer",
        "             -> overlap 0.0",
        "",
        "assistant    An apple,",
        "             or a pear.",
        "             -> 5 tokens, ended by itself",
        "             -> ollama:llama3 87.2",
        "             -> overlap 12.0",
        "",
        "preferred    Gladly: an apple.",
        "             -> 3 tokens, ended by itself",
        "             -> ollama:llama3 50.0",
        "             -> overlap 50.0",
        "```",
    ]


def test_pairs_stand_below_the_scores_with_the_verdict_of_each_order() -> None:
    def both(first: Winners, second: Winners) -> list[dict[str, Any]]:
        return [*pair_rows([first], BASE), *pair_rows([second], PREFERRED)]

    pairs = {
        "ollama:llama3": both(("base", "assistant"), ("preferred", "preferred")),
        "x": both(("assistant", "assistant"), ("tie", None)),
    }
    report = write_report([make_entry(0)], {"overlap": make_rows([(0.0, 12.0)])}, pairs, {}, seed=123)
    assert "all scores in `data/verdicts.json`, all verdicts of pairs in `data/pairwise.json`.\n" in report
    assert report.splitlines()[-18:] == [
        "             -> overlap 50.0",
        "",
        "better       ollama:llama3: tie (assistant against base)",
        "             -> base shown first: base: Because.",
        "             -> assistant shown first: assistant: Because.",
        "",
        "better       ollama:llama3: preferred (preferred against assistant)",
        "             -> assistant shown first: preferred: Because.",
        "             -> preferred shown first: preferred: Because.",
        "",
        "better       x: assistant (assistant against base)",
        "             -> base shown first: assistant: Because.",
        "             -> assistant shown first: assistant: Because.",
        "",
        "better       x: no verdict (preferred against assistant)",
        "             -> assistant shown first: tie: Because.",
        "             -> preferred shown first: parse_error: no verdict",
        "```",
    ]


def test_ten_entries_are_drawn_by_the_seed_and_ordered_by_the_gain() -> None:
    entries = [make_entry(identifier) for identifier in range(40)]
    rows = make_rows([(10.0, float(identifier)) for identifier in range(40)])
    report = write_report(entries, {"overlap": rows}, {}, {}, seed=123)
    gains = [float(line.split(": ")[1]) for line in headings(report)]
    assert len(gains) == 10 and gains == sorted(gains, reverse=True) and min(gains) < 0 < max(gains)
    assert report.startswith("# The answers of all models, side by side\n\n10 of the 40 test entries, drawn at random")
    assert report == write_report(entries, {"overlap": rows}, {}, {}, seed=123)
    assert headings(report) != headings(write_report(entries, {"overlap": rows}, {}, {}, seed=124))
    # Another judge's scores neither choose nor order.
    other = {"overlap": rows, "ollama:llama3": make_rows([(50.0, 0.0)] * 40)}
    assert headings(write_report(entries, other, {}, {}, seed=123)) == headings(report)


def test_entries_without_both_scores_come_last() -> None:
    report = write_report(
        [make_entry(identifier) for identifier in range(3)],
        {"overlap": make_rows([(None, 90.0), (90.0, 10.0), (0.0, 20.0)])},
        {},
        {},
        seed=1,
    )
    assert headings(report) == ["## Entry 2: +20.0", "## Entry 1: -80.0", "## Entry 0: without a score"]


def test_fewer_entries_than_ten_are_all_shown() -> None:
    assert len(headings(write_report([make_entry(0)], {"overlap": make_rows([(0.0, 1.0)])}, {}, {}, seed=5))) == 1


@pytest.mark.parametrize("where", ["instruction", "input", "output", *VARIANTS])
def test_nothing_that_stands_in_a_text_is_markup(where: str) -> None:
    change: Any = answer(HOSTILE) if where in VARIANTS else HOSTILE
    report = write_report([make_entry(0, **{where: change})], {"overlap": make_rows([(0.0, 1.0)])}, {}, {}, seed=1)
    assert_only_code(report, 1)
    for piece in ("<script>alert(1)</script>", "| a | b |", "[link](http://example.org)", "````` five"):
        assert piece in MarkdownIt().parse(report)[-1].content


@given(st.text(st.sampled_from("`~#<>|*_[]()!-= \n\r\ta\x00\x1b\u2028é漢")))
def test_whatever_a_model_says_stays_in_its_code_block(text: str) -> None:
    report = write_report([make_entry(0, assistant=answer(text))], {"overlap": make_rows([(0.0, 1.0)])}, {}, {}, seed=1)
    assert_only_code(report, 1)
    assert all(char.isprintable() or char == "\n" for char in report)


def assert_only_code(report: str, blocks: int) -> None:
    tokens = [token.type for token in MarkdownIt("commonmark").parse(report) if not token.type.endswith("_close")]
    entry = ["heading_open", "inline", "fence"]
    assert tokens == ["heading_open", "inline", "paragraph_open", "inline", *entry * blocks]


def test_what_does_not_show_is_written_as_an_escape_and_nothing_as_such() -> None:
    entry = make_entry(0, input="", base=answer(""), assistant=answer("a\x1b[31mb\u202ec"))
    report = write_report([entry], {"overlap": make_rows([(0.0, 1.0)])}, {}, {}, seed=1)
    assert "assistant    a\\x1b[31mb\\u202ec" in report
    assert "base         (nothing)" in report
    assert "input " not in report


def test_lines_fit_a_screen() -> None:
    entry = make_entry(0, instruction="word " * 100, output="x" * 400)
    report = write_report([entry], {"overlap": make_rows([(0.0, 1.0)])}, {}, {}, seed=1)
    block = report.split("```text\n")[1]
    assert max(map(len, block.splitlines())) <= 100
    assert block.count("word") == 100 and block.count("x") == 400
