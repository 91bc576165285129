"""The stories of the village, portraits of its people, and their letters: plots whose words vary."""

from __future__ import annotations

import random

from scratchlm.sample import world
from scratchlm.sample.prose import vary
from scratchlm.sample.world import a, capital

WEATHER = (
    "It was a <warm|bright|beautiful> {day}, and the sun was yellow over {village}.",
    "On {day} it rained all <morning|day>, and everything in {village} was wet.",
    "It was <cold|a cold and quiet {day}>, and white snow lay on the fields.",
    "It was <early|late> on a {day} in {month}.",
    "The wind was strong that {day}, and hats flew over the bridge.",
    "One {day} in {season} the sky was blue from side to side.",
    "There was <thick|grey> fog on {day}, and nobody could see the church.",
)

PLOTS = (
    # Something lost
    "{p}, who lives {home}, could not find {his} <key|hat|shoe|book>. {He} looked above the door and "
    'below the table, inside the box and outside the house.\nThen {he} asked {q}. "When did you '
    '<lose|see> it last?" asked {q}. "Before breakfast," said {p}. "Or after breakfast. Always before or '
    'after."\n{pet_name} the {pet} sat <in the corner|on the old chair> and was <very quiet|too quiet>. '
    '{p} lifted the {pet}. There it was, warm and a little flat. "Thank you, {pet_name}," said {p}, but '
    "{pet_name} was <not sorry at all|already asleep again>.",
    # Too hot, too cold
    "{p} cooked <soup|dinner> for {q}. The first plate was too hot. The second plate was too cold. {q} "
    'waited <for a long time|and looked at the moon>.\n"Is it good?" asked {p}. "It is <neither bad nor '
    'good|sweet and sour and a little black>," said {q}. So they gave it to {qpet_name} the {qpet}, who '
    "ate everything and looked happy.\nThen {p} opened a box of {food}, because {p} likes {food} best, "
    "and they ate {n} each.",
    # The market
    'On market day {p} <took a basket and went|walked> to the <market|shop>. "{X} {goods}, please," said '
    '{p} to Grace the shopkeeper. {q} wanted {y} {goods}, too.\nGrace counted them all. "{X} and {y} are '
    '{z}," she said. "{X} for {p} and {y} for {q}." {He} paid with a <new|silver> coin and carried the '
    "basket home.\nOn the way {q} ate one. Now there were {z_less} {goods}. {p} counted again and again, "
    "and {q} looked <at the sky|at the river|very hard at a tree>.",
    # To the lake
    "{p} and {q} walked to the lake to see Felix the fisherman, who lives by the lake with a duck called "
    'Captain. Felix stood in his boat and held his <hat|lamp>.\n"The water is deep here and shallow '
    'there," he said. "Sit down and be quiet. Fish do not like loud people." {p} was quiet. {q} was '
    "<almost quiet|not quiet at all>.\nAfter {n} hours they had caught <one small fish|an old shoe|one "
    "shoe, but it was a very big one>. Captain the duck laughed. At least it sounded like that.",
    # A pet runs away
    "{pet_name} the {pet} was not in its place. {p} looked {home}, <near the mill and far from the "
    'mill|up the hill and down the hill>, to the left and to the right.\n"Have you seen {a_pet}?" {he} '
    'asked {q}. "What colour is it?" asked {q}. "The best colour," said {p}, whose favourite colour is '
    "{colour}. That did not help.\nIn the evening they found {pet_name} {qhome}, where {q} lives. It was "
    "eating {food} with {qpet_name} the {qpet}. They had <a wonderful party|the best day>. Nobody had "
    "asked {p} to come.",
    # Painting
    "{p} wanted to paint the <door|fence|gate>. It was old and dirty and had to be new and clean. "
    '"{Colour}," said {p}, "for {colour} is my favourite colour." "{Qcolour}!" said {q}. "{Qcolour} is '
    'better."\nSo {p} began at the left and {q} began at the right. They painted fast, then slow, then '
    "fast again, until they met in the middle.\nNow one half is {colour} and the other half is "
    "{qcolour}, and {pet_name} the {pet} is both. Everybody in {village} says that it is <lovely|a very "
    "interesting fence>.",
    # A birthday
    "It was the birthday of {q}. Anna baked a cake, as a baker does, and put {n} candles on the top. {p} "
    'brought {food}, because {p} likes to eat {food} and thinks that everybody does.\n"How old are you?" '
    'asked {p}. "As old as yesterday, and one day more," said {q}. They sang <a happy song|loud and '
    "long>, and {qpet_name} the {qpet} sang too, or tried to.\nThen {q} opened the box from {p}. It was "
    'a <hat|kite|lamp> in {qcolour}. "{Qcolour}!" said {q}. "How did you know?" "Everybody knows," said '
    "{p}.",
    # The goat
    "Hugo the carpenter has a goat, and the goat is called Biscuit. Biscuit eats "
    '<hats|letters|everything>. On {day} {p} came by and lost {his} hat in the wind.\n"Have you seen my '
    'hat?" asked {p}. "No," said Hugo, who lives next to the mill. Biscuit said nothing, for its mouth '
    'was full.\n"It was {colour}," said {p}. "It <was new|was the best hat in {village}>." "It was," '
    "said Hugo and looked at his goat. So he made {p} a hat of wood. It is hard and heavy, but no goat "
    "will eat it.",
    # The post
    "Jack the postman lives near the bridge and rides a horse called Thunder. On {day} he brought {p} a "
    'letter. It was from {q}.\n"Dear {p}," it said. "I am well and my {qpet} {qpet_name} is well too. '
    'Please come to <dinner|lunch> on {day2}. There will be {qfood}. Your friend {q}."\n{p} read it <two '
    'times|from top to bottom> and wrote an answer. "I will come," {he} wrote, "and I will bring '
    '{food}." Jack took the letter, gave it to {q}, and was asked to dinner himself.',
    # The doctor
    "{p} did not feel well. {His} head was hot and {his} feet were cold. So {he} went to David the "
    'doctor, who lives near the church.\n"Open your mouth," said David. "Now close it. How much {food} '
    'did you eat?" "Only a little," said {p}. "{X} in the morning, {y} at noon and {n} at night."\n"Then '
    'I know what it is," said the doctor. "Eat nothing today and drink <water|tea>." The next day {p} '
    "was strong again and ran up the hill. {Pet_name} the {pet} ran behind {him}.",
    # The race
    '"Let us have a race," said {p}. "From the bridge to the church and back." {Pet_name} the {pet} was '
    "at the start, and so was {qpet_name} the {qpet}. And there was Flash, the tortoise of David the "
    'doctor.\n"Go!" called {q}. {Pet_name} <ran left|ran the wrong way>. {Qpet_name} <found something to '
    "eat|fell asleep in the sun>. Flash went on, slow as always, and never stopped.\nSo the slow "
    'tortoise was first and the fast ones were last. "To win you must <come to the end|not stop>," said '
    "David, and Flash ate a <leaf|cherry>.",
    # Snow
    "In the night it had snowed. {p} looked out of the door, and everything was white, the roof and the "
    'road and the river. "Winter!" called {p}. "The opposite of summer!"\n{He} and {q} made a big man of '
    "snow. It had a carrot for a nose, and a carrot is orange, and it had coal for eyes, and coal is "
    "black. {Qpet_name} the {qpet} <was afraid of it|ate the nose>.\nThe next day was warm, and the man "
    'was smaller. Then he was gone. "He <went|has gone> north," said {q}. "He will come back in {month}."',
    # The garden
    'Ivy the gardener lives behind the park. On {day} {p} came to help her. "Push the seeds down," said '
    'Ivy. "Not too deep and not too near to each other." {p} planted {n} <flowers|carrots|beans>.\nThen '
    '{he} waited. {He} waited all morning. "Nothing comes up," said {p}. "It takes <weeks|a month>," '
    'said Ivy. "First rain, then sun, then rain."\nWhen {p} came back in {month}, {he} saw that the '
    "plants were tall and green. One was taller than {pet_name}. Daisy the hen sat below it and clucked.",
    # A noise at night
    'At night {p} heard a noise. It was dark, and the noise was loud, then quiet, then loud again. "Is '
    'it a wolf?" asked {p}. "A wolf howls. Is it a bear? A bear growls. Is it a lion? A lion '
    'roars."\n{He} took a lamp and went outside. Up in the tree sat Moon, the owl of Oscar, who lives at '
    'the inn. An owl hoots. Now it hooted at {p}, and at {pet_name}, and at the bright moon.\n"Good '
    'night, Moon," said {p}, and slept <until noon|very well>.',
    # The chair
    "{p} sat down, and the chair broke. It was an old chair and a thin one. {He} carried it to Hugo the "
    'carpenter. A carpenter makes tables and chairs.\n"Was it you or the {pet}?" asked Hugo. "The '
    '{pet}," said {p}. {Pet_name} looked at {him} for a long time.\nHugo took his hammer and his saw. He '
    'made the thin legs thick and the weak back strong. "Now you can all sit on it," said Hugo, "you and '
    'your {pet} and {q} too." And they did, <all at once|on {day2}>.',
    # Sharing
    '{p} had {z} {goods} in a bag. {q} had nothing. "I am hungry," said {q}. "My stomach is empty."\n{p} '
    'thought about it. {He} gave {q} {x} {goods}. {Z} minus {x} is {y}, so {p} had {y} left. "Is that '
    '<fair|right>?" asked {p}. "Almost," said {q}.\nThen they sat on the bridge and ate, and {qpet_name} '
    "the {qpet} got the rest. It was full and the bag was empty.",
    # The song
    "There was music in {village} on {day}. Anna the baker sang, for she loves singing. The dog barked, "
    'the cat meowed, the pig grunted, the hen clucked and the duck quacked.\n"What a lovely song," said '
    '{p}. "What a terrible noise," said {q}. {Pet_name} the {pet} hid below the table.\n"Once more?" '
    'asked Anna. "Yes!" said {p}. "No!" said {q}. So they sang it once more, but with <the windows '
    "closed|less dog>.",
    # On the hill
    "{p} and {q} climbed the hill where Nina lives with her frog, which is called Prince. From the top "
    "they saw all of {village}, the wide fields and the narrow bridge, the high tower and the low "
    'houses.\n"There is the farm of Ben," said {p}. "And there, {home}, do I live." "And I live '
    '{qhome}," said {q}. "How small it is from here!"\nThey ate {food} and {qfood}. Then clouds came, '
    "and they ran down <the long way|fast>. They came home wet, but happy.",
    # In the forest
    "Tom lives near the forest and is never lost. {p} is <always|often> lost. So {p} went to the forest "
    'with Tom and Duke the pig.\n"Left or right?" asked {p}. "Where is the sun?" asked Tom. "In the '
    'morning the sun is in the east." They went left. They saw a bird on its nest, a bee at its hive and '
    'the cave of a bear. They did not stop at the cave.\nWhen it was dark, {p} asked "Are we near or '
    'far?" "Ask Duke," said Tom. Duke grunted and ran, and there was the light of the first house.',
    # The portrait
    'Ella the painter lives in the old tower. "Bring me your {pet}," she said to {p}. "I want to paint '
    'it." {Pet_name} had to sit still. {Pet_name} did not sit still.\nElla painted the head on {day} and '
    'the feet on {day2}. In between, Snow the rabbit ate the <brush|yellow paint>. "It is done," said '
    'Ella at last.\n"It is beautiful," said {p}. "But why is it {qcolour}?" "Because your {pet} <sat on '
    'the paint|was never still>," said Ella. The picture hangs {home} now.',
    # The bus
    "The bus to the city goes on {day}. {p} wanted to be early and was late. {q} wanted to be late and "
    "was early. So they sat side by side.\nIn the city the houses are higher than trees and the streets "
    "are louder than Ben's dog. {p} bought <a map|a new hat|an umbrella>. {q} bought {qfood}.\n\"The "
    'city is big and rich," said {p} in the evening. "But {pet_name} is at home." And {pet_name} the '
    "{pet} stood at the bridge and waited.",
    # Sorry
    '{p} and {q} were not friends on {day}. "You took my ball," said {p}. "I never took your ball," said '
    '{q}. "I always give back what I take."\n{p} was sad and walked to the river. {q} was sad, too, and '
    "walked to the mill. A sad {pet} and a sad {qpet} sat at the window.\nThen the ball came down from "
    'the roof, where the wind had put it. "I was wrong," said {p}. "I was loud," said {q}. They <shook '
    "hands|laughed>, and it was a good day after all.",
    # The farm
    "Ben the farmer gets up early, when it is still dark. A farmer grows corn and feeds the animals. On "
    "{day} {p} came to help with the animals.\nThe cow in the barn wanted grass, the horse in the stable "
    "wanted hay, and the hen in the coop wanted corn. The pig in the sty wanted everything. {p} carried "
    '{n} buckets. Rex the dog carried a stick.\n"What do I get for it?" asked {p}. "Cheese," said Ben, '
    "because Ben likes cheese best. But {p} likes {food}, so they shared <both|the bread of Anna>.",
    # The boat
    '{p} built a boat of wood and painted it {colour}. "Will it swim?" asked {q}. "Of course," said {p}. '
    '"The top is dry." "But the bottom is wet," said {q}, "inside."\n{p} pushed and {q} pulled. The boat '
    "swam for <one minute|the time of a short song>. Then it was below the water and {p} was in the "
    'river.\n"Boats are <difficult|not easy>," said {p}. Felix gave {him} dry socks and a hot tea, and '
    "{pet_name} the {pet} laughed until night.",
    # Reading
    "It was a quiet evening. {p} sat {home} and read a book to {pet_name} the {pet}. It was a story "
    'about a king who had lost his ring.\n"The king looked inside the well," read {p}. "He looked '
    'outside. He asked the moon and the star." {Pet_name} closed one eye. "He asked a fish, and the fish '
    'had the ring." {Pet_name} closed the other eye.\n"The end," said {p}. The rain was soft on the '
    "roof. <Nobody wanted more|{q} waved from the road> and the light went out.",
    # The kite
    '{p} made a kite from paper, and {q} held the string. The wind pulled. "Let go!" called {p}. '
    '"Never!" called {q}.\nUp went the kite, above the church, above the birds, and {qpet_name} the '
    "{qpet} looked up. It was {colour} and it flew higher than all the others.\nThen the string broke. "
    'They found the kite {n} days later {qhome}. It had <seen the sea|a letter on it>. "A wonderful '
    'trip," said {p}.',
)  # fmt: skip

PORTRAITS = (
    "{p} lives {home}. {He} has {a_pet} called {pet_name}. {p} likes {food} best, and {his} favourite "
    "colour is {colour}. {He} is happy when {he} is {hobby}.",
    "Do you know {p}? You will find {him} {home}, with {pet_name} the {pet}. Give {him} {food}, and you "
    "have a friend. {His} door is {colour}, {his} hat is {colour}, and even {his} cup is {colour}, for "
    "this is the colour that {he} loves.",
    "Who lives {home}? {p} does, and so does {pet_name}, {a_pet} that is <never|always> on "
    "time. On the table you see {food}. {p} eats {food} <every day|morning, noon and night>. {He} loves "
    "{hobby}, and the colour {colour}.",
    'If you walk through {village} you will meet {p}. "Good morning," says {p}. "I live {home}. This is '
    'my {pet}. The {pet} is called {pet_name}. Would you like some {food}?" {p} thinks that nothing is '
    "better than {food}, and no colour is better than {colour}.",
    "{pet_name} is {a_pet}. It belongs to {p} and lives {home}. Every day {p} eats {food}, and "
    "{pet_name} gets some of it. When {p} is {hobby}, {pet_name} sits beside {him} on {a_colour} "
    "blanket, because {p} likes {colour} best.",
)
WORKING = (
    " {p} is {a_job}. {A_job} {does}. All day long {he} works {where}.",
    " {p} works {where} as {a_job}, for {a_job} {does}.",
    " What does {p} do? {p} is the {job} of {village}, and {a_job} {does}.",
)
SCHOOLING = (
    " {p} is {age} years old and goes to the school of Clara.",
    " {p} is a child of {age}. In the morning {he} runs to school, and in the afternoon {he} runs <home|much faster>.",
)
GOODS = ("apples", "pears", "eggs", "cherries", "nuts", "plums", "carrots", "potatoes")


def _slots(rng: random.Random, plot: str) -> dict[str, str]:
    # A person whom the plot names cannot be its hero too.
    p, q = rng.sample([person for person in world.PEOPLE if person.name not in plot], 2)
    x, y = rng.randint(2, 6), rng.randint(2, 5)
    day, day2 = rng.sample(world.DAYS, 2)
    season = rng.choice(list(world.SEASONS))
    return {
        **person_slots(p),
        **{f"q{key}" if key != "p" else "q": value for key, value in person_slots(q).items()},
        "village": world.VILLAGE,
        "day": day,
        "day2": day2,
        "month": rng.choice(world.MONTHS),
        "season": season,
        "n": rng.choice(world.NUMBERS[3:11]),
        "x": world.NUMBERS[x],
        "y": world.NUMBERS[y],
        "z": world.NUMBERS[x + y],
        "z_less": world.NUMBERS[x + y - 1],
        "goods": rng.choice(GOODS),
    }


def person_slots(person: world.Person) -> dict[str, str]:
    """Return what a plot may say about one person."""
    return {
        "p": person.name,
        "he": person.he,
        "him": person.him,
        "his": person.his,
        "home": person.home,
        "pet": person.pet,
        "a_pet": a(person.pet),
        "pet_name": person.pet_name,
        "food": person.food,
        "colour": person.colour,
        "a_colour": a(person.colour),
        "hobby": person.hobby,
        "age": person.age,
        "job": person.job,
    }


def _fill(rng: random.Random, text: str, slots: dict[str, str]) -> str:
    capitals = {capital(key): capital(value) for key, value in slots.items() if value}
    return "\n".join(vary(rng, line, slots | capitals) for line in text.split("\n"))


def stories(rng: random.Random, count: int) -> list[str]:
    """Return `count` stories; every plot is used equally often."""
    plots: list[str] = []
    while len(plots) < count:
        plots += rng.sample(PLOTS, len(PLOTS))
    told = []
    for plot in plots[:count]:
        told.append(_fill(rng, f"{rng.choice(WEATHER)}\n{plot}", _slots(rng, plot)) + "\n")
    return told


def portraits(rng: random.Random) -> dict[str, str]:
    """Return the portrait of each person, by name; each way to tell it is a paragraph."""
    told = {}
    for person in world.PEOPLE:
        slots = {"village": world.VILLAGE, **person_slots(person)}
        if person.job:
            does, where = world.JOBS[person.job]
            slots |= {"a_job": a(person.job), "does": does, "where": where}
        more = WORKING if person.job else SCHOOLING
        told[person.name] = "".join(
            _fill(rng, portrait + rng.choice(more), slots) + "\n" for portrait in rng.sample(PORTRAITS, len(PORTRAITS))
        )
    return told
