"""The instructions of the sample profile: unique, not leaked, correct, and always the same bytes."""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
import sys

import pytest
from sacrebleu.metrics.chrf import CHRF

from scratchlm.sample import corpus, instructions, world
from scratchlm.sample.instructions import Entry

DIGEST_SCRIPT = (
    "import hashlib; from scratchlm.sample import instructions;"
    "print(hashlib.sha256(repr(instructions.entries()).encode()).hexdigest())"
)


@pytest.fixture(scope="module")
def entries() -> list[Entry]:
    return instructions.entries()


@pytest.fixture(scope="module")
def by_kind() -> dict[str, list[Entry]]:
    return instructions.by_kind()


def plain(*texts: str) -> str:
    """Return lower-case words and digits only, with single spaces."""
    return " ".join(re.findall(r"[a-z0-9]+", " ".join(texts).lower()))


def prompt(entry: Entry) -> str:
    return plain(entry["instruction"], entry["input"])


@pytest.mark.parametrize("hash_seed", ["1", "2"])
def test_every_process_makes_the_same_bytes(entries: list[Entry], hash_seed: str) -> None:
    run = subprocess.run(
        [sys.executable, "-c", DIGEST_SCRIPT],
        capture_output=True,
        text=True,
        check=True,
        env=os.environ | {"PYTHONHASHSEED": hash_seed},
    )
    assert run.stdout.strip() == hashlib.sha256(repr(entries).encode()).hexdigest()


def test_there_are_as_many_as_in_the_book(entries: list[Entry]) -> None:
    assert len(entries) == 1_100


def test_an_entry_has_the_three_fields_and_a_clean_answer(entries: list[Entry]) -> None:
    for entry in entries:
        assert list(entry) == ["instruction", "input", "output"]
        for field, text in entry.items():
            assert re.fullmatch(r"[A-Za-z0-9 .,:?!-]*", text), entry
            assert text == text.strip() and "  " not in text, entry
            assert text or field == "input", entry
        assert re.fullmatch(r"[A-Z0-9].*[.?]", entry["output"]), entry
        assert re.fullmatch(r"[A-Z].*[.?]", entry["instruction"]), entry


def test_no_two_prompts_are_equal_even_without_case_and_punctuation(entries: list[Entry]) -> None:
    assert len({prompt(entry) for entry in entries}) == len(entries)


def test_no_instruction_without_input_occurs_in_the_corpus(entries: list[Entry]) -> None:
    told = plain(*corpus.documents().values())
    leaked = [entry["instruction"] for entry in entries if not entry["input"] and prompt(entry) in told]
    assert not leaked


def test_no_sentence_to_rewrite_occurs_in_the_corpus(by_kind: dict[str, list[Entry]]) -> None:
    told = plain(*corpus.documents().values())
    for kind in ("past", "future", "question", "negative", "passive", "pronoun"):
        for entry in by_kind[kind]:
            assert plain(entry["input"]) not in told, entry
            if kind != "pronoun":
                assert plain(entry["output"]) not in told, entry


def test_corpus_and_instructions_get_different_sentences() -> None:
    told, asked = world.sentences()
    assert told and asked and not set(told) & set(asked)


def test_every_kind_is_in_the_test_split(entries: list[Entry], by_kind: dict[str, list[Entry]]) -> None:
    count = len(entries)
    test = {prompt(entry) for entry in entries[int(count * 0.85) : int(count * 0.85) + int(count * 0.1)]}
    absent = [kind for kind, asked in by_kind.items() if not test & {prompt(entry) for entry in asked}]
    assert len(by_kind) >= 25
    assert len(absent) <= 5, absent


def test_entries_come_with_and_without_input(entries: list[Entry]) -> None:
    with_input = sum(1 for entry in entries if entry["input"])
    assert 0.15 <= with_input / len(entries) <= 0.5


def test_facts_are_asked_in_several_phrasings(by_kind: dict[str, list[Entry]]) -> None:
    for kind, asked in by_kind.items():
        phrasings = {re.sub(r"\d+", "#", entry["instruction"])[:11] for entry in asked}
        assert len(phrasings) >= 2, kind


def test_repeating_the_prompt_scores_low(entries: list[Entry]) -> None:
    chrf = CHRF(word_order=2)
    for entry in entries:
        for field in ("instruction", "input"):
            assert chrf.sentence_score(entry[field], [entry["output"]]).score < 85, entry


def test_articles_fit_their_words(entries: list[Entry]) -> None:
    for entry in entries:
        for text in entry.values():
            assert not re.search(r"\b[Aa] [aeiou]|\b[Aa]n [^aeiou]", text), entry


def test_arithmetic_is_right(by_kind: dict[str, list[Entry]]) -> None:
    for kind, sign in (("addition", 1), ("subtraction", -1)):
        for entry in by_kind[kind]:
            found = re.fullmatch(r"(\d+) (?:plus|minus) (\d+) is (\d+)\.", entry["output"])
            assert found, entry
            x, y, z = map(int, found.groups())
            assert x + sign * y == z, entry
            assert sorted(map(int, re.findall(r"\d+", entry["instruction"]))) == sorted((x, y)), entry


def test_spelled_words_are_spelled_right(by_kind: dict[str, list[Entry]]) -> None:
    for entry in by_kind["spelling"]:
        found = re.fullmatch(r"The word (\w+) is spelled ([a-z-]+)\.", entry["output"])
        assert found and found[2].split("-") == list(found[1]) and found[1] in entry["instruction"], entry


def test_sorted_words_are_sorted_and_complete(by_kind: dict[str, list[Entry]]) -> None:
    for entry in by_kind["sort words"]:
        answer = entry["output"].lower().rstrip(".").split(", ")
        assert answer == sorted(answer) and len(answer) == 3, entry
        assert set(answer) <= set(plain(entry["instruction"], entry["input"]).split()), entry


def test_days_and_months_follow_each_other(by_kind: dict[str, list[Entry]]) -> None:
    for entry in by_kind["day or month"]:
        found = re.fullmatch(r"After (\w+) comes (\w+)\.", entry["output"])
        assert found, entry
        names = world.DAYS if found[1] in world.DAYS else world.MONTHS
        assert names[(names.index(found[1]) + 1) % len(names)] == found[2], entry


def test_opposites_hold_in_both_directions(by_kind: dict[str, list[Entry]]) -> None:
    opposite: dict[str, str] = {}
    for entry in by_kind["opposite"]:
        word, other = re.findall(r"The opposite of (\w+) is (\w+)", entry["output"])[0]
        assert opposite.setdefault(word, other) == other, entry
    assert all(opposite.get(other, word) == word for word, other in opposite.items())


def test_rewritten_sentences_keep_who_and_what(by_kind: dict[str, list[Entry]]) -> None:
    for kind in ("past", "future", "question", "negative", "passive"):
        for entry in by_kind[kind]:
            who, thing = entry["input"].split()[0], entry["input"].rstrip(".").split()[-1]
            assert {who.lower(), thing} <= set(plain(entry["output"]).split()), entry
    for entry in by_kind["pronoun"]:
        he = {person.name: person.he for person in world.PEOPLE}[entry["input"].split()[0]]
        assert entry["output"].lower().split() == [he, *entry["input"].lower().split()[1:]], entry
