"""The questions of the sample profile: 190 with four choices each, about the village and its language.

The choices are sentences as the school says them: the right one, a true one about something else, and both with their
ends exchanged, which are false. So half of the choices remain for who knows the facts and does not read the question,
and for who reads the question and does not know the facts.

The corpus may tell the facts. The questions are in words of their own, which stand neither in the corpus nor in the
instructions. Words with more than one right answer (a dog is a pup too) are left out.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from scratchlm.sample import world
from scratchlm.sample.world import a, capital

SEED = 20_241
CHOICES = 4

# Words with a second opposite, a second kind or a second sound or baby among the others of their table.
TWO_OPPOSITES = {"light", "dark", "hard", "easy", "loud"}
TWO_KINDS = {"apple", "pear", "carrot", "corn", "rose"}
WILD = {"dog", "wolf", "lion", "bear"}
HOUSED = ("dog", "horse", "pig", "hen", "bee", "duck", "lion")

Fields = dict[str, str]


@dataclass(frozen=True)
class Kind:
    """Questions of one form; each fact has what `question` and `answer` name, and the answer proper as `o`."""

    subject: str
    count: int
    question: str
    answer: str
    facts: Sequence[Fields]

    def ask(self, rng: random.Random) -> Iterator[dict[str, Any]]:
        """Yield `count` questions, each about another fact."""
        for fact in rng.sample(self.facts, self.count):
            other = rng.choice([other for other in self.facts if other["o"] != fact["o"]])
            right, *wrong = (
                capital(self.answer.format(**{**about, "o": end["o"]}))
                for about in (fact, other)
                for end in (fact, other)
            )
            choices = rng.sample([right, *wrong], CHOICES)
            yield {
                "question": capital(self.question.format(**fact)),
                "choices": choices,
                "answer": choices.index(right),
                "subject": self.subject,
            }


def _words() -> list[Kind]:
    opposites = [pair for pair in world.OPPOSITES if not TWO_OPPOSITES & set(pair)]
    return [
        Kind(
            "words",
            16,
            "If it is not {w}, which word says what it is?",
            "The opposite of {w} is {o}.",
            [{"w": x, "o": y} for pair in opposites for x, y in (pair, pair[::-1])],
        ),
        Kind(
            "words",
            14,
            "There is one {w}, and then a second one comes: what are there now?",
            "The plural of {w} is {o}.",
            [{"w": one, "o": many} for one, many in world.PLURALS.items()],
        ),
        Kind(
            "words",
            14,
            "They {w} today: which word says the same of yesterday?",
            "The past tense of {w} is {o}.",
            [{"w": verb.base, "o": verb.past} for verb in world.VERBS if verb.base != verb.past],
        ),
        Kind(
            "words",
            12,
            "A poem has {w} at the end of a line: how may the next one end?",
            "A word that rhymes with {w} is {o}.",
            [{"w": word, "o": rhyme} for word, rhyme in world.RHYMES.items()],
        ),
    ]


def _things() -> list[Kind]:
    kinds = [
        {"w": word, "o": world.CATEGORY_PHRASES[category]}
        for category, words in world.CATEGORIES.items()
        for word in words
        if word not in TWO_KINDS
    ]
    colours = [{"w": thing, "o": colour} for thing, colour in world.COLOURS.items()]
    return [
        Kind("things", 14, "Among which things do you count the word {w}?", "The word {w} names {o}.", kinds),
        Kind("things", 14, "Which paint do you need for {w}?", "{w} is {o}.", colours),
    ]


def _animals() -> list[Kind]:
    sounds = [{"w": a(name), "o": world.ANIMALS[name][0]} for name in world.ANIMALS if name not in WILD]
    young = [
        {"w": name, "a": a(name), "o": a(baby)}
        for name, (_, baby, _, _) in world.ANIMALS.items()
        if baby and name != "wolf"
    ]
    homes = [{"w": a(name), "o": world.ANIMALS[name][2]} for name in HOUSED]
    return [
        Kind("animals", 12, "You hear {w}: what is it doing?", "{w} {o}.", sounds),
        Kind("animals", 11, "{a} has a baby: what is it?", "A young {w} is called {o}.", young),
        Kind("animals", 7, "You look for {w}: where is it at night?", "{w} lives {o}.", homes),
    ]


def _village() -> list[Kind]:
    people = world.PEOPLE
    foods = [{"w": person.name, "o": person.food} for person in people]
    homes = [{"w": person.name, "o": person.home} for person in people]
    pets = [{"w": person.name, "o": f"{a(person.pet)} called {person.pet_name}"} for person in people]
    jobs = [{"w": person.name, "o": a(person.job)} for person in world.ADULTS]
    return [
        Kind("village", 10, "Which food makes {w} happy?", "{w} likes {o} best.", foods),
        Kind("village", 10, "You want to visit {w}: where do you knock?", "{w} lives {o}.", homes),
        Kind("village", 10, "Who comes running when {w} is home again?", "{w} has {o}.", pets),
        Kind("village", 8, "What is written on the door where {w} works?", "{w} is {o}.", jobs),
    ]


def _numbers() -> list[Kind]:
    sums = [{"x": str(x), "y": str(y), "o": str(x + y)} for x, y in world.SUMS]
    differences = [{"x": str(x), "y": str(y), "o": str(x - y)} for x, y in world.DIFFERENCES]
    return [
        Kind("numbers", 12, "You have {x} and find {y} more: how many is that?", "{x} plus {y} is {o}.", sums),
        Kind("numbers", 12, "You have {x} and lose {y}: how many are left?", "{x} minus {y} is {o}.", differences),
    ]


def _calendar() -> list[Kind]:
    return [
        Kind(
            "calendar",
            count,
            "{w} has just ended: what begins?",
            "After {w} comes {o}.",
            [{"w": x, "o": y} for x, y in zip(names, names[1:] + names[:1], strict=True)],
        )
        for count, names in ((5, world.DAYS), (9, world.MONTHS))
    ]


def questions() -> list[dict[str, Any]]:
    """Return all questions, by subject, with `question`, `choices`, `answer` (0 is the first choice) and `subject`."""
    rng = random.Random(SEED)
    kinds = [*_words(), *_things(), *_animals(), *_village(), *_numbers(), *_calendar()]
    return [question for kind in kinds for question in kind.ask(rng)]
