"""The lessons about the world: numbers, the calendar, animals, colours, and the people of the village."""

from __future__ import annotations

import random

from scratchlm.sample import world
from scratchlm.sample.lessons import Lesson
from scratchlm.sample.world import a


def _groups() -> Lesson:
    return Lesson(
        "groups",
        [
            {"w": word, "o": world.CATEGORY_PHRASES[category], "g": category}
            for category, words in world.CATEGORIES.items()
            for word in words
        ],
        "Clara had a box full of <cards|little pictures>. <What kind of thing is on each card|To which "
        "group does each one belong>? <Animals here, foods there|The children put them in order>, and "
        "the tools beside them.",
        (
            "The word {w} names {o}.",
            "{c} put {w} with the other {g} words.",
            "On the card was {w}. That is {o}.",
            '"{W}?" asked {c}. "It belongs to the {g} group," said {d}.',
        ),
        (
            '"What does the word {w} name?" "The word {w} names {o}."',
            '"And the group of {w}?" "The word {w} names {o}," said {c}.',
        ),
        9,
    )


def _sums() -> Lesson:
    return Lesson(
        "sums",
        [{"x": str(x), "y": str(y), "z": str(x + y)} for x, y in world.SUMS],
        "<On {day} there were sums|The children took their books and did sums|Clara wrote sums on the "
        "board>. <To add is easy|The chalk was white and the board was black>.",
        (
            "{x} plus {y} is {z}.",
            "{c} added {x} and {y} and got {z}.",
            "{x} and {y} make {z}.",
            "{c} put {x} and {y} together and had {z}.",
        ),
        (
            '"{x} and then {y} more?" "{x} plus {y} is {z}."',
            '"{x} and {y} together?" "{x} plus {y} is {z}," said {c}.',
        ),
        8,
    )


def _differences() -> Lesson:
    return Lesson(
        "taking-away",
        [{"x": str(x), "y": str(y), "z": str(x - y)} for x, y in world.DIFFERENCES],
        "<On {day} the children learned to take away|Clara put cherries on the table, and the children "
        "took some away|After the sums came the harder part, taking away>.",
        (
            "{x} minus {y} is {z}.",
            "{x} less {y} is {z}.",
            "{c} had {x} and lost {y}, and that left {z}.",
        ),
        (
            '"{x}, but without {y}?" "{x} minus {y} is {z}."',
            '"And {x} less {y}?" "{x} minus {y} is {z}," said {c}.',
        ),
        6,
    )


def _order() -> Lesson:
    rng = random.Random(3)
    facts = []
    for _ in range(150):
        chosen = rng.sample(world.SORTED_WORDS, 3)
        facts.append({"w": f"{chosen[0]}, {chosen[1]} and {chosen[2]}", "o": ", ".join(sorted(chosen))})
    return Lesson(
        "order",
        facts,
        "The letters stand in a fixed order: a, b, c, d, e, f. So words can stand in order too. "
        "<First ant, then bee, then cow, then dog, then egg, then fox.|>",
        (
            "{c} had the words {w}. In order they are {o}.",
            '"{W}," said Clara. "{O}," said {c}.',
            "{c} sorted {w} and wrote: {o}.",
        ),
        ('"Now {w} in order." "{O}," said {c}.',),
        5,
    )


def _calendar() -> Lesson:
    pairs = [(x, y) for names in (world.DAYS, world.MONTHS) for x, y in zip(names, names[1:] + names[:1], strict=True)]
    return Lesson(
        "calendar",
        [{"w": x, "o": y} for x, y in pairs],
        "A week has seven days and a year has twelve months. <{c} always forgot which comes first|On "
        "{day} the children learned them all>.",
        (
            "After {w} comes {o}.",
            "{o} follows {w}.",
            '"It is {w}," said {c}. "Then {o} comes next," said {d}.',
        ),
        (
            '"{w} is over. What is next?" "After {w} comes {o}."',
            '"And after {w}?" "After {w} comes {o}," said {c}.',
        ),
        5,
    )


def _animals() -> Lesson:
    facts = []
    for name, (sound, young, home, food) in world.ANIMALS.items():
        facts += [
            {"w": name, "q": f"what sound the {name} makes", "f": f"{a(name)} {sound}"},
            {"w": name, "q": f"where the {name} lives", "f": f"{a(name)} lives {home}"},
            {"w": name, "q": f"what the {name} eats", "f": f"{a(name)} eats {food}"},
        ]
        if young:
            facts.append(
                {"w": name, "q": f"what the young {name} is called", "f": f"a young {name} is called {a(young)}"}
            )
    return Lesson(
        "animals",
        facts,
        "<The children read the big book of animals|Clara asked about the animals|On {day} the school "
        "walked to Ben's farm and talked about animals>.",
        (
            "{F}.",
            '"{F}," said {c}.',
            "{c} knows that {f}.",
            "{c} wrote that {f}.",
        ),
        (
            '"Who knows {q}?" "{F}."',
            '"And who can say {q}?" "{F}," said {c}.',
        ),
        10,
    )


def _colours() -> Lesson:
    return Lesson(
        "colours",
        [{"w": thing, "o": colour} for thing, colour in world.COLOURS.items()],
        "<Ella came to school with her paint|On {day} the children painted|Ella the painter gave a lesson>. "
        "Everything needs the right colour.",
        (
            "{W} is {o}.",
            '"I need {o} paint for {w}," said {c}.',
            "{c} painted {w} with {o} paint, as it should be.",
        ),
        (
            '"And the colour of {w}?" "{W} is {o}."',
            '"Which colour has {w}?" "{W} is {o}," said {c}.',
        ),
        4,
    )


def _jobs() -> Lesson:
    return Lesson(
        "jobs",
        [
            {
                "p": person.name,
                "he": person.he,
                "job": person.job,
                "a_job": a(person.job),
                "does": world.JOBS[person.job][0],
                "where": world.JOBS[person.job][1],
            }
            for person in world.ADULTS
        ],
        "What do the grown-ups of Millbrook do all day? <Clara asked, and the children knew|On {day} the "
        "children talked about work>.",
        (
            "{p} is {a_job} and works {where}.",
            "{A_job} {does}, and {p} does it very well.",
            '"I want to be {a_job} like {p}," said {c}.',
            "The {job} is {p}, and {he} {does}.",
            "The {job} of Millbrook is {p}.",
        ),
        (
            '"And the job of {p}?" "{p} is {a_job}."',
            '"And who is the {job} here?" "The {job} of Millbrook is {p}."',
            '"And the work of {a_job}?" "{A_job} {does}," said {c}.',
        ),
        5,
    )


def _people() -> Lesson:
    facts = []
    for person in world.PEOPLE:
        name = person.name
        facts += [
            {"w": name, "q": f"where {name} lives", "f": f"{name} lives {person.home}"},
            {
                "w": name,
                "q": f"which pet {name} has",
                "f": f"{name} has {a(person.pet)} called {person.pet_name}",
            },
            {"w": name, "q": f"what {name} likes to eat", "f": f"{name} likes {person.food} best"},
            {
                "w": name,
                "q": f"which colour {name} likes",
                "f": f"{name} loves the colour {person.colour}",
            },
        ]
    return Lesson(
        "people",
        facts,
        "<Everybody knows everybody in Millbrook|On {day} the children talked about the people of the "
        "village>. <What does a good neighbour know|Who lives where, and with whom>?",
        (
            "{F}.",
            '"{F}," said {c}.',
            "{c} knows that {f}.",
        ),
        (
            '"Who knows {q}?" "{F}."',
            '"And who can say {q}?" "{F}," said {c}.',
        ),
        10,
    )


def subjects() -> list[Lesson]:
    """Return the lessons about the world."""
    return [
        _groups(),
        _sums(),
        _differences(),
        _order(),
        _calendar(),
        _animals(),
        _colours(),
        _jobs(),
        _people(),
    ]
