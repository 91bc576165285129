"""Labelled messages that cannot be used, and odd ones that can."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from spoiling import (
    MESSAGES,
    BadInput,
    assert_refused,
    csv_of,
    folder_at,
    param,
    pipe_at,
    removed,
    run_stage,
    set_params,
    text,
    written,
)

BUILD_AGAIN = "; run `make repro` to build it again"
RARE = r"for 1 of 13 messages, wanted at least 3 of each label: correct it, leave it out, or add messages"


def zipped(member: str, **changes: Any) -> Callable[[], object]:
    def make() -> None:
        with zipfile.ZipFile("own.zip", "w") as archive:
            archive.writestr(member, csv_of(MESSAGES))
        set_params(**changes)

    return make


def messages(*changed: tuple[str, str], header: str = "label,text") -> Callable[[], object]:
    """Add messages at the end of the user's; the first one added is on line 14."""
    return written("own.csv", csv_of([*MESSAGES, *changed], header))


def sms(name: str, make: Callable[[], object], message: str, process: bool = False) -> BadInput:
    return BadInput(f"sms: {name}", make, "prepare_sms", message, process)


BAD_INPUTS = [
    sms(
        "missing",
        param(sms__source="none.csv"),
        r"none\.csv does not exist \(looked for .*/none\.csv\): give a file, a URL or one of sample, uci",
    ),
    sms("a zip that is missing", param(sms__source="none.zip"), r"none\.zip does not exist .*"),
    sms(
        "a folder",
        folder_at("own", sms__source="own"),
        r"own is not a file \(looked for .*/own\): give a file, a URL or one of sample, uci",
    ),
    sms("a pipe", pipe_at("pipe.csv", sms__source="pipe.csv"), r"pipe\.csv is not a file .*"),
    sms(
        "empty",
        written("own.csv", ""),
        r".*/own\.csv, line 1: got columns \[\], wanted label and text, comma-separated: name them so .*",
    ),
    sms(
        "a header alone",
        written("own.csv", "label,text\n"),
        r".*/own\.csv holds no messages, wanted rows of a label and a text",
    ),
    sms(
        "a column is missing",
        messages(header="label,message"),
        r".*/own\.csv, line 1: got columns \['label', 'message'\], wanted label and text, comma-separated: name .*",
    ),
    sms(
        "a column twice",
        messages(header="label,text,text"),
        r".*/own\.csv, line 1: got columns \['label', 'text', 'text'\], wanted each name once: rename or .*",
    ),
    sms(
        "an unknown label",
        messages(("junk", "hello")),
        rf".*/own\.csv, line 14: got label 'junk' {RARE}",
        process=True,
    ),
    sms("a number for a label", messages(("1", "hello")), rf".*/own\.csv, line 14: got label '1' {RARE}"),
    sms(
        "an empty label",
        messages((" ", "hello")),
        r".*/own\.csv, line 14: got label '', wanted a name of 1 to 50 printable characters: correct it or .*",
    ),
    sms(
        "texts for labels",
        written("own.csv", csv_of([(f"note {n}", f"{n}") for n in range(101)])),
        r".*/own\.csv: got 101 labels, wanted 2 to 100: are these the labels, or something else\?",
    ),
    sms(
        "one class only",
        written("own.csv", csv_of([row for row in MESSAGES if row[0] == "ham"])),
        r".*/own\.csv: all 6 messages are ham, wanted at least two labels: add messages of another",
    ),
    sms(
        "an empty message",
        messages(("ham", "")),
        r".*/own\.csv, line 14: got an empty text, wanted a message: leave the line out",
    ),
    sms(
        "a comma in a bare text",
        messages(("ham", "one, two")),
        r".*/own\.csv, line 14: got 3 fields, wanted 2, comma-separated: put a text that holds a comma into quotes",
    ),
    sms(
        "a tab in a text",
        written("own.tsv", "ham\thello\nspam\twin\ta prize\n", sms__source="own.tsv"),
        r".*/own\.tsv, line 2: got 3 fields, wanted 2, tab-separated: put a text that holds a tab into quotes",
    ),
    sms(
        "a quote that never closes",
        messages(("ham", '"never')),
        r".*/own\.csv, line 14: the quote that opens a text is never closed: close it, or take it out",
    ),
    sms(
        "a text with both labels",
        messages(("spam", "ham message number 0")),
        r".*/own\.csv, line 14: got spam for a text that is ham on line 2: no model can learn both; leave one of "
        r"them out",
    ),
    sms(
        "a text without end",
        messages(("ham", "x" * 200_000)),
        r".*/own\.csv, line 14: not readable as CSV: field larger than field limit \(131072\)",
    ),
    sms(
        "Latin-1",
        written("own.csv", csv_of(MESSAGES).encode() + b"ham,caf\xe9\n"),
        r".*/own\.csv, line 14: byte 0xe9 is not UTF-8, wanted a table of labelled messages, saved as UTF-8",
    ),
    sms(
        "too few",
        written("own.csv", csv_of(MESSAGES[:6]), sms__validation_fraction=0.1),
        r"6 messages split by 0\.5 and 0\.1 give 3, 0 and 3 .*: give more messages or other fractions",
    ),
    sms(
        "a zip of something else",
        zipped("readme", sms__source="own.zip"),
        r".*/own\.zip: member SMSSpamCollection: not there; the zip holds readme",
    ),
    sms(
        "a zip that is none",
        written("own.zip", "PK", sms__source="own.zip"),
        r".*/own\.zip: not a usable zip file \(.*\); download it again",
    ),
    BadInput(
        "sms: a split without its columns",
        written("data/sms/train.csv", "a,b\n1,2\n"),
        "finetune_classifier",
        rf"data/sms/train\.csv: the columns are \['a', 'b'\], wanted Label and Text{BUILD_AGAIN}",
    ),
    BadInput(
        "sms: a third label in a split",
        written("data/sms/test.csv", "Label,Text\n2,hello\n"),
        "finetune_classifier",
        rf"data/sms/test\.csv, row 1: got \['2', 'hello'\], wanted a label from 0 to 1 and a text{BUILD_AGAIN}",
    ),
    BadInput(
        "sms: labels that are none",
        written("data/sms/labels.json", '["ham"]'),
        "finetune_classifier",
        rf"data/sms/labels\.json: got \['ham'\], wanted a list of 2 to 100 labels{BUILD_AGAIN}",
    ),
    BadInput(
        "sms: an endless field in a split",
        written("data/sms/test.csv", f"Label,Text\n1,{'x' * 200_000}\n"),
        "finetune_classifier",
        rf"data/sms/test\.csv: not readable as CSV: .*{BUILD_AGAIN}",
    ),
    BadInput(
        "sms: a split is missing",
        removed("data/sms/test.csv"),
        "finetune_classifier",
        rf"data/sms/test\.csv is missing, wanted a table of labelled messages{BUILD_AGAIN}",
    ),
]


@pytest.mark.parametrize("row", BAD_INPUTS, ids=lambda row: row.name)
def test_a_bad_table_of_messages_ends_in_one_message_and_nothing_half_written(row: BadInput, project: Path) -> None:
    assert_refused(row)


def test_quotes_tabs_and_repeated_messages_are_kept_as_they_are(project: Path) -> None:
    odd = [("ham", 'he said ""hello"", twice\tand left'), ("ham", "again"), ("ham", "again"), ("spam", "\u2028é'")]
    text("own.csv", csv_of([*MESSAGES, *((label, f'"{words}"') for label, words in odd)]))
    run_stage("prepare_sms")
    assert json.loads(Path("metrics/prepare_sms.json").read_text())["rows"] == len(MESSAGES) + 4
