"""The benchmark of the servers: it reads answers right, and both servers say the same."""

from __future__ import annotations

from pathlib import Path

import pytest
import serving
from serving import OURS, THEIRS, Answered
from tiny_project import INSTRUCTIONS, make_project

HEAD = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"


def chunk(event: str) -> bytes:
    return f"{len(event) + 8:x}\r\ndata: {event}\n\n\r\n".encode()


def test_an_answer_is_read_with_the_time_of_its_first_text() -> None:
    came = [
        (0.1, HEAD + chunk('{"choices": [{"text": ""}]}')),
        (0.2, chunk('{"choices": [{"text": "Hello"}], "usage": null}') + chunk('{"choices":[{"text":" you"}]}')),
        (0.3, chunk('{"choices": [], "usage": {"completion_tokens": 3}}') + chunk("[DONE]")),
    ]
    assert serving.read(came) == Answered(0.2, 3, "Hello you")
    assert serving.read([came[0], came[2]]) == Answered(0.3, 3, "")
    with pytest.raises(AssertionError, match="no such model"):
        serving.read([(0.1, b'HTTP/1.1 404\r\n\r\n{"error": "no such model"}')])


def test_a_row_compares_with_one_client_and_with_llama_cpp() -> None:
    def answers(n_tokens: int, text: str) -> list[Answered]:
        return [Answered(first_ms / 1000, n_tokens, text) for first_ms in range(1, 101)]

    found = {
        (OURS, 1): [(4.0, answers(2, "a")), (2.0, answers(2, "a")), (1.0, answers(2, "a"))],
        (OURS, 8): [(0.5, answers(2, "a"))],
        (THEIRS, 8): [(0.25, answers(2, "b"))],
        (THEIRS, 1): [(1.0, answers(3, "a"))],
    }
    row = serving.make_row("tiny", (OURS, 8), found)
    assert (row["tokens_per_s"], row["speedup"], row["ours_is"], row["same"]) == (400, 4, None, 100)
    assert (row["first_ms"], round(row["first_p95_ms"]), row["tokens"]) == (50.5, 96, 200)
    row = serving.make_row("tiny", (THEIRS, 8), found)
    assert (row["tokens_per_s"], row["speedup"], row["ours_is"], row["same"]) == (800, 4, 0.5, 0)


@pytest.mark.slow
def test_both_servers_give_the_same_texts(tmp_path: Path) -> None:
    pytest.importorskip("xllamacpp", reason="xllamacpp is not installed (scripts/setup.sh installs it where it can)")
    make_project(tmp_path)
    rows = serving.measure(tmp_path, "assistant", n_rounds=1, n_threads=1)
    assert [(row["server"], row["clients"]) for row in rows] == [(OURS, 1), (OURS, 8), (THEIRS, 1), (THEIRS, 8)]
    assert all(row["same"] == row["prompts"] == len(INSTRUCTIONS) for row in rows)
    assert all(row["tokens"] > 0 and row["first_ms"] > 0 for row in rows)
