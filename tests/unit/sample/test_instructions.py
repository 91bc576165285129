"""The instructions of the sample profile: unique, not leaked, correct, and always the same bytes."""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
import sys
from itertools import pairwise

import pytest
from sacrebleu.metrics.chrf import CHRF

from scratchlm.sample import corpus, instructions, world
from scratchlm.sample.instructions import Entry

# The split of params.yaml, which is the book's, in blocks of 55.
PARTS = {"train": slice(0, 17), "test": slice(17, 19), "validation": slice(19, 20)}

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


def test_no_input_occurs_in_the_corpus(entries: list[Entry]) -> None:
    told = "\n".join(corpus.documents().values())
    assert not [entry for entry in entries if entry["input"] and entry["input"] in told]


def test_no_rewritten_sentence_occurs_in_the_corpus(by_kind: dict[str, list[Entry]]) -> None:
    told = plain(*corpus.documents().values())
    for kind in instructions.REWRITINGS.keys() - {"pronoun", "they", "who"}:
        for entry in by_kind[kind]:
            assert plain(entry["output"]) not in told, entry


def test_what_is_to_be_recalled_is_told_in_the_corpus(by_kind: dict[str, list[Entry]]) -> None:
    told = "\n".join(corpus.documents().values()).lower()
    recalled = [entry for asked in by_kind.values() for entry in asked if not entry["input"]]
    untold = [entry["output"] for entry in recalled if entry["output"].lower().rstrip(".") not in told]
    assert len(recalled) > 300
    assert not untold


def test_corpus_and_instructions_get_different_sentences() -> None:
    told, asked = world.sentences()
    assert told and asked and not set(told) & set(asked)


def test_the_book_s_split_falls_between_two_blocks(entries: list[Entry]) -> None:
    assert [len(block) for block in instructions.blocks()] == [55] * 20
    assert [int(len(entries) * fraction) for fraction in (0.85, 0.1)] == [17 * 55, 2 * 55]


def test_no_fact_is_in_two_blocks() -> None:
    found = [{task.fact for task in block} for block in instructions.blocks()]
    assert sum(map(len, found)) == len(set().union(*found)) > 600


def test_a_split_anywhere_parts_at_most_one_fact_per_border() -> None:
    facts = [task.fact for block in instructions.blocks() for task in block]
    begun = sum(fact != before for before, fact in pairwise(facts)) + 1
    assert begun == len(set(facts))


def test_different_facts_have_different_answers() -> None:
    facts: dict[str, set[str]] = {}
    for block in instructions.blocks():
        for task in block:
            if task.kind not in {"last word", "mood"}:
                facts.setdefault(task.entry["output"], set()).add(task.fact)
    assert not {answer: asked for answer, asked in facts.items() if len(asked) > 1}


def test_few_test_answers_occur_in_train_and_only_where_there_are_few_to_choose_from() -> None:
    blocks = instructions.blocks()
    known = {task.entry["output"] for block in blocks[PARTS["train"]] for task in block}
    repeated = [task.kind for block in blocks[PARTS["test"]] for task in block if task.entry["output"] in known]
    assert 0 < len(repeated) <= 8
    assert set(repeated) <= {"last word", "mood"}


def test_every_kind_is_in_train_and_in_test_and_most_are_in_validation() -> None:
    blocks = instructions.blocks()
    kinds = {part: {task.kind for block in blocks[where] for task in block} for part, where in PARTS.items()}
    assert len(kinds["train"]) >= 35
    assert kinds["test"] == kinds["train"]
    assert len(kinds["train"] - kinds["validation"]) <= 3


def test_entries_come_with_and_without_input(entries: list[Entry]) -> None:
    with_input = sum(1 for entry in entries if entry["input"])
    assert 0.4 <= with_input / len(entries) <= 0.7


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
    for entry in by_kind["addition"]:
        found = re.fullmatch(r"(\d+) plus (\d+) is (\d+)\.", entry["output"])
        assert found, entry
        x, y, z = map(int, found.groups())
        assert x + y == z, entry
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
    for kind in instructions.REWRITINGS.keys() - {"pronoun", "they", "who", "what"}:
        for entry in by_kind[kind]:
            who, thing = entry["input"].split()[0], entry["input"].rstrip(".").split()[-1]
            assert {who.lower(), thing} <= set(plain(entry["output"]).split()), entry
    for entry in by_kind["pronoun"]:
        he = {person.name: person.he for person in world.PEOPLE}[entry["input"].split()[0]]
        assert entry["output"].lower().split() == [he, *entry["input"].lower().split()[1:]], entry
