"""The embedded topics: 1,760 invented notes on the village's notice board, each about one of four topics.

A note says one thing about its topic. Many name things of another topic on the way ("it rains cats and dogs"). Others
have a clause or a postscript about another topic, which does not count: "Although it rained, Rosa won the race" is
about sport. So a list of words does not tell the topics apart.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

from scratchlm.sample import world
from scratchlm.sample.prose import vary
from scratchlm.sample.world import a, capital

SEED = 605
MAX_CHARACTERS = 140
# Chosen so that neither a bag of words nor a small GPT gets them all right.
TRICKY_SHARE = 0.5
FRAMED_SHARE = 0.35
POSTSCRIPT_SHARE = 0.3
OPENING_SHARE = 0.2
# Where a clause about another topic stands beside the main clause.
FRAMES = ("Although {other}, {main}.", "While {other}, {main}.", "{main}, although {other}.", "{main} while {other}.")

Slots = dict[str, str]


@dataclass(frozen=True)
class Topic:
    """How many notes are about it, and their patterns: lines in the notation of `sample.prose`.

    `tricky` ones name things of other topics. `clauses` have no capital and no full stop, for `FRAMES`.
    """

    count: int
    plain: str
    tricky: str
    clauses: str


TOPICS = {
    "food": Topic(
        620,
        """
        {c} <is baking|will bake> {food} and {food2} on {day}.
        We have <fresh|warm|new> {food} <at the inn|at the bakery|in the shop> <today|on {day}|again>.
        Who wants {food}? {c} has made <far too much|enough for {n}|a big pot of it>.
        {c} puts {food} into the {food2}<. It tastes good|. Nobody likes it|, and we all want more>.
        How long must the {food} <cook|stay in the oven>? {c} says {n} minutes.
        <Dinner|Lunch|Breakfast> is at {hour}: {food} with {food2}.
        {c} <burned|forgot|dropped> the {food}, so we have {food2} <tonight|on {day}>.
        I need {n} eggs and some milk for the {food}. <Can {d} bring them?|Does {d} have any?>
        Put more <salt|butter|sugar> into the {food}, <says {d}|I think|and less into the {food2}>.
        {c} likes {food} best, and {d} <likes|wants> {food2}.
        <Please cut|Cut> the {food} <thin|into {n} pieces> and <fry|boil> it slowly.
        A <plate|bowl|basket> of {food} for {n} <hungry people|children>, please.
        {c} is hungry <again|already>. Where is the {food}?
        We <cook|bake> together on {day}: {food} and {food2}.
        The kitchen of {c} smells of <warm|sweet> {food}.
        Sweet {food} and sour {food2}: that is what {c} wants.
        {c} learned to <cook|make> {food} from {d}.
        <Try|Taste> the {food} that {c} made<, it is wonderful|, with a spoon of honey|>.
        """,
        """
        It was so hot that {c} only ate cold {food}.
        It <rains|snows>, so we stay in and <bake|cook> {food}.
        After the <race|match|game> everybody wanted the {food} of {c}.
        {c} made a cake that looks like {an_animal}, and it was <soon|all> gone.
        The winner of the <race|match> may taste the {food} that {c} baked.
        On a <cold|snowy|windy> day nothing is better than hot {food}.
        {c} fried the fish that {d} caught, with {food} and {food2}.
        Who ate my {food}? It was not the {animal}, there is a spoon in it.
        {c} eats like {an_animal}: {n} plates of {food}.
        The hens gave us {n} eggs, so {c} will make <pancakes|a cake> of them.
        The {food} is as cold as snow, please warm it up.
        The team was hungry: {n} bowls of {food}, and no {food2} left.
        {c} runs a race with the pot: {food} must never boil over.
        No {food} for the {animal}, it is all for {d} at <dinner|lunch>.
        Like the sun on a plate: the {food} of {c}.
        {c} opened the match of the cooks with {food}, and {food2} came in second.
        Milk of the cow or of the goat in the {food}? {c} takes both.
        """,
        """
        {c} baked {food}
        {c} cooked {food} for {n}
        we ate {food} and {food2}
        {c} made too much {food}
        {c} put honey on the {food}
        {d} cut the {food}
        {c} fried fish
        lunch was {food}
        {c} was hungry
        nobody liked the {food}
        {c} boiled the {food} at {hour}
        the {food} tasted of {food2}
        """,
    ),
    "animals": Topic(
        480,
        """
        {cpet_name} the {cpet} <is ill|has a bad leg|cannot walk>, and {c} stays with {cpet_name} <all night|today>.
        {c} has lost {chis} {cpet}. It <was last seen at {place}|is small and shy>.
        Has anyone seen {an_animal} near {place}? It <has run away|belongs to {c}>.
        The {animal} of {c} has {n} young ones <in the barn|in the straw>.
        A young {animal} <sits|lives> <at|behind> {place} and <cries|hides>.
        {c} feeds the {animal} at {hour} and the {animal2} at night.
        <Listen, that is|I heard> {an_animal} <behind|near> {place} <last night|this morning>.
        The {animal} and the {animal2} are <good friends|not friends> and <sleep side by side|fight all day>.
        {c} <brushes|washes> {chis} {cpet} every {day}.
        {cpet_name} <growls|hides|bites|runs away> when {d} comes near.
        The doctor <looked at|helped> {cpet_name}, the {cpet} of {c}.
        {c} built a <house|bed> of wood for the {animal}.
        {c} wants to buy {an_animal}. Who has a young one?
        Please keep your {animal} away from {place}, it scares the {animal2}.
        There are {n} birds in the nest <at|above> {place}.
        {cpet_name} <sleeps on the chair|lies in the basket> and will not come out.
        Who can look after {cpet_name} the {cpet} while {c} is away?
        {c} found {n} frogs <at|under> {place} and let them go.
        """,
        """
        {cpet_name} the {cpet} ate the {food} of {d} from the table.
        The {animal} got wet in the rain and <sleeps|hides> by the fire now.
        {cpet_name} is afraid of the storm and <hides under the bed|will not come out>.
        In the snow we found the tracks of {an_animal} near {place}.
        {cpet_name} ran off with the ball and <will not give it back|buried it>.
        When it is hot, {cpet_name} lies in the shade and sleeps.
        The {animal} likes {food} better than <grass|hay>, so {c} gives it some.
        No {food} for {cpet_name}, please, it makes the {cpet} ill.
        {cpet_name} won no race, but is the dearest {cpet} of all.
        {cpet_name} can jump over {n} boxes, says {c}, and then wants to be fed.
        The wind broke the fence, and the {animal} is <out|gone>.
        {cpet_name} ran after the children who played {game}, and bit one.
        {cpet_name} waits at the oven while {c} bakes {food}, with big eyes.
        It is cold: {c} puts straw under the {animal} and the {animal2}.
        Do not let {cpet_name} into the kitchen, or the {food} is gone.
        The {animal} swims <over|in> the lake faster than any boat, with {n} young ones behind.
        Honey is there for us, but the bees of {c} are busy and may sting.
        """,
        """
        {cpet_name} the {cpet} was ill
        the {animal} ran away
        {c} fed the {animal}
        the {animal} had {n} young ones
        {cpet_name} hid under the bed
        we looked for the {animal}
        the {animal} bit {d}
        {c} washed {chis} {cpet}
        {an_animal} sat near {place}
        {cpet_name} slept all day
        the {animal} stayed in at {hour}
        {c} found a young {animal}
        """,
    ),
    "sport": Topic(
        380,
        """
        {c} <won|lost> the race <on {day}|by {n} steps> against {d}.
        We play {game} at {hour}. <Who is in?|{c} has the ball.>
        The team of {c} <beat|lost to> the team of {d}, {n} to {m}.
        {c} <runs|swims> every {day} <for an hour|before school>.
        <Training|The training> is on {day} at {hour} <near {place}|in the park>.
        {c} <kicked|threw> the ball <over|into> the goal.
        {d} is the fastest <runner|swimmer> of the village, and {c} comes second.
        Our team needs {n} more players <for the match|on {day}>.
        The <match|game> against {d} ended {n} to {m}.
        {c} jumped <higher|farther> than {d} <this time|again>.
        {c} hurt {chis} leg <in the match|at the training> and cannot play on {day}.
        <New shoes for|A new ball for> the {game} team, thanks to {c}.
        {c} climbs <faster|better> than {d}, and trains <every day|on {day}>.
        Who is first <over the bridge|around the lake>? The race starts at {hour}.
        {c} holds the cup, and {d} holds the ball.
        {n} goals by {c}, and not one by {d}!
        {c} was the judge, and {d} called the goal a mistake.
        {c} rows, {d} swims: the two train for the big day.
        """,
        """
        We played {game} in the rain and won {n} to {m}.
        {c} swims like a <fish|frog|duck> and wins by far.
        {c} runs like {an_animal}, and nobody came close.
        After {n} pancakes {c} could not run, and {d} won.
        The snow was deep, but {c} still <won|finished> the race.
        The winner, {c}, got a basket of {food} and a cup.
        It was too <windy|foggy> to see the ball, so it ended {n} to {m}.
        The <Bees|Wolves|Lions|Bears> play the <Owls|Ducks|Horses|Frogs> at {hour}.
        {c} rode a pony <over|around> the {n} fences and took first place.
        Bread and water only: {c} trains hard for {day}.
        In the storm only {n} came to the training, and {c} was one of them.
        Now {game} on ice: the lake is frozen and {c} keeps the goal.
        {c} ate the {food} too fast and lost the egg race to {d}.
        The sun was in the eyes of {c}, so {d} scored twice.
        {cpet_name} sat in the goal, so {c} could not score, and it stayed {n} to {m}.
        A piece of cake for {c}: {n} to {m} against {d}.
        The <Bees|Wolves|Lions|Bears> were hungry, but {d} kept the ball out.
        """,
        """
        {c} won the race
        {c} lost against {d}
        we played {game}
        {c} trained for the match
        the match ended {n} to {m}
        {c} kicked the ball
        {c} jumped farther than {d}
        our team needed {n} more players
        {d} kept the goal
        {c} swam around the lake first
        {c} scored at {hour}
        the team of {c} got the cup
        """,
    ),
    "weather": Topic(
        280,
        """
        <Tomorrow|On {day}> it will <rain|snow> <in the morning|all day|until {hour}>.
        The wind comes from {place} and will be <strong|cold> on {day}.
        It has <rained|snowed> for {n} days <now|without end>, says {c}.
        A storm is coming: close <the windows|all doors> before {hour}.
        The sun will shine <from {day} on|for {n} days>, says {c}.
        <Thick|Cold> fog <at|over> {place}, and {c} sees no sun.
        It was <colder|warmer> <last {day}|last year>, says {c}.
        {c} says the clouds over {place} mean <rain|snow|thunder>.
        There is ice on <the bridge|the road>, so {c} walks slowly.
        The thunder woke {c} at {hour}.
        No cloud over {place}, and a warm wind <on {day}|since {hour}>.
        <Dry|Wet> days in {month}, as {c} said.
        The river is high again after so much rain, and {c} looks at the sky.
        First frost <on {day}|in {month}>, and the lake is <white|frozen>.
        A rainbow stood over {place} <at {hour}|on {day}>.
        {month} was <too dry|too wet|very windy> this year.
        It hailed at {hour}, and {c} came in all wet.
        The snow lies {n} hands deep at {place}.
        """,
        """
        It rains cats and dogs <at|near> {place}, says {c}.
        The fog is as thick as soup over {place} <today|on {day}>.
        Snow lies like sugar on the roofs near {place}.
        The cows lie down in the field, so rain will come, says {c}.
        The frogs are loud tonight: {c} thinks it will be wet on {day}.
        A wind like {an_animal} howled around {place} <all night|until {hour}>.
        No match on {day}: the field is under water, and more will fall.
        The sun and the clouds play {game} on {day}, and the clouds lead.
        The wind won: {n} roofs are open, and it blows on.
        So hot on {day} that {c} could fry an egg on the bridge, and no cloud to see.
        Hail as big as <eggs|nuts|cherries> fell <on|near> {place}.
        Clouds like <sheep|ducks|big bears> over {place}, and it stays dry.
        The birds fly low, and {c} says the storm is here by {hour}.
        Good days for {food} and bad days for walks: wet until {day}.
        Take no boat out, {c}: it blows hard, and the ducks stay home too.
        No frost in {month}, so the plums and cherries are safe, says {c}.
        Snow in {month} and sun in the week after it: a race of the seasons.
        """,
        """
        it rained at {place}
        it snowed until {hour}
        the wind blew hard
        there was fog at {place}
        it was too hot
        a storm came from {place}
        the sun was out
        the lake was frozen
        it got colder on {day}
        it was dry in {month}
        the clouds hung low over {place}
        it hailed at {hour}
        """,
    ),
}

_OPENINGS = ("Dear all,", "Good morning.", "Hello, {d}.", "News from {place}:", "{d} writes:", "To everybody:")
_FOODS = (
    "bread", "cheese", "soup", "cake", "apples", "pears", "carrots", "honey", "pie", "eggs", "potatoes", "nuts",
    "plums", "pancakes", "cherries", "fish",
)  # fmt: skip
_PLACES = (
    "the mill", "the bridge", "the school", "the inn", "the farm", "the lake", "the park", "the church", "the market",
    "the old tower", "the bakery", "the river",
)  # fmt: skip
_GAMES = ("football", "hockey", "tennis", "handball")


def messages() -> list[tuple[str, str]]:
    """Compose the notes as (topic, text) pairs, all topics mixed.

    The same list at every call: it depends on SEED alone. No two notes differ in nothing but case, digits, spaces and
    punctuation.
    """
    rng = random.Random(SEED)
    seen: set[str] = set()
    labelled = [(name, _compose_new(rng, name, seen)) for name, topic in TOPICS.items() for _ in range(topic.count)]
    rng.shuffle(labelled)
    return labelled


def _compose_new(rng: random.Random, name: str, seen: set[str]) -> str:
    while True:
        note, text = _compose(rng, name)
        keys = {_letters(note), _letters(text)}
        if len(text) <= MAX_CHARACTERS and not keys & seen:
            seen |= keys
            return text


def _compose(rng: random.Random, name: str) -> tuple[str, str]:
    """Return a note, alone and with an opening or a postscript; each part has its own people and things."""
    topic, other = TOPICS[name], TOPICS[rng.choice([other for other in TOPICS if other != name])]
    if rng.random() < FRAMED_SHARE:
        clauses = {"main": _say(rng, topic.clauses), "other": _say(rng, other.clauses)}
        note = capital(rng.choice(FRAMES).format(**clauses))
        parts = [note]
    else:
        note = capital(_say(rng, topic.tricky if rng.random() < TRICKY_SHARE else topic.plain))
        postscript = rng.random() < POSTSCRIPT_SHARE
        parts = [note, f"P.S. {capital(_say(rng, other.clauses))}."] if postscript else [note]
    if rng.random() < OPENING_SHARE:
        parts.insert(0, vary(rng, rng.choice(_OPENINGS), _slots(rng)))
    return note, " ".join(parts)


def _say(rng: random.Random, patterns: str) -> str:
    return vary(rng, rng.choice(patterns.strip().splitlines()), _slots(rng))


def _slots(rng: random.Random) -> Slots:
    one, other = rng.sample(world.PEOPLE, 2)
    animal, animal2 = rng.sample(list(world.ANIMALS), 2)
    food, food2 = rng.sample(_FOODS, 2)
    n, m = rng.sample(world.NUMBERS[2:13], 2)
    return {
        "c": one.name, "chis": one.his, "cpet": one.pet, "cpet_name": one.pet_name, "d": other.name,
        "animal": animal, "an_animal": a(animal), "animal2": animal2, "food": food, "food2": food2,
        "place": rng.choice(_PLACES), "game": rng.choice(_GAMES), "day": rng.choice(world.DAYS),
        "month": rng.choice(world.MONTHS), "hour": rng.choice(world.NUMBERS[2:13]), "n": n, "m": m,
    }  # fmt: skip


def _letters(text: str) -> str:
    return "".join(character for character in text.casefold() if character.isalpha())
