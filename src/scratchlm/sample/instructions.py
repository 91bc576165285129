"""The instructions of the sample profile: 1,100 small tasks about the village and its language.

Two thirds of them ask for a sentence in another form, which practice teaches. The others ask for a fact, which must be
recalled from pretraining. Tasks that ask for the same fact stand side by side, so that a split in file order leaves
them in one part.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from itertools import combinations, islice
from typing import NamedTuple

from scratchlm.sample import world
from scratchlm.sample.world import a, capital

SEED = 20_266  # the first of which every kind of task is in the test part of params.yaml
N_BLOCKS = 20

Entry = dict[str, str]
Fields = dict[str, str]


class Task(NamedTuple):
    """One entry, the kind of task it is, and the name of the fact that its answer states."""

    kind: str
    fact: str
    entry: Entry


# form of the sentence: the number of entries, and the phrasings.
REWRITINGS = {
    "past": (
        50,
        (
            "Write this sentence in the past tense.",
            "Put the sentence into the past.",
            "Tell it as if it was yesterday.",
        ),
    ),
    "future": (
        50,
        (
            "Write this sentence in the future tense.",
            "Put the sentence into the future.",
            "Tell it as if it was tomorrow.",
        ),
    ),
    "progressive": (
        50,
        (
            "Say that it is happening now.",
            "Write the sentence with a verb in ing.",
            "Tell it as if you saw it now.",
        ),
    ),
    "perfect": (
        50,
        (
            "Say that it is done already.",
            "Write this sentence in the perfect tense.",
            "Put the sentence into the perfect.",
        ),
    ),
    "question": (
        50,
        ("Turn this sentence into a question.", "Make a question from the sentence.", "Ask if this is true."),
    ),
    "who": (
        40,
        ("Ask who does it.", "Make a question that begins with who.", "Ask for the name of this person."),
    ),
    "what": (
        40,
        ("Ask what it is.", "Make a question that begins with what.", "Ask for the thing in the sentence."),
    ),
    "negative": (
        50,
        (
            "Make this sentence negative.",
            "Say that this is not true.",
            "Write the sentence with the word not.",
        ),
    ),
    "passive": (
        50,
        (
            "Write this sentence in the passive voice.",
            "Put the sentence into the passive.",
            "Make this sentence passive.",
        ),
    ),
    "pronoun": (
        50,
        (
            "Replace the name with a pronoun.",
            "Write the sentence with he or she.",
            "Use he or she for the name.",
        ),
    ),
    "they": (
        40,
        ("Say it of many people.", "Write the sentence with they.", "Put the word they in place of the name."),
    ),
    "can": (
        40,
        ("Say that it is possible.", "Write the sentence with the word can.", "Say that this person can do it."),
    ),
}
# kind of task: the phrasings of the question, and the answer.
WORD_QUESTIONS: dict[str, tuple[tuple[str, ...], str]] = {
    "opposite": (
        (
            "What is the opposite of {w}?",
            "Name the opposite of {w}.",
            "Which word means the opposite of {w}?",
            "Give the opposite of the word {w}.",
            "Tell me the opposite of {w}.",
        ),
        "The opposite of {w} is {o}.",
    ),
    "plural": (
        (
            "What is the plural of {w}?",
            "Give the plural of the word {w}.",
            "Write the plural form of {w}.",
            "How do you say more than one {w}?",
        ),
        "The plural of {w} is {o}.",
    ),
    "past of a verb": (
        (
            "What is the past tense of {w}?",
            "Give the past tense of the verb {w}.",
            "Write the verb {w} in the past tense.",
            "How do you say {w} in the past?",
        ),
        "The past tense of {w} is {o}.",
    ),
    "comparative": (
        ("Compare the word {w}.", "Give the comparative and superlative of {w}.", "What are the degrees of {w}?"),
        "{w}, {c}, {s}.",
    ),
    "spelling": (
        (
            "How do you spell {w}?",
            "Spell the word {w}.",
            "Spell {w} letter by letter.",
            "Which letters are in the word {w}?",
        ),
        "The word {w} is spelled {o}.",
    ),
    "rhyme": (
        ("Which word rhymes with {w}?", "Name a word that rhymes with {w}.", "Find a rhyme for {w}."),
        "A word that rhymes with {w} is {o}.",
    ),
    "classify a word": (
        (
            "Is the word {w} an animal, a food, a tool, a colour or a plant?",
            "What kind of thing is {w}?",
            "To which group does the word {w} belong?",
        ),
        "The word {w} names {o}.",
    ),
}
WORLD_QUESTIONS: dict[str, tuple[tuple[str, ...], str]] = {
    "home": (
        ("Where does {name} live?", "Tell me where {name} lives.", "Where is the home of {name}?"),
        "{name} lives {home}.",
    ),
    "pet": (
        ("Which pet does {name} have?", "What animal does {name} keep?", "Name the pet of {name}."),
        "{name} has {pet} called {pet_name}.",
    ),
    "favourite food": (
        ("What does {name} like to eat?", "What is the favourite food of {name}?"),
        "{name} likes {food} best.",
    ),
    "favourite colour": (
        ("What is the favourite colour of {name}?", "Which colour does {name} love?"),
        "{name} loves the colour {colour}.",
    ),
    "job": (
        ("What is the job of {name}?", "What does {name} do for work?", "Tell me the job of {name}."),
        "{name} is {job}.",
    ),
    "who has the job": (
        ("Who is the {the} of the village?", "Name the {the} of Millbrook."),
        "The {the} of Millbrook is {name}.",
    ),
    "work": (("What does {job} do?", "Describe the work of {job}.", "Tell me what {job} does."), "{job} {o}."),
    "sound": (
        ("What sound does {an} make?", "Which noise does {an} make?", "Tell me what the {name} says."),
        "{an} {sound}.",
    ),
    "young": (
        ("What is a young {name} called?", "What do we call a baby {name}?"),
        "A young {name} is called {young}.",
    ),
    "animal home": (
        ("Where does {an} live?", "Where do you find {an}?", "Name the home of the {name}."),
        "{an} lives {home}.",
    ),
    "animal food": (
        ("What does {an} eat?", "Name the food of the {name}.", "What do you feed {an}?"),
        "{an} eats {food}.",
    ),
    "colour of a thing": (
        ("What colour is {w}?", "Which colour does {w} have?", "Name the colour of {w}."),
        "{w} is {o}.",
    ),
    "day or month": (
        ("Which {kind} comes after {x}?", "Name the {kind} that follows {x}.", "What comes after {x}?"),
        "After {x} comes {y}.",
    ),
}


def _ask(rng: random.Random, kind: str, facts: Sequence[Fields], phrasings: Sequence[str], answer: str) -> list[Task]:
    """Ask for each fact in one of the phrasings, an instruction or an instruction and an input with "|" between them.

    A fact has its name in the field `fact`.
    """
    tasks = []
    for fact in facts:
        instruction, _, given = rng.choice(phrasings).partition("|")
        entry = {
            "instruction": capital(instruction.format(**fact)),
            "input": given.format(**fact),
            "output": capital(answer.format(**fact)),
        }
        tasks.append(Task(kind, fact["fact"], entry))
    return tasks


def _ask_all(
    rng: random.Random,
    facts: Mapping[str, Sequence[Fields]],
    questions: Mapping[str, tuple[Sequence[str], str]],
) -> list[Task]:
    """Ask for the facts of each kind as `questions` says."""
    return [task for kind, found in facts.items() for task in _ask(rng, kind, found, *questions[kind])]


def _words(rng: random.Random) -> list[Task]:
    opposites = [
        {"fact": f"opposites {pair[0]} and {pair[1]}", "w": x, "o": y}
        for pair in world.OPPOSITES
        for x, y in (pair, pair[::-1])
    ]
    plurals = [{"fact": f"plural of {one}", "w": one, "o": many} for one, many in world.PLURALS.items()]
    pasts = [{"fact": f"past of {verb.base}", "w": verb.base, "o": verb.past} for verb in world.VERBS if verb.objects]
    degrees = [
        {"fact": f"degrees of {word}", "w": word, "c": more, "s": most} for word, (more, most) in world.DEGREES.items()
    ]
    spelled = [{"fact": f"letters of {word}", "w": word, "o": "-".join(word)} for word in world.SPELLED]
    rhymes = [{"fact": f"rhyme of {word}", "w": word, "o": rhyme} for word, rhyme in world.RHYMES.items()]
    members = [
        {"fact": f"kind of {word}", "w": word, "o": world.CATEGORY_PHRASES[category]}
        for category, words in world.CATEGORIES.items()
        for word in words
    ]
    facts = {
        "opposite": opposites,
        "plural": plurals,
        "past of a verb": pasts,
        "comparative": degrees,
        "spelling": spelled,
        "rhyme": rhymes,
        "classify a word": members,
    }
    return _ask_all(rng, facts, WORD_QUESTIONS)


def _world(rng: random.Random) -> list[Task]:
    people = [
        {"name": one.name, "home": one.home, "pet": a(one.pet), "pet_name": one.pet_name, "food": one.food,
         "colour": one.colour}
        for one in world.PEOPLE
    ]  # fmt: skip
    workers = [
        {"fact": f"job of {person.name}", "name": person.name, "job": a(person.job), "the": person.job}
        for person in world.ADULTS
    ]
    work = [{"fact": f"work of {a(job)}", "job": a(job), "o": does} for job, (does, _) in world.JOBS.items()]
    animals = [
        {"name": name, "an": a(name), "sound": sound, "young": a(young) if young else "", "home": home, "food": food}
        for name, (sound, young, home, food) in world.ANIMALS.items()
    ]
    colours = [{"fact": f"colour of {thing}", "w": thing, "o": colour} for thing, colour in world.COLOURS.items()]
    after = [
        {"fact": f"after {x}", "x": x, "y": y, "kind": kind}
        for kind, names in (("day", world.DAYS), ("month", world.MONTHS))
        for x, y in zip(names, names[1:] + names[:1], strict=True)
    ]

    def known(kind: str, facts: Sequence[Fields]) -> list[Fields]:
        return [fact | {"fact": f"{kind} of {fact['name']}"} for fact in facts]

    facts = {
        "home": known("home", people),
        "pet": known("pet", people),
        "favourite food": known("food", people),
        "favourite colour": known("colour", people),
        "job": workers,
        "who has the job": workers,
        "work": work,
        "sound": known("sound", animals),
        "young": known("young", [animal for animal in animals if animal["young"]]),
        "animal home": known("home", animals),
        "animal food": known("food", animals),
        "colour of a thing": colours,
        "day or month": after,
    }
    return _ask_all(rng, facts, WORLD_QUESTIONS)


def _numbers(rng: random.Random) -> list[Task]:
    sums = [{"fact": f"{x} and {y}", "x": str(x), "y": str(y), "z": str(x + y)} for x, y in world.SUMS if x <= y]
    words = []
    for chosen in combinations(world.SORTED_WORDS, 3):
        x, y, z = rng.sample(chosen, 3)
        words.append({"fact": f"order of {chosen}", "w": f"{x}, {y} and {z}", "o": ", ".join(chosen)})
    return [
        *_ask(
            rng,
            "addition",
            sums,
            ("What is {x} plus {y}?", "Add {x} and {y}.", "How much is {x} and {y}?"),
            "{x} plus {y} is {z}.",
        ),
        *_ask(
            rng,
            "sort words",
            words,
            ("Put these words in order: {w}.", "Sort the words {w} by the alphabet."),
            "{o}.",
        ),
    ]


def _sentences(rng: random.Random) -> list[Task]:
    pool = iter(world.sentences()[1])
    tasks = []
    for form, (count, phrasings) in REWRITINGS.items():
        rewritten = [(one.say("present"), one.say(form)) for one in islice(pool, count)]
        facts = [{"fact": new, "s": old, "o": new} for old, new in rewritten]
        tasks += _ask(rng, form, facts, [f"{phrasing}|{{s}}" for phrasing in phrasings], "{o}")
    last_words = [{"fact": f"end of {one}", "s": one.say("present"), "o": one.thing} for one in islice(pool, 38)]
    tasks += _ask(
        rng,
        "last word",
        last_words,
        (
            "What is the last word of this sentence?|{s}",
            "Which word ends this sentence?|{s}",
            "Find the last word.|{s}",
        ),
        "The last word is {o}.",
    )
    moods = [
        {"fact": f"{thing} {word}", "s": f"The {thing} {rng.choice(('is', 'was'))} {word}.", "o": mood}
        for mood, words in (("positive", world.GOOD_WORDS), ("negative", world.BAD_WORDS))
        for word in words
        for thing in world.JUDGED[1::2]  # the corpus judges the others
    ]
    tasks += _ask(
        rng,
        "mood",
        rng.sample(moods, 30),
        (
            "Is this sentence positive or negative?|{s}",
            "What is the mood of this sentence?|{s}",
            "Does the speaker like it?|{s}",
        ),
        "The mood of the sentence is {o}.",
    )
    requests = {one.say("order"): one.say("polite") for one in world.sentences()[1]}
    shouted = [
        {"fact": polite, "s": order, "o": polite}
        for order, polite in requests.items()
        if order.rstrip("!").lower() not in world.CHORES
    ]
    tasks += _ask(
        rng,
        "polite",
        rng.sample(shouted, 40),
        ("Say it politely.|{s}", "Make this a polite question.|{s}", "Ask this in a kind way.|{s}"),
        "{o}",
    )
    return tasks


def tasks() -> list[Task]:
    """Return all tasks in a fixed order, kind by kind."""
    rng = random.Random(SEED)
    return [*_words(rng), *_world(rng), *_numbers(rng), *_sentences(rng)]


def blocks() -> list[list[Task]]:
    """Deal the tasks into 20 blocks of the same length; those of one fact stand side by side in one block.

    So a split at a multiple of 5 % parts no fact, any other split at most one per border, and all kinds are spread.
    """
    rng = random.Random(SEED)
    facts: dict[str, list[Task]] = {}
    for task in tasks():
        facts.setdefault(task.fact, []).append(task)
    dealt: list[list[list[Task]]] = [[] for _ in range(N_BLOCKS)]
    # Facts with several tasks first: the many with a single one fill what is left.
    for group in sorted(facts.values(), key=len, reverse=True):
        rng.shuffle(dealt)
        min(dealt, key=lambda block: sum(map(len, block))).append(group)
    return [[task for group in rng.sample(block, len(block)) for task in group] for block in dealt]


def by_kind() -> dict[str, list[Entry]]:
    """Return the entries under the name of their kind ("opposite", "passive", ...), in a fixed order."""
    kinds: dict[str, list[Entry]] = {}
    for task in tasks():
        kinds.setdefault(task.kind, []).append(task.entry)
    return kinds


def entries() -> list[Entry]:
    """Return all entries, block by block, in the three Alpaca fields: instruction, input (may be empty), output."""
    return [task.entry for block in blocks() for task in block]
