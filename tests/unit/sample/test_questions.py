"""The questions of the sample profile: in no training data, right, with the choices that they promise."""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
import sys
from collections import Counter
from typing import Any

import pytest

from scratchlm.sample import corpus, instructions, questions, world

DIGEST_SCRIPT = (
    "import hashlib; from scratchlm.sample import questions;"
    "print(hashlib.sha256(repr(questions.questions()).encode()).hexdigest())"
)
ASKED = questions.questions()


def plain(text: str) -> str:
    """Return lower-case words and digits only, with single spaces."""
    return " ".join(re.findall(r"[a-z0-9]+", text.lower()))


@pytest.mark.parametrize("hash_seed", ["1", "2"])
def test_every_process_makes_the_same_bytes(hash_seed: str) -> None:
    run = subprocess.run(
        [sys.executable, "-c", DIGEST_SCRIPT],
        capture_output=True,
        text=True,
        check=True,
        env=os.environ | {"PYTHONHASHSEED": hash_seed},
    )
    assert run.stdout.strip() == hashlib.sha256(repr(ASKED).encode()).hexdigest()


def test_they_are_some_190_different_ones_of_several_subjects() -> None:
    assert len({plain(asked["question"]) for asked in ASKED}) == len(ASKED) == 190
    assert min(Counter(asked["subject"] for asked in ASKED).values()) >= 10
    assert len({asked["subject"] for asked in ASKED}) == 6


def test_no_question_occurs_in_the_corpus_or_in_the_instructions() -> None:
    told = plain(" ".join(corpus.documents().values()))
    taught = plain(" ".join(text for entry in instructions.entries() for text in entry.values()))
    assert [asked for asked in ASKED if plain(asked["question"]) in told or plain(asked["question"]) in taught] == []


def test_a_question_has_four_different_choices_with_the_right_one_anywhere() -> None:
    assert all(len(set(asked["choices"])) == 4 for asked in ASKED)
    places = Counter(asked["answer"] for asked in ASKED)
    assert sorted(places) == [0, 1, 2, 3] and min(places.values()) >= 30


def test_texts_are_clean() -> None:
    for asked in ASKED:
        assert re.fullmatch(r"[A-Z0-9][A-Za-z0-9 ,:]*\?", asked["question"]), asked
        for text in (asked["question"], *asked["choices"]):
            assert text == text.strip() and "  " not in text, asked
            assert not re.search(r"\b[Aa] [aeiou]|\b[Aa]n [^aeiou]", text), asked
        assert all(re.fullmatch(r"[A-Z0-9][A-Za-z0-9 -]*\.", choice) for choice in asked["choices"]), asked


def facts() -> set[str]:
    """Return every true sentence of the forms that choices have, from the tables of the world."""
    true = {f"The opposite of {x} is {y}." for pair in world.OPPOSITES for x, y in (pair, pair[::-1])}
    true |= {f"The plural of {one} is {many}." for one, many in world.PLURALS.items()}
    true |= {f"The past tense of {verb.base} is {verb.past}." for verb in world.VERBS}
    true |= {f"A word that rhymes with {word} is {rhyme}." for word, rhyme in world.RHYMES.items()}
    for category, words in world.CATEGORIES.items():
        true |= {f"The word {word} names {world.CATEGORY_PHRASES[category]}." for word in words}
    true |= {f"{thing} is {colour}." for thing, colour in world.COLOURS.items()}
    for name, (sound, young, home, _) in world.ANIMALS.items():
        animal = world.a(name)
        true |= {f"{animal} {sound}.", f"{animal} lives {home}."}
        true |= {f"A young {name} is called {world.a(young)}."} if young else set()
    for person in world.PEOPLE:
        true |= {f"{person.name} likes {person.food} best.", f"{person.name} lives {person.home}."}
        true |= {f"{person.name} has {world.a(person.pet)} called {person.pet_name}."}
        true |= {f"{person.name} is {world.a(person.job)}."} if person.job else set()
    true |= {f"{x} plus {y} is {x + y}." for x in range(12) for y in range(12)}
    true |= {f"{x} minus {y} is {x - y}." for x in range(12) for y in range(12)}
    for names in (world.DAYS, world.MONTHS):
        true |= {f"After {x} comes {y}." for x, y in zip(names, names[1:] + names[:1], strict=True)}
    return {world.capital(sentence) for sentence in true}


TRUE = facts()


def shared_words(asked: dict[str, Any], choice: str) -> int:
    """Count the words that a question shares with a choice, without the choice's end, which answers it."""
    return (Counter(plain(asked["question"]).split()) & Counter(plain(choice).split()[:-1])).total()


def test_two_choices_are_true_and_only_one_of_them_is_about_what_was_asked() -> None:
    for asked in ASKED:
        right = asked["choices"][asked["answer"]]
        true = [choice for choice in asked["choices"] if choice in TRUE]
        assert right in true and len(true) == 2, asked
        (other,) = set(true) - {right}
        assert shared_words(asked, right) > shared_words(asked, other), asked


def test_the_false_choices_are_the_true_ones_with_their_ends_exchanged() -> None:
    for asked in ASKED:
        true = [choice for choice in asked["choices"] if choice in TRUE]
        false = [choice for choice in asked["choices"] if choice not in TRUE]
        assert Counter(" ".join(true).split()) == Counter(" ".join(false).split()), asked
