"""The instructions of the sample profile: some 1,100 small tasks about the village and its language.

Every fact is asked in several phrasings, and one seeded shuffle decides which of them land in which split.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from itertools import islice

from scratchlm.sample import world
from scratchlm.sample.world import a, capital

SEED = 20_240

Entry = dict[str, str]
Fields = dict[str, str]

# form of the sentence: the number of entries, and the phrasings.
REWRITINGS = {
    "past": (
        30,
        (
            "Write this sentence in the past tense.",
            "Put the sentence into the past.",
            "Tell it as if it was yesterday.",
        ),
    ),
    "future": (
        28,
        (
            "Write this sentence in the future tense.",
            "Put the sentence into the future.",
            "Tell it as if it was tomorrow.",
        ),
    ),
    "question": (
        30,
        ("Turn this sentence into a question.", "Make a question from the sentence.", "Ask if this is true."),
    ),
    "negative": (
        30,
        (
            "Make this sentence negative.",
            "Say that this is not true.",
            "Write the sentence with the word not.",
        ),
    ),
    "passive": (
        30,
        (
            "Write this sentence in the passive voice.",
            "Put the sentence into the passive.",
            "Make this sentence passive.",
        ),
    ),
    "pronoun": (
        20,
        (
            "Replace the name with a pronoun.",
            "Write the sentence with he or she.",
            "Use he or she for the name.",
        ),
    ),
}


def _ask(rng: random.Random, facts: Sequence[Fields], phrasings: Sequence[str], answer: str, count: int) -> list[Entry]:
    """Ask `count` questions: every fact once, then every fact again in another phrasing, and so on.

    A phrasing is an instruction, or an instruction and an input with "|" between them.
    """
    facts = rng.sample(facts, len(facts))
    orders = [rng.sample(phrasings, len(phrasings)) for _ in facts]
    entries = []
    for k in range(count):
        fact = facts[k % len(facts)]
        instruction, _, given = orders[k % len(facts)][k // len(facts)].partition("|")
        entries.append(
            {
                "instruction": capital(instruction.format(**fact)),
                "input": given.format(**fact),
                "output": capital(answer.format(**fact)),
            }
        )
    return entries


def _words(rng: random.Random) -> dict[str, list[Entry]]:
    opposites = [{"w": x, "o": y} for pair in world.OPPOSITES for x, y in (pair, pair[::-1])]
    plurals = [{"w": one, "o": many} for one, many in world.PLURALS.items()]
    singulars = [{"w": many, "o": one} for one, many in world.PLURALS.items() if one != many]
    pasts = [{"w": verb.base, "o": verb.past} for verb in world.VERBS]
    degrees = [{"w": word, "c": more, "s": most} for word, (more, most) in world.DEGREES.items()]
    spelled = [{"w": word, "o": "-".join(word)} for word in world.SPELLED]
    rhymes = [{"w": word, "o": rhyme} for word, rhyme in world.RHYMES.items()]
    members = [
        {"w": word, "o": world.CATEGORY_PHRASES[category]}
        for category, words in world.CATEGORIES.items()
        for word in words
    ]
    return {
        "opposite": _ask(
            rng,
            opposites,
            (
                "What is the opposite of {w}?",
                "Name the opposite of {w}.",
                "Which word means the opposite of {w}?",
                "Give the opposite of the word {w}.",
                "Tell me the opposite of {w}.",
            ),
            "The opposite of {w} is {o}.",
            116,
        ),
        "plural": _ask(
            rng,
            plurals,
            (
                "What is the plural of {w}?",
                "Give the plural of the word {w}.",
                "Write the plural form of {w}.",
                "How do you say more than one {w}?",
            ),
            "The plural of {w} is {o}.",
            64,
        ),
        "singular": _ask(
            rng,
            singulars,
            ("What is the singular of {w}?", "Give the singular of the word {w}."),
            "The singular of {w} is {o}.",
            20,
        ),
        "past of a verb": _ask(
            rng,
            pasts,
            (
                "What is the past tense of {w}?",
                "Give the past tense of the verb {w}.",
                "Write the verb {w} in the past tense.",
                "How do you say {w} in the past?",
            ),
            "The past tense of {w} is {o}.",
            72,
        ),
        "comparative": _ask(
            rng,
            degrees,
            (
                "Compare the word {w}.",
                "Give the comparative and superlative of {w}.",
                "What are the degrees of {w}?",
            ),
            "{w}, {c}, {s}.",
            24,
        ),
        "spelling": _ask(
            rng,
            spelled,
            (
                "How do you spell {w}?",
                "Spell the word {w}.",
                "Spell {w} letter by letter.",
                "Which letters are in the word {w}?",
            ),
            "The word {w} is spelled {o}.",
            40,
        ),
        "rhyme": _ask(
            rng,
            rhymes,
            ("Which word rhymes with {w}?", "Name a word that rhymes with {w}.", "Find a rhyme for {w}."),
            "A word that rhymes with {w} is {o}.",
            20,
        ),
        "classify a word": _ask(
            rng,
            members,
            (
                "Is the word {w} an animal, a food, a tool, a colour or a plant?",
                "What kind of thing is {w}?",
                "To which group does the word {w} belong?",
            ),
            "The word {w} names {o}.",
            60,
        ),
    }


def _facts(rng: random.Random) -> dict[str, list[Entry]]:
    people = [
        {
            "name": person.name,
            "he": person.he,
            "home": person.home,
            "pet": a(person.pet),
            "animal": person.pet,
            "pet_name": person.pet_name,
            "food": person.food,
            "colour": person.colour,
        }
        for person in world.PEOPLE
    ]
    workers = [
        {"name": person.name, "job": a(person.job), "the": person.job, "does": world.JOBS[person.job][0]}
        for person in world.ADULTS
    ]
    animals = [
        {"w": name, "an": a(name), "sound": sound, "young": young, "home": home, "food": food}
        for name, (sound, young, home, food) in world.ANIMALS.items()
    ]
    colours = [{"w": thing, "o": colour, "be": "is"} for thing, colour in world.COLOURS.items()]
    after = [
        {"x": x, "y": y, "kind": kind}
        for kind, names in (("day", world.DAYS), ("month", world.MONTHS))
        for x, y in zip(names, names[1:] + names[:1], strict=True)
    ]
    return {
        "home": _ask(
            rng,
            people,
            ("Where does {name} live?", "Tell me where {name} lives.", "Where is the home of {name}?"),
            "{name} lives {home}.",
            36,
        ),
        "job": _ask(
            rng,
            workers,
            ("What is the job of {name}?", "What does {name} do for work?", "Tell me the job of {name}."),
            "{name} is {job}.",
            24,
        ),
        "who has the job": _ask(
            rng,
            workers,
            ("Who is the {the} of the village?", "Name the {the} of Millbrook."),
            "The {the} of Millbrook is {name}.",
            16,
        ),
        "work": _ask(
            rng,
            workers,
            ("What does {job} do?", "Describe the work of {job}.", "Tell me what {job} does."),
            "{job} {does}.",
            20,
        ),
        "pet": _ask(
            rng,
            people,
            ("Which pet does {name} have?", "What animal does {name} keep?", "Name the pet of {name}."),
            "{name} has {pet} called {pet_name}.",
            36,
        ),
        "favourite food": _ask(
            rng,
            people,
            ("What does {name} like to eat?", "What is the favourite food of {name}?"),
            "{name} likes {food} best.",
            28,
        ),
        "favourite colour": _ask(
            rng,
            people,
            ("What is the favourite colour of {name}?", "Which colour does {name} like best?"),
            "The favourite colour of {name} is {colour}.",
            28,
        ),
        "sound": _ask(
            rng,
            animals,
            ("What sound does {an} make?", "Which noise does {an} make?", "Tell me what the {w} says."),
            "{an} {sound}.",
            30,
        ),
        "young": _ask(
            rng,
            [animal | {"a_young": a(animal["young"])} for animal in animals if animal["young"]],
            ("What is a young {w} called?", "What do we call a baby {w}?"),
            "A young {w} is called {a_young}.",
            24,
        ),
        "animal home": _ask(
            rng,
            animals,
            ("Where does {an} live?", "Where do you find {an}?", "Name the home of the {w}."),
            "{an} lives {home}.",
            30,
        ),
        "animal food": _ask(
            rng,
            animals,
            ("What does {an} eat?", "Name the food of the {w}.", "What do you feed {an}?"),
            "{an} eats {food}.",
            30,
        ),
        "colour of a thing": _ask(
            rng,
            colours,
            ("What colour is {w}?", "Which colour does {w} have?", "Name the colour of {w}."),
            "{w} is {o}.",
            30,
        ),
        "day or month": _ask(
            rng,
            after,
            ("Which {kind} comes after {x}?", "Name the {kind} that follows {x}.", "What comes after {x}?"),
            "After {x} comes {y}.",
            36,
        ),
    }


def _numbers(rng: random.Random) -> dict[str, list[Entry]]:
    sums = [{"x": str(x), "y": str(y), "z": str(x + y)} for x, y in world.SUMS]
    differences = [{"x": str(x), "y": str(y), "z": str(x - y)} for x, y in world.DIFFERENCES]
    words = []
    for _ in range(40):
        chosen = rng.sample(world.SORTED_WORDS, 3)
        words.append({"w": f"{chosen[0]}, {chosen[1]} and {chosen[2]}", "o": ", ".join(sorted(chosen))})
    unique = {fact["w"]: fact for fact in words}
    return {
        "addition": _ask(
            rng,
            sums,
            ("What is {x} plus {y}?", "Add {x} and {y}.", "How much is {x} and {y}?"),
            "{x} plus {y} is {z}.",
            40,
        ),
        "subtraction": _ask(
            rng,
            differences,
            ("What is {x} minus {y}?", "Take {y} from {x}.", "How much is {x} less {y}?"),
            "{x} minus {y} is {z}.",
            26,
        ),
        "sort words": _ask(
            rng,
            list(unique.values()),
            ("Put these words in order: {w}.", "Sort the words {w} by the alphabet."),
            "{o}.",
            10,
        ),
    }


def _sentences(rng: random.Random) -> dict[str, list[Entry]]:
    pool = iter(world.sentences()[1])
    kinds = {}
    for form, (count, phrasings) in REWRITINGS.items():
        facts = [{"s": one.say("present"), "o": one.say(form)} for one in islice(pool, count)]
        kinds[form] = _ask(rng, facts, [f"{phrasing}|{{s}}" for phrasing in phrasings], "{o}", count)
    last_words = [{"s": one.say("present"), "o": one.thing} for one in islice(pool, 24)]
    kinds["last word"] = _ask(
        rng,
        last_words,
        (
            "What is the last word of this sentence?|{s}",
            "Which word ends this sentence?|{s}",
            "Find the last word.|{s}",
        ),
        "The last word is {o}.",
        24,
    )
    moods = [
        {"s": f"The {thing} {be} {word}.", "o": mood}
        for mood, words in (("positive", world.GOOD_WORDS), ("negative", world.BAD_WORDS))
        for word in words
        for thing in world.JUDGED
        for be in ("is", "was")
    ]
    kinds["mood"] = _ask(
        rng,
        moods,
        (
            "Is this sentence positive or negative?|{s}",
            "What is the mood of this sentence?|{s}",
            "Does the speaker like it?|{s}",
        ),
        "The mood of the sentence is {o}.",
        28,
    )
    kinds["polite"] = _ask(
        rng,
        [{"s": capital(chore), "o": chore} for chore in world.CHORES],
        ("Say it politely.|{s}!", "Make this a polite question.|{s}!", "Ask this in a kind way.|{s}!"),
        "Could you please {o}?",
        20,
    )
    return kinds


def by_kind() -> dict[str, list[Entry]]:
    """Return the entries under the name of their kind ("opposite", "passive", ...), in a fixed order."""
    rng = random.Random(SEED)
    return {**_words(rng), **_facts(rng), **_numbers(rng), **_sentences(rng)}


def entries() -> list[Entry]:
    """Return all entries, shuffled, in the three Alpaca fields: instruction, input (may be empty), output."""
    every = [entry for kind in by_kind().values() for entry in kind]
    random.Random(SEED).shuffle(every)
    return every
