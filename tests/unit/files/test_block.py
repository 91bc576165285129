"""Texts in a code block: wrapped beside their labels, and unable to end the block."""

from __future__ import annotations

from scratchlm.files.block import labelled


def test_a_text_stands_beside_its_label_line_by_line() -> None:
    assert list(labelled("answer", "One.\n\nTwo.")) == ["answer       One.", "", "             Two."]


def test_long_lines_are_wrapped_and_what_does_not_show_is_escaped() -> None:
    lines = list(labelled("answer", "word " * 40 + "\x1b"))
    assert len(lines) == 3 and max(map(len, lines)) <= 100
    assert lines[-1].endswith("\\x1b")


def test_a_fence_in_a_text_does_not_end_the_block() -> None:
    for line in labelled("answer", "```\n```\r```\r\n~~~"):
        assert line.startswith(("answer", "    "))
