"""The school of the village in prose: lessons, and quizzes about all of them."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import TypeVar

from scratchlm.sample import world
from scratchlm.sample.prose import vary
from scratchlm.sample.world import a, capital

FACTS_PER_LESSON = 24
QUESTIONS_PER_QUIZ = 24
SENTENCES_PER_PARAGRAPH = 6

Fields = dict[str, str]
T = TypeVar("T")


@dataclass(frozen=True)
class Lesson:
    """One subject of the school: its facts, the lines of a lesson and of a quiz, and the number of documents."""

    subject: str
    facts: Sequence[Fields]
    opening: str
    lines: Sequence[str]
    quiz: Sequence[str]
    documents: int


CLOSINGS = (
    "Then the bell rang, and the children ran out <into the sun|into the rain|to play|to eat their bread>.",
    "{c} <yawned|laughed>, and the lesson was over.",
    '"That is enough for today," said Clara. "You were <very good|a little loud, but very good>."',
    "Coco the parrot said it all again from the top of the shelf, <very loudly|with one mistake>.",
    "<At home|In the evening>, {c} told it all to {chis} {cpet}. The {cpet} <looked happy|was not so "
    "sure|fell asleep>.",
    "{c} and {d} <said it again|practised> all the way home.",
    "After that everyone was <hungry|tired>, and {c} asked if lunch was a lesson too.",
    "It was a <good|long|quiet|funny> lesson, and nobody fell asleep, only {dpet_name} the {dpet} under the table.",
)

QUIZ_OPENINGS = (
    "Friday ends with a quiz. Clara asks, and whoever is first may answer.",
    "{c} and {d} loved the quiz. {e} loved the end of the quiz.",
    "There was a quiz about everything, <and {c} was ready|and nobody was ready>.",
    "Clara took the little quiz book from the shelf. Coco the parrot knew every answer, but parrots may not play.",
    "Who knows the most? <In the quiz of {day} it was {c}|The quiz had to tell>.",
)

ASIDES = (
    "A <bee|bird> flew in at the window, and for a moment nobody listened.",
    "{c} drew {a_pet} on the board, and Clara had to laugh.",
    "Outside, {dpet_name} the {dpet} was waiting for {d}.",
    "It <rained|snowed> outside, but the school was warm.",
    '"Please sit down, {c}," said Clara. {c} sat down.',
    "{c} knew this already, but {che} said nothing and <smiled|looked out of the window>.",
    '"An instruction describes a task," said Clara, "and a response completes it."',
    "Below the task {c} wrote a response that completes it.",
    '"Is that a request or an instruction?" asked {c}. "It is a task," said Clara. "Write a response."',
    '"Instruction: listen. Response: silence," said Clara. {c} responded appropriately and said nothing.',
    '"{c}, you describe the task very well," said Clara, "but a response that completes the request is better."',
    "",
)


def _deck(rng: random.Random, cards: Sequence[T]) -> Iterator[T]:
    """Yield all cards in random order, then again in a new order, without end."""
    while True:
        yield from rng.sample(cards, len(cards))


def _told(rng: random.Random, facts: Sequence[Fields], lines: Sequence[str]) -> Iterator[str]:
    """Yield sentences without end: facts come up equally often, and each of them in all lines in turn."""
    for fact, in_lines in _deck(rng, [(fact, _deck(rng, lines)) for fact in facts]):
        yield _say(rng, next(in_lines), fact)


def _class(rng: random.Random, about: str = "") -> Fields:
    """Return the slots of three children of the class whom the text `about` does not name."""
    present = [child for child in world.CHILDREN if child.name not in about]
    slots: Fields = {"day": rng.choice(world.DAYS[:5]), "n": rng.choice(world.NUMBERS[2:11])}
    for key, child in zip("cde", rng.sample(present, 3), strict=True):
        slots |= {
            key: child.name,
            f"{key}he": child.he,
            f"{key}him": child.him,
            f"{key}his": child.his,
            f"{key}pet": child.pet,
            f"{key}pet_name": child.pet_name,
        }
    return slots | {"a_pet": a(slots["cpet"])}


def _say(rng: random.Random, line: str, fact: Fields) -> str:
    capitals = {capital(key): capital(value) for key, value in fact.items()}
    return vary(rng, line, _class(rng, " ".join(fact.values())) | capitals | fact)


def _paragraphs(sentences: Sequence[str]) -> str:
    kept = [sentence for sentence in sentences if sentence]
    starts = range(0, len(kept), SENTENCES_PER_PARAGRAPH)
    return "".join(" ".join(kept[start : start + SENTENCES_PER_PARAGRAPH]) + "\n" for start in starts)


def tell(rng: random.Random, lesson: Lesson) -> list[str]:
    """Return the documents of one subject."""
    told = _told(rng, lesson.facts, lesson.lines)
    documents = []
    for _ in range(lesson.documents):
        said = list(islice(told, FACTS_PER_LESSON))
        said.insert(len(said) // 2, vary(rng, rng.choice(ASIDES), _class(rng)))
        opening = vary(rng, lesson.opening, _class(rng))
        documents.append(_paragraphs([opening, *said, vary(rng, rng.choice(CLOSINGS), _class(rng))]))
    return documents


def quiz(rng: random.Random, subjects: Sequence[Lesson], count: int) -> list[str]:
    """Return `count` quizzes with questions of many subjects; a subject's share grows with its facts."""
    told = {lesson.subject: _told(rng, lesson.facts, lesson.quiz) for lesson in subjects}
    # Bounded: or hundreds of sentences would fill every quiz, and a dozen jobs would hardly come up.
    weights = [min(max(len(lesson.facts), 30), 90) for lesson in subjects]
    documents = []
    for _ in range(count):
        asked = rng.choices(subjects, weights, k=QUESTIONS_PER_QUIZ)
        said = [next(told[lesson.subject]) for lesson in asked]
        said.insert(len(said) // 2, vary(rng, rng.choice(ASIDES), _class(rng)))
        opening = vary(rng, rng.choice(QUIZ_OPENINGS), _class(rng))
        documents.append(_paragraphs([opening, *said, vary(rng, rng.choice(CLOSINGS), _class(rng))]))
    return documents
