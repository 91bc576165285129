"""The corpus of the sample profile: always the same bytes, clean English, no contradictions."""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
import sys
import time

import pytest

from scratchlm.sample import corpus, world

DIGEST_SCRIPT = (
    "import hashlib; from scratchlm.sample import corpus;"
    "print(hashlib.sha256(repr(corpus.documents()).encode()).hexdigest())"
)


@pytest.fixture(scope="module")
def documents() -> dict[str, str]:
    return corpus.documents()


@pytest.fixture(scope="module")
def text(documents: dict[str, str]) -> str:
    return "\n".join(documents.values())


@pytest.mark.parametrize("hash_seed", ["1", "2"])
def test_every_process_makes_the_same_bytes(documents: dict[str, str], hash_seed: str) -> None:
    run = subprocess.run(
        [sys.executable, "-c", DIGEST_SCRIPT],
        capture_output=True,
        text=True,
        check=True,
        env=os.environ | {"PYTHONHASHSEED": hash_seed},
    )
    assert run.stdout.strip() == hashlib.sha256(repr(documents).encode()).hexdigest()


def test_the_corpus_is_made_in_under_a_second() -> None:
    started = time.process_time()
    corpus.documents()
    assert time.process_time() - started < 1


def test_the_corpus_has_the_size_of_a_readable_folder(documents: dict[str, str]) -> None:
    assert 300 <= len(documents) <= 600
    assert 400_000 <= sum(map(len, documents.values())) <= 600_000
    assert all(re.fullmatch(r"\d{3}(-[a-z]+)+\.txt", name) for name in documents)
    assert all(200 <= len(document) <= 4_000 for document in documents.values())


def test_no_two_documents_and_few_story_paragraphs_are_the_same(documents: dict[str, str]) -> None:
    assert len(set(documents.values())) == len(documents)
    paragraphs = [line for name, document in documents.items() if "story" in name for line in document.splitlines()[1:]]
    assert len(set(paragraphs)) > 0.9 * len(paragraphs)


def test_the_vocabulary_is_small(text: str) -> None:
    assert 600 <= len(set(re.findall(r"[a-z]+", text.lower()))) <= 1_100


def test_the_text_is_plain_prose_without_markup_or_open_slots(documents: dict[str, str]) -> None:
    for name, document in documents.items():
        assert re.fullmatch(r"[A-Za-z0-9 \n.,:?!\"'-]+", document), name
        assert document.endswith("\n") and "\n\n" not in document and "  " not in document, name
        for paragraph in document.splitlines():
            assert paragraph[0].isupper() or paragraph[0].isdigit() or paragraph[0] == '"', (name, paragraph)
            assert paragraph[-1] in '.?!"', (name, paragraph)
            assert paragraph.count('"') % 2 == 0, (name, paragraph)


def test_articles_fit_their_words(text: str) -> None:
    assert not re.findall(r"\b[Aa] [aeiou]\w+", text)
    assert not re.findall(r"\b[Aa]n [^aeiou]\w+", text)


def test_sentences_begin_with_a_capital(text: str) -> None:
    assert not re.findall(r"[^.][.?!] [a-z]\w+", text)
    assert not re.findall(r"[.?!]\"? \"[a-z]\w+", text)


def test_every_sum_in_the_corpus_is_right(text: str) -> None:
    sums = re.findall(r"(\d+) plus (\d+) is (\d+)", text) + re.findall(r"added (\d+) and (\d+) and got (\d+)", text)
    differences = re.findall(r"(\d+) minus (\d+) is (\d+)", text)
    assert len(sums) > 100 and len(differences) > 100
    assert all(int(x) + int(y) == int(z) for x, y, z in sums)
    assert all(int(x) - int(y) == int(z) for x, y, z in differences)


def test_every_sum_in_number_words_is_right(text: str) -> None:
    value = {word: number for number, word in enumerate(world.NUMBERS)}
    sums = re.findall(r'"(\w+) and (\w+) are (\w+)," she said', text)
    differences = re.findall(r"(\w+) minus (\w+) is (\w+), so", text)
    assert sums and differences
    assert all(value[x.lower()] + value[y] == value[z] for x, y, z in sums)
    assert all(value[x.lower()] - value[y] == value[z] for x, y, z in differences)


def test_spelled_words_are_spelled_right(text: str) -> None:
    spelled = re.findall(r"[Tt]he word (\w+) is spelled ([a-z](?:-[a-z])+)", text)
    assert len(spelled) > 30
    assert all(letters.split("-") == list(word) for word, letters in spelled)


def test_every_fact_is_told_several_times(text: str) -> None:
    told = text.lower()
    for x, y in world.OPPOSITES:
        assert len(re.findall(rf"{x}[^.]*\b{y}\b|{y}[^.]*\b{x}\b", told)) >= 5, (x, y)
    for one, many in world.PLURALS.items():
        assert len(re.findall(rf"{one}[^.]*\b{many}\b|{many}[^.]*\b{one}\b", told)) >= 3, (one, many)
    for person in world.PEOPLE:
        assert text.count(f"{person.name} lives {person.home}") >= 3, person.name
    for name, (sound, _, home, food) in world.ANIMALS.items():
        for fact in (sound, f"lives {home}", f"eats {food}"):
            assert told.count(f"{world.a(name)} {fact}") >= 3, (name, fact)


def test_nobody_lives_in_two_places(text: str) -> None:
    homes = {person.name: person.home for person in world.PEOPLE}
    places = "in|on|at|by|near|next|above|below|behind|beside"
    told = re.findall(rf"\b({'|'.join(homes)}) lives ((?:{places}) [^,.\"]+)", text)
    assert len(told) > 100
    for name, home in told:
        assert home.startswith(homes[name]), (name, home)


def test_no_plot_names_its_own_hero(documents: dict[str, str]) -> None:
    names = "|".join(person.name for person in world.PEOPLE)
    for name, document in documents.items():
        assert not re.search(rf"\b({names}) (?:and|asked|gave|with|to) \1\b", document), name
