"""The world of the sample profile: a village, its people and animals, and the words they use.

Everything that the corpus tells and the instructions ask comes from these tables, so the two never disagree.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

VILLAGE = "Millbrook"
SENTENCE_SEED = 7

# What the school adds and takes away: small enough to be learned by heart.
SUMS = tuple((x, y) for x in range(1, 6) for y in range(1, 6))
DIFFERENCES = tuple((x, y) for x in range(2, 8) for y in range(1, x))


def _words(text: str) -> list[str]:
    return text.split()


NUMBERS = _words(
    "zero one two three four five six seven eight nine ten eleven twelve "
    "thirteen fourteen fifteen sixteen seventeen eighteen nineteen twenty"
)
DAYS = _words("Monday Tuesday Wednesday Thursday Friday Saturday Sunday")
MONTHS = _words("January February March April May June July August September October November December")
SEASONS = {"spring": "April", "summer": "July", "autumn": "October", "winter": "January"}


@dataclass(frozen=True)
class Person:
    """Someone of the village; `job` is empty for children, whose `age` is a number word."""

    name: str
    he: str
    job: str
    age: str
    home: str
    pet: str
    pet_name: str
    food: str
    colour: str
    hobby: str

    @property
    def him(self) -> str:
        """The object pronoun: him or her."""
        return {"he": "him", "she": "her"}[self.he]

    @property
    def his(self) -> str:
        """The possessive: his or her."""
        return {"he": "his", "she": "her"}[self.he]


PEOPLE = (
    Person("Anna", "she", "baker", "", "above the bakery", "cat", "Mimi", "soup", "yellow", "singing"),
    Person("Ben", "he", "farmer", "", "at the farm", "dog", "Rex", "cheese", "green", "dancing"),
    Person("Clara", "she", "teacher", "", "beside the school", "parrot", "Coco", "apples", "blue", "reading"),
    Person("David", "he", "doctor", "", "near the church", "tortoise", "Flash", "fish", "white", "walking"),
    Person("Ella", "she", "painter", "", "in the old tower", "rabbit", "Snow", "pears", "purple", "painting"),
    Person("Felix", "he", "fisherman", "", "by the lake", "duck", "Captain", "potatoes", "grey", "fishing"),
    Person("Grace", "she", "shopkeeper", "", "above the shop", "mouse", "Penny", "nuts", "orange", "counting"),
    Person("Hugo", "he", "carpenter", "", "next to the mill", "goat", "Biscuit", "eggs", "brown", "building"),
    Person("Ivy", "she", "gardener", "", "behind the park", "hen", "Daisy", "carrots", "pink", "planting"),
    Person("Jack", "he", "postman", "", "near the bridge", "horse", "Thunder", "pies", "red", "riding"),
    Person("Lily", "she", "", "seven", "in the red house", "kitten", "Button", "honey", "pink", "drawing"),
    Person("Max", "he", "", "eight", "in the white house", "puppy", "Socks", "pancakes", "blue", "running"),
    Person("Nina", "she", "", "nine", "on the hill", "frog", "Prince", "cherries", "green", "swimming"),
    Person("Oscar", "he", "", "ten", "at the inn", "owl", "Moon", "bread", "black", "cooking"),
    Person("Rosa", "she", "", "eleven", "by the river", "pony", "Star", "cake", "red", "climbing"),
    Person("Tom", "he", "", "twelve", "near the forest", "pig", "Duke", "plums", "yellow", "sleeping"),
)
ADULTS = tuple(person for person in PEOPLE if person.job)
CHILDREN = tuple(person for person in PEOPLE if not person.job)

# job: what this person does, and where.
JOBS = {
    "baker": ("bakes bread", "in the bakery"),
    "farmer": ("grows corn", "on the farm"),
    "teacher": ("teaches children", "in the school"),
    "doctor": ("helps sick people", "in the hospital"),
    "painter": ("paints pictures", "in the tower"),
    "fisherman": ("catches fish", "on the lake"),
    "shopkeeper": ("sells food", "in the shop"),
    "carpenter": ("makes tables and chairs", "in the workshop"),
    "gardener": ("grows flowers", "in the park"),
    "postman": ("brings letters", "in the village"),
}

# animal: its sound, its young (empty where few know the word), its home, its food.
ANIMALS = {
    "dog": ("barks", "puppy", "in a kennel", "meat"),
    "cat": ("meows", "kitten", "in a house", "fish"),
    "cow": ("moos", "calf", "in a barn", "grass"),
    "horse": ("neighs", "foal", "in a stable", "hay"),
    "sheep": ("bleats", "lamb", "in a field", "grass"),
    "pig": ("grunts", "piglet", "in a sty", "potatoes"),
    "duck": ("quacks", "duckling", "on a pond", "snails"),
    "hen": ("clucks", "chick", "in a coop", "corn"),
    "frog": ("croaks", "tadpole", "in a pond", "flies"),
    "owl": ("hoots", "owlet", "in a tree", "mice"),
    "lion": ("roars", "cub", "in a hot land", "meat"),
    "wolf": ("howls", "pup", "in a forest", "meat"),
    "bee": ("buzzes", "", "in a hive", "honey"),
    "bird": ("sings", "chick", "in a nest", "seeds"),
    "mouse": ("squeaks", "", "in a hole", "cheese"),
    "bear": ("growls", "cub", "in a cave", "berries"),
}

COLOURS = {
    "grass": "green",
    "snow": "white",
    "coal": "black",
    "the sky": "blue",
    "the sun": "yellow",
    "a lemon": "yellow",
    "a tomato": "red",
    "a carrot": "orange",
    "milk": "white",
    "a plum": "purple",
    "chocolate": "brown",
    "a pig": "pink",
    "a frog": "green",
    "a cherry": "red",
    "a mouse": "grey",
}

OPPOSITES = (
    ("hot", "cold"), ("big", "small"), ("long", "short"), ("fast", "slow"), ("happy", "sad"),
    ("heavy", "light"), ("dark", "bright"), ("open", "closed"), ("full", "empty"), ("wet", "dry"),
    ("clean", "dirty"), ("good", "bad"), ("loud", "quiet"), ("hard", "soft"), ("rich", "poor"),
    ("day", "night"), ("up", "down"), ("left", "right"), ("near", "far"), ("high", "low"),
    ("new", "old"), ("strong", "weak"), ("sweet", "sour"), ("buy", "sell"),
)  # fmt: skip

PLURALS = {
    "mouse": "mice", "child": "children", "foot": "feet", "tooth": "teeth", "goose": "geese", "man": "men",
    "woman": "women", "sheep": "sheep", "fish": "fish", "leaf": "leaves", "knife": "knives",
    "wolf": "wolves", "loaf": "loaves", "shelf": "shelves", "box": "boxes", "bus": "buses",
    "dish": "dishes", "brush": "brushes", "baby": "babies", "berry": "berries", "pony": "ponies",
    "cherry": "cherries", "key": "keys", "toy": "toys", "potato": "potatoes", "tomato": "tomatoes",
    "cat": "cats", "dog": "dogs", "book": "books", "egg": "eggs", "apple": "apples", "tree": "trees",
    "house": "houses", "boat": "boats", "cup": "cups", "chair": "chairs", "flower": "flowers",
    "bird": "birds", "hat": "hats", "shoe": "shoes",
}  # fmt: skip

# adjective: comparative and superlative.
DEGREES = {
    "big": ("bigger", "biggest"), "small": ("smaller", "smallest"), "old": ("older", "oldest"),
    "tall": ("taller", "tallest"), "long": ("longer", "longest"), "fast": ("faster", "fastest"),
    "slow": ("slower", "slowest"), "good": ("better", "best"), "bad": ("worse", "worst"),
    "happy": ("happier", "happiest"), "hot": ("hotter", "hottest"), "cold": ("colder", "coldest"),
    "strong": ("stronger", "strongest"), "loud": ("louder", "loudest"), "heavy": ("heavier", "heaviest"),
    "easy": ("easier", "easiest"),
}  # fmt: skip


@dataclass(frozen=True)
class Verb:
    """A verb with its forms and its possible objects in the village (none: it takes no object)."""

    base: str
    third: str
    past: str
    participle: str
    ing: str
    objects: tuple[str, ...] = ()


def _verb(forms: str, objects: str = "") -> Verb:
    base, third, past, participle, ing = forms.split()
    return Verb(base, third, past, participle, ing, tuple(objects.split()))


VERBS = (
    _verb("bake bakes baked baked baking", "bread cake pie"),
    _verb("eat eats ate eaten eating", "apple soup cake pear fish"),
    _verb("feed feeds fed fed feeding", "dog cat goat horse hen pig"),
    _verb("wash washes washed washed washing", "cup window plate horse"),
    _verb("read reads read read reading"),
    _verb("write writes wrote written writing", "letter story song"),
    _verb("paint paints painted painted painting", "door fence boat picture wall"),
    _verb("carry carries carried carried carrying", "basket box bucket chair table"),
    _verb("find finds found found finding", "key hat ball shoe egg"),
    _verb("buy buys bought bought buying", "bread cheese milk hat basket"),
    _verb("sell sells sold sold selling", "milk cheese fish honey chair"),
    _verb("make makes made made making", "table chair soup kite hat"),
    _verb("build builds built built building", "wall boat house fence"),
    _verb("mend mends mended mended mending"),
    _verb("clean cleans cleaned cleaned cleaning", "kitchen window table boat"),
    _verb("open opens opened opened opening", "door window box gate letter"),
    _verb("close closes closed closed closing", "door window box gate book"),
    _verb("cook cooks cooked cooked cooking", "soup fish dinner egg"),
    _verb("draw draws drew drawn drawing", "map horse tree house"),
    _verb("see sees saw seen seeing", "owl moon boat horse duck"),
    _verb("drive drives drove driven driving"),
    _verb("ride rides rode ridden riding"),
    _verb("catch catches caught caught catching", "ball fish hen kite"),
    _verb("drink drinks drank drunk drinking", "milk water tea"),
    _verb("sing sings sang sung singing"),
    _verb("plant plants planted planted planting"),
    _verb("throw throws threw thrown throwing"),
    _verb("bring brings brought brought bringing", "letter basket milk bread"),
    _verb("hold holds held held holding"),
    _verb("sweep sweeps swept swept sweeping"),
    _verb("ring rings rang rung ringing"),
    _verb("lose loses lost lost losing"),
    _verb("go goes went gone going"),
    _verb("come comes came come coming"),
    _verb("run runs ran run running"),
    _verb("sleep sleeps slept slept sleeping"),
    _verb("swim swims swam swum swimming"),
    _verb("fly flies flew flown flying"),
    _verb("give gives gave given giving"),
    _verb("take takes took taken taking"),
    _verb("know knows knew known knowing"),
    _verb("sit sits sat sat sitting"),
    _verb("stand stands stood stood standing"),
    _verb("walk walks walked walked walking"),
)

SPELLED = _words(
    "cat dog cow hen pig bee owl sun moon milk cake soup fish book door boat tree leaf rain snow ball lamp map hat"
)

# category: its members, in one word each.
CATEGORIES = {
    "animal": _words("dog cat cow horse sheep pig duck hen frog owl lion wolf"),
    "food": _words("bread cheese soup cake apple pear carrot honey pie egg"),
    "tool": _words("hammer saw brush spade knife needle broom ladder"),
    "colour": _words("red blue green yellow black white brown pink"),
    "plant": _words("tree flower grass rose bush corn"),
}
CATEGORY_PHRASES = {
    "animal": "an animal", "food": "a food", "tool": "a tool", "colour": "a colour", "plant": "a plant",
}  # fmt: skip

RHYMES = {
    "cat": "hat", "moon": "spoon", "cake": "lake", "bee": "tree", "goat": "boat", "star": "jar",
    "hen": "pen", "house": "mouse", "dog": "fog", "bread": "bed", "fish": "dish", "king": "ring",
    "bell": "well", "snow": "crow",
}  # fmt: skip

GOOD_WORDS = _words("wonderful lovely great perfect beautiful")
BAD_WORDS = _words("terrible awful horrible boring ugly")
JUDGED = _words("soup cake song story day party picture trip dinner letter market game")

SORTED_WORDS = _words("ant bee cow dog egg fox")

CHORES = (
    "open the door", "close the window", "feed the dog", "wash the cups", "bring the milk",
    "carry the basket", "clean the kitchen", "sweep the floor", "water the flowers", "ring the bell",
    "read the letter",
    "help the farmer", "wait at the bridge", "come to the party", "mend the chair", "cut the bread",
    "paint the fence", "light the lamp", "hold the ladder", "find the key",
)  # fmt: skip


def a(word: str) -> str:
    """Return `word` with its indefinite article."""
    return f"{'an' if word[0] in 'aeiou' else 'a'} {word}"


def capital(text: str) -> str:
    """Return `text` with its first letter made a capital."""
    return text[0].upper() + text[1:]


@dataclass(frozen=True)
class Sentence:
    """A plain statement, "Anna bakes the bread.", with the forms that are taught at school."""

    person: Person
    verb: Verb
    thing: str

    def say(self, form: str) -> str:
        """Return the sentence in one of the forms that the school teaches: "present", "past", "passive", ..."""
        who, verb, thing = self.person.name, self.verb, f"the {self.thing}"
        return {
            "present": f"{who} {verb.third} {thing}.",
            "past": f"{who} {verb.past} {thing}.",
            "future": f"{who} will {verb.base} {thing}.",
            "question": f"Does {who} {verb.base} {thing}?",
            "who": f"Who {verb.third} {thing}?",
            "what": f"What does {who} {verb.base}?",
            "negative": f"{who} does not {verb.base} {thing}.",
            "passive": f"The {self.thing} is {verb.participle} by {who}.",
            "pronoun": f"{capital(self.person.he)} {verb.third} {thing}.",
            "progressive": f"{who} is {verb.ing} {thing}.",
            "perfect": f"{who} has {verb.participle} {thing}.",
            "they": f"They {verb.base} {thing}.",
            "can": f"{who} can {verb.base} {thing}.",
            "order": f"{capital(verb.base)} {thing}!",
            "polite": f"Could you please {verb.base} {thing}?",
        }[form]


def sentences() -> tuple[list[Sentence], list[Sentence]]:
    """Return all sentences in two shuffled halves: one for the corpus, the other for the instructions."""
    every = [Sentence(person, verb, thing) for person in PEOPLE for verb in VERBS for thing in verb.objects]
    random.Random(SENTENCE_SEED).shuffle(every)
    return every[: len(every) // 2], every[len(every) // 2 :]
