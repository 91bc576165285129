"""A report to read: ten entries with all answers and their scores, one below the other, as Markdown."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from scratchlm.assistant.instructions import COMPARED, VARIANTS, AnsweredEntry
from scratchlm.files.block import labelled
from scratchlm.judging.pairwise import winner_of
from scratchlm.judging.verdicts import Row

SHOWN_ENTRIES = 10
RowsByJudge = Mapping[str, Mapping[tuple[Any, ...], Row]]  # of each judge by entry, variant and, of pairs, the other


def write_report(
    entries: Sequence[AnsweredEntry],
    verdicts: Mapping[str, Sequence[Row]],
    pairs: Mapping[str, Sequence[Row]],
    doubts: Mapping[str, Sequence[str]],
    seed: int,
) -> str:
    """Lay ten entries out, chosen by `seed`, from the assistant's greatest gain over its base to the least.

    `verdicts` and `pairs` hold each judge's rows by its name; the first judge's scores decide the order, an entry
    without both of them comes last. `doubts` say by name what speaks against a judge. Every text stands in a code
    block, so that nothing in it is markup.
    """
    chosen = random.Random(seed).sample(range(len(entries)), min(SHOWN_ENTRIES, len(entries)))
    rows = {name: {(row["id"], row["variant"]): row for row in part} for name, part in verdicts.items()}
    pair_rows = {name: {(row["id"], row["variant"], row["other"]): row for row in part} for name, part in pairs.items()}
    first = next(iter(rows))
    gains = {index: _gain(entries[index], rows[first]) for index in chosen}
    chosen.sort(key=lambda index: (gains[index] is None, -(gains[index] or 0.0), index))
    lines = [
        "# The answers of all models, side by side",
        "",
        f"{len(chosen)} of the {len(entries)} test entries, drawn at random (seed {seed}) whatever their scores, "
        f"in the order of the assistant's gain over its base as `{first}` scores them from 0 to 100, best first. "
        "Long lines are wrapped; the texts to the letter are in `data/responses.json`, all scores in "
        "`data/verdicts.json`" + (", all verdicts of pairs in `data/pairwise.json`." if pairs else "."),
    ]
    for name, reasons in doubts.items():
        lines += ["", f"**`{name}` cannot be trusted**, its scores say little about the answers: {'; '.join(reasons)}."]
    for index in chosen:
        gain = gains[index]
        shown = "without a score" if gain is None else f"{gain:+.1f}"
        block = _lay_out(entries[index], rows, pair_rows)
        lines += ["", f"## Entry {entries[index]['id']}: {shown}", "", "```text", *block, "```"]
    return "\n".join(lines) + "\n"


def _gain(entry: AnsweredEntry, rows: Mapping[tuple[Any, str], Row]) -> float | None:
    base, assistant = rows[entry["id"], "base"]["score"], rows[entry["id"], "assistant"]["score"]
    return None if base is None or assistant is None else assistant - base


def _lay_out(entry: AnsweredEntry, rows: RowsByJudge, pair_rows: RowsByJudge) -> Iterator[str]:
    yield from labelled("instruction", entry["instruction"])
    if entry["input"]:
        yield from labelled("input", entry["input"])
    yield from labelled("reference", entry["output"])
    for variant in VARIANTS:
        answer = entry[variant]
        yield ""
        yield from labelled(variant, answer["text"] or "(nothing)")
        end = "ended by itself" if answer["finish"] == "stop" else "cut at the limit"
        yield from labelled("", f"-> {answer['tokens']} tokens, {end}")
        for name, of_judge in rows.items():
            row = of_judge[entry["id"], variant]
            score = f"no score ({row['status']})" if row["score"] is None else f"{row['score']:.1f}"
            reason = f": {row['reason']}" if row["reason"] else ""
            yield from labelled("", f"-> {name} {score}{reason}")
    for name, of_judge in pair_rows.items():
        for one, two in COMPARED.values():
            shown = [of_judge[entry["id"], *order] for order in ((one, two), (two, one))]
            winner = winner_of(*(row["winner"] for row in shown)) or "no verdict"
            yield ""
            yield from labelled("better", f"{name}: {winner} ({two} against {one})")
            for row in shown:
                reason = f": {row['reason']}" if row["reason"] else ""
                yield from labelled("", f"-> {row['variant']} shown first: {row['winner'] or row['status']}{reason}")
