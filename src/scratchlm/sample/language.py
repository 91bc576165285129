"""The lessons about language: words, their forms, and the forms of a sentence."""

from __future__ import annotations

from scratchlm.sample import world
from scratchlm.sample.lessons import Lesson
from scratchlm.sample.world import a, capital


def _opposites() -> Lesson:
    return Lesson(
        "opposites",
        [{"w": x, "o": y} for pair in world.OPPOSITES for x, y in (pair, pair[::-1])],
        "<Today|On {day}> Clara <taught the children opposites|played a game with the children. She said "
        "a word, and they had to find its opposite|wrote words on the board, and everyone looked for the "
        "opposites>.",
        (
            'Clara said "{w}", and {c} <answered|called> "{o}".',
            "{c} <knew|said> that {w} is the opposite of {o}.",
            '"What is not {w}?" <asked Clara|she asked>. "It is {o}," said {c}.',
            "<The other side of|The opposite of> {w} is {o}.",
            "{c} <wrote|read> {w} and {d} <wrote|read> {o}, for they are opposites.",
            '"{W} and {o}," said {c}. "One is the opposite of the other."',
            "Not {w}, but {o}.",
        ),
        (
            '"And now the opposite of {w}," said Clara. "The opposite of {w} is {o}," said {c}.',
            '"{W}! What is its opposite?" "It is {o}. The opposite of {w} is {o}," answered {c}.',
        ),
        30,
    )


def _plurals() -> Lesson:
    return Lesson(
        "plurals",
        [{"w": one, "a_w": a(one), "o": many} for one, many in world.PLURALS.items()],
        "<This morning|On {day}> the children <learned the words for one thing and for many "
        "things|counted the things in a big picture|learned about plurals. One thing is singular, and "
        "many things are plural>.",
        (
            "One {w}, {n} {o}.",
            "Clara drew {a_w}. Then she drew {n} {o}.",
            '"How do we say more than one {w}?" asked Clara. "{O}," said {c}.',
            "{c} saw one {w} in the picture, but {d} saw {n} {o}.",
            "The plural of {w} is {o}, said {c}.",
            "Of many {o}, each one is {a_w}.",
            "The word {o} has the singular {w}.",
        ),
        (
            '"Now many, not one: {w}." "The plural of {w} is {o}," said {c}.',
            '"One {w}, and then {n}?" "Then {n} {o}. The plural of {w} is {o}," answered {c}.',
            '"Here are {o}. And one of them?" "The singular of {o} is {w}," said {c}.',
        ),
        22,
    )


def _pasts() -> Lesson:
    return Lesson(
        "yesterday",
        [{"w": verb.base, "o": verb.past, "t": verb.third} for verb in world.VERBS],
        "<The lesson was about yesterday|On {day} Clara talked about the past|Clara wrote the word "
        "yesterday on the board>. What we do today, we did <yesterday|in the past> too, but the word is "
        "different.",
        (
            "Today we {w}, yesterday we {o}.",
            '"I {w}," said {c}. "Yesterday I {o}."',
            "{c} {t} now, and in the past {che} {o}.",
            "The past of {w} is {o}.",
            'Clara said "{w}", and {c} put it into the past tense and said "{o}".',
            "They {w} today. Last week they {o}.",
            '"How do I say {w} in the past?" asked {c}. "You say {o}," said {d}.',
        ),
        (
            '"Let us hear {w}, but yesterday." "The past tense of {w} is {o}," said {c}.',
            '"Today it is {w}. And yesterday?" "Yesterday it was {o}. The past tense of {w} is {o}," answered {c}.',
        ),
        18,
    )


def _degrees() -> Lesson:
    return Lesson(
        "comparing",
        [{"w": word, "c2": more, "s": most} for word, (more, most) in world.DEGREES.items()],
        "<The children compared everything that they had|On {day} the children learned to compare|Clara "
        "put three pets on the table, and the children compared them>.",
        (
            "{W}, {c2}, {s}.",
            "{cpet_name} is {w}, {dpet_name} is {c2}, and {epet_name} is the {s} of all.",
            "First comes {w}, then comes {c2}, and the last is {s}.",
            '"I am {w}," said {c}. "I am {c2}," said {d}. "And I am the {s}," said {e}.',
        ),
        ('"Who can compare {w}?" "{W}, {c2}, {s}," said {c}.',),
        8,
    )


def _spelling() -> Lesson:
    return Lesson(
        "spelling",
        [{"w": word, "o": "-".join(word)} for word in world.SPELLED],
        "<It was the day of the spelling game|On {day} the children spelled words|Clara asked for the "
        "letters of many little words>. <One after the other, they stood up|Everyone wanted to be first>.",
        (
            "{c} spelled {w}: {o}.",
            '"Can you spell {w}?" asked Clara. "{o}," said {c}.',
            "The letters of {w} are {o}.",
            '"{W}," said {c}, "is spelled {o}."',
            "Letter by letter, {c} wrote the word {w}: {o}.",
        ),
        ('"The word {w}, please, with all its letters." "The word {w} is spelled {o}," said {c}.',),
        14,
    )


def _rhymes() -> Lesson:
    return Lesson(
        "rhymes",
        [{"w": x, "o": y} for pair in world.RHYMES.items() for x, y in (pair, pair[::-1])],
        "<The children wanted to write a song|On {day} they looked for rhymes|Clara read a funny song>. "
        "A song needs words that sound alike.",
        (
            "{W} rhymes with {o}.",
            '"{W} and {o}," sang {c}.',
            "{c} found that {w} <sounds like|rhymes with> {o}.",
            'Clara said "{w}", and {c} found the rhyme "{o}".',
        ),
        ('"And what sounds like {w}?" "A word that rhymes with {w} is {o}," said {c}.',),
        6,
    )


def _sentences() -> Lesson:
    facts = []
    for sentence in world.sentences()[0]:
        facts.append(
            {
                "s": sentence.say("present"),
                "last": sentence.thing,
                **{f"s_{form}": sentence.say(form) for form in
                   ("past", "future", "question", "negative", "passive", "pronoun")},
            }
        )  # fmt: skip
    return Lesson(
        "sentences",
        facts,
        "<On {day} the children played with sentences|A sentence can be turned in many ways|Clara wrote "
        "a sentence on the board, and the children changed it>.",
        (
            'In the past "{s}" becomes "{s_past}"',
            'Clara wrote "{s}" and {c} wrote "{s_past}" For {chim} it was yesterday.',
            'In the future "{s}" becomes "{s_future}"',
            'Clara wrote "{s}" and {c} wrote "{s_future}" For {chim} it was tomorrow.',
            '{c} read "{s}" and made a question. "{s_question}"',
            'Clara wrote "{s}" {c} was not sure and asked "{s_question}"',
            '{c} made "{s}" negative. "{s_negative}"',
            '{c} did not believe "{s}" and wrote "{s_negative}"',
            'In the passive "{s}" becomes "{s_passive}"',
            '{c} turned "{s}" around. "{s_passive}"',
            '{c} took a pronoun for the name. "{s}" became "{s_pronoun}"',
            'Without the name "{s}" becomes "{s_pronoun}"',
        ),
        (
            'Clara said "{s}" and then "Yesterday!" {c} answered "{s_past}"',
            'Clara said "{s}" and then "Tomorrow!" {c} answered "{s_future}"',
            'Clara said "{s}" and then "A question!" {c} answered "{s_question}"',
            'Clara said "{s}" and then "No!" {c} answered "{s_negative}"',
            'Clara said "{s}" and then "Passive!" {c} answered "{s_passive}"',
            'Clara said "{s}" and then "He or she?" {c} answered "{s_pronoun}"',
            'Clara said "{s}" and then "The last word?" {c} answered "The last word is {last}."',
        ),
        48,
    )


def _manners() -> Lesson:
    facts = [{"s": capital(chore), "f": f"Could you please {chore}?"} for chore in world.CHORES]
    return Lesson(
        "manners",
        facts,
        "It is better to ask than to shout. <Clara taught the children to be polite|On {day} the lesson "
        "was about kind words>.",
        (
            '"{s}!" shouted {c}. Clara looked at {chim}. "{f}" said {c}.',
            '"{s}!" is not polite. "{f}" is much better.',
            'Do not say "{s}!" to a friend. Ask "{f}"',
        ),
        ('"{s}!" was too loud for Clara. {c} asked "{f}"',),
        6,
    )


def _moods() -> Lesson:
    facts = [
        {"s": f"The {thing} was {word}.", "o": mood}
        for mood, words in (("positive", world.GOOD_WORDS), ("negative", world.BAD_WORDS))
        for word in words
        for thing in world.JUDGED[::2]
    ]
    return Lesson(
        "moods",
        facts,
        "Some sentences are positive and some are negative. <You can hear it in one word|On {day} the "
        "children learned to hear the mood of a sentence>.",
        (
            '{c} read "{s}" Everybody knew that it was {o}.',
            '"{s}" That is a {o} sentence.',
            '{c} said "{s}" The mood was {o}.',
        ),
        ('Clara read "{s}" and {c} answered "The mood of the sentence is {o}."',),
        6,
    )


def subjects() -> list[Lesson]:
    """Return the lessons about language."""
    return [
        _opposites(),
        _plurals(),
        _pasts(),
        _degrees(),
        _spelling(),
        _rhymes(),
        _sentences(),
        _manners(),
        _moods(),
    ]
