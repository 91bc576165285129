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
            "The opposite of {w} is {o}.",
            "<The other side of|The opposite of> {w} is {o}, said {c}.",
            "What is not {w} is {o}.",
            "Not {w}, but {o}.",
            '"{W}!" said Clara. "{O}!" said {c}.',
            "{W} is the opposite of {o}.",
        ),
        (
            '"And the opposite of {w}?" "The opposite of {w} is {o}."',
            '"Who knows the opposite of {w}?" "The opposite of {w} is {o}," said {c}.',
            '"Which word is the other side of {w}?" "The opposite of {w} is {o}."',
            '"What is not {w}?" "The opposite of {w} is {o}," said {c}.',
        ),
        14,
    )


def _plurals() -> Lesson:
    return Lesson(
        "plurals",
        [{"w": one, "a_w": a(one), "o": many} for one, many in world.PLURALS.items()],
        "<This morning|On {day}> the children <learned the words for one thing and for many "
        "things|counted the things in a big picture|learned about plurals. One thing is singular, and "
        "many things are plural>.",
        (
            "One {w}, many {o}.",
            "Clara drew {a_w}. Then she drew two {o}.",
            "{c} saw one {w}, but {d} saw many {o}.",
            "The plural of {w} is {o}.",
            "Of many {o}, one is {a_w}.",
            "The singular of {o} is {w}.",
        ),
        (
            '"Many, not one {w}?" "The plural of {w} is {o}."',
            '"And the plural of {w}?" "The plural of {w} is {o}," said {c}.',
            '"One {w}, and two?" "The plural of {w} is {o}."',
            '"One of the {o}?" "The singular of {o} is {w}."',
        ),
        10,
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
            "The past tense of {w} is {o}.",
            "They {w} today. Last week they {o}.",
        ),
        (
            '"And the past of {w}?" "The past tense of {w} is {o}."',
            '"Who puts {w} into the past?" "The past tense of {w} is {o}," said {c}.',
            '"Today we {w}. And yesterday?" "The past tense of {w} is {o}."',
        ),
        8,
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
        ),
        (
            '"Who can compare {w}?" "{W}, {c2}, {s}."',
            '"What are the three steps of {w}?" "{W}, {c2}, {s}," said {c}.',
        ),
        5,
    )


def _spelling() -> Lesson:
    return Lesson(
        "spelling",
        [{"w": word, "o": "-".join(word)} for word in world.SPELLED],
        "<It was the day of the spelling game|On {day} the children spelled words|Clara asked for the "
        "letters of many little words>. <One after the other, they stood up|Everyone wanted to be first>.",
        (
            "{c} spelled {w}: {o}.",
            "The letters of {w} are {o}.",
            "The word {w} is spelled {o}.",
            "Letter by letter, {c} wrote the word {w}: {o}.",
        ),
        (
            '"And the letters of {w}?" "The word {w} is spelled {o}."',
            '"Who can spell {w}?" "The word {w} is spelled {o}," said {c}.',
        ),
        8,
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
            "A word that rhymes with {w} is {o}.",
            "{c} found that {w} sounds like {o}.",
        ),
        (
            '"And what sounds like {w}?" "A word that rhymes with {w} is {o}."',
            '"A rhyme for {w}, please!" "A word that rhymes with {w} is {o}," said {c}.',
        ),
        4,
    )


def _sentences() -> Lesson:
    facts = []
    for sentence in world.sentences()[0]:
        facts.append(
            {
                "s": sentence.say("present"),
                "last": sentence.thing,
                **{f"s_{form}": sentence.say(form) for form in
                   ("past", "future", "progressive", "perfect", "question", "negative", "passive", "pronoun", "they")},
            }
        )  # fmt: skip
    return Lesson(
        "sentences",
        facts,
        "<On {day} the children played with sentences|A sentence can be turned in many ways|Clara wrote "
        "a sentence on the board, and the children changed it>.",
        (
            'In the past "{s}" becomes "{s_past}"',
            '"{s}" Yesterday? "{s_past}"',
            'In the future "{s}" becomes "{s_future}"',
            '"{s}" Tomorrow? "{s_future}"',
            '"{s}" Now? "{s_progressive}"',
            '"{s}" Already? "{s_perfect}"',
            '{c} read "{s}" and made a question. "{s_question}"',
            '"{s}" No! "{s_negative}"',
            '{c} made "{s}" negative. "{s_negative}"',
            '"{s}" said Clara. "{s}" said Coco the parrot.',
            'In the passive "{s}" becomes "{s_passive}"',
            'With a pronoun "{s}" becomes "{s_pronoun}"',
            '"{s}" And many people? "{s_they}"',
        ),
        (
            'Clara said "{s}" and then "Yesterday!" "{s_past}"',
            'Clara said "{s}" and then "Tomorrow!" "{s_future}"',
            'Clara said "{s}" and then "Now!" "{s_progressive}"',
            'Clara said "{s}" and then "A question!" "{s_question}"',
            'Clara said "{s}" and then "No!" "{s_negative}"',
            'Clara said "{s}" and then "Passive!" "{s_passive}"',
            'Clara said "{s}" and then "He or she?" "{s_pronoun}"',
            'Clara said "{s}" and then "The last word?" "The last word is {last}."',
        ),
        36,
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
        4,
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
        ('Clara read "{s}" "The mood of the sentence is {o}," said {c}.',),
        4,
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
