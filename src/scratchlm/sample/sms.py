"""The embedded SMS: 5,300 invented messages, 13 % of them spam, with hard cases on both sides.

A message is composed in two passes. The first expands patterns into words, which must make a new text; the
second adds greetings or terms, names, times, amounts, codes, links and short forms. So no two messages are
equal even without these additions.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable

SEED = 228
N_HAM = 4600
N_SPAM = 700
MAX_CHARACTERS = 120
# Chosen so that neither a bag of words nor a small GPT gets them all right.
CHATTY_SHARE = 0.28
SMALL_TALK_SHARE = 0.15
TRICKY_SHARE = 0.22

# `slot: phrase | phrase`; `{slot}` in a pattern is replaced by one of that slot's phrases.
_PHRASES = """
when: tonight | tomorrow | on friday | on saturday | this weekend | later | after work | after school \
| next week | at lunch | on sunday | in the morning | this evening | on monday
day: monday | tuesday | wednesday | thursday | friday | saturday | sunday
kin: mum | dad | gran | my sister | my brother | my aunt | my cousin | grandad | uncle Leo | my niece
who: {kin} | {kin} | {name} | {name} | everyone | my flatmate | our teacher | the boss | next door
meal: dinner | lunch | breakfast | coffee | tea | pizza | curry | soup | pancakes | fish and chips \
| noodles
food: milk | bread | eggs | rice | apples | cheese | onions | bananas | pasta | butter | cake | biscuits
thing: the umbrella | my charger | the blue jacket | my key ring | your book | the big pot | the ladder \
| my wallet | the tent | the guitar | my lunch box | the spare key | your scarf | the football \
| my notebook | the red bag
place: the station | the park | the library | the cafe | the cinema | the pool | the market | the bus stop \
| the gym | the town hall | the beach | the museum | {name}'s place | the corner shop
job: cook | clean the kitchen | walk the dog | feed the cat | do the washing up | water the plants \
| fix the bike | take the bins out | paint the shed | call the plumber | hang the washing | mow the lawn
fun: watch a film | go for a swim | play cards | go bowling | have a picnic | bake something \
| go for a run | see the fireworks | try that new cafe | go camping | play football | visit {kin} \
| listen to some records
subject: maths | history | biology | french | art | chemistry | geography | music
work: the report | my slides | the rota | my essay | the budget | the invoices | the plan
shift: my shift | the late shift | the till | reception | the kitchen
meeting: the meeting | the interview | the training | the staff party | band practice
busy: a meeting | a lesson | the dentist's chair | a traffic jam | a queue | the bath | band practice
feel: tired | hungry | happy | a bit ill | bored | so full | freezing | nervous | much better | grumpy \
| dizzy
weather: raining | snowing | so hot | really windy | foggy | lovely and sunny | pouring
event: the wedding | the party | the concert | the match | the fair | the school play | the trip \
| the picnic
contest: the match | the quiz | the raffle | the relay | the chess final | the cake contest
pet: the dog | the cat | the rabbit | our hamster | {name}'s puppy | the parrot
odd: ate my sandwich | slept on my homework | hid under the sofa | jumped in the bath | stole a sock \
| knocked the plant over | followed me to the bus | barked at the moon | fell off the chair
gift: socks | a mug | a puzzle | a plant | some chocolate | a scarf | a board game | a candle
about_a_call: missed your call | sorry, bad line before | i'm outside {place} | it's about {kin} \
| we need to talk about {event} | {kin} is asking for you | i have {thing} here | i tried you at {place}
call_back: call me on | ring | ring me back on | my number is now | try me on | text | the number is
maybe: maybe | i think | apparently | honestly
greeting: hey | hi {name} | morning | hiya | ok | lol | haha | oh no | hello love | evening all | right \
| yep | nope | sorry | aww | hey you | {name} | hi mum | hi dad | cool | hmm | no worries | cheers | great \
| hello
closing: see you {when} | love you | take care | thanks | miss you | let me know | talk later | good night \
| ta | x | xx | :) | lol | no rush | hugs | have fun | speak soon | sleep well | haha | bye for now
prize: a new phone | a holiday for two | a cash prize | {big} in cash | a luxury weekend | a games console \
| a shopping voucher | a brand new car | a gold watch | concert tickets | a laptop | a {big} gift card
goods: shoes | watches | sunglasses | perfume | garden chairs | mattresses | vitamins | headphones \
| trainers
deal: ringtones | wallpapers | horoscopes | games | chat minutes | texts | jokes | video clips \
| quiz packs
bank: Bankadoo | Creditoon | Pennywhump
courier: Parcelwump | Vanzibar | Boxwhump
shop: Dealoodle | Zonkaby | Quibblo
line: Tunezzle | Ringzaboo | Fonwibble
club: Winzibar | Betwobble | Drawnoodle
opening: congratulations! | urgent! | winner! | final notice. | dear customer, | lucky you! | free entry! \
| last chance! | important message. | good news! | special offer! | 2nd attempt to reach you. | {club}: \
| {shop} news: | {line}: | hi {name}, | private! | today only: | attention! | {bank} customer, \
| hello {name}! | hey, | guess what?
prize_offer: you have been chosen to receive {prize} | your number was drawn for {prize} \
| you have won {prize} | we still hold {prize} for you, unclaimed since {day} \
| win {prize} in the {club} {day} draw | bet {small} and get {big} free at {club} \
| your bonus points are worth {small} and end on {day}
prize_action: call {premium} now to claim | claim at {badlink} before {day} \
| to collect call {premium} quoting {code} | reply {keyword} to {code} to get it \
| call our claim line {premium} any time | text {keyword} to {code}
money_offer: a loan of up to {big} is approved for you, bad credit is welcome \
| you are owed a tax refund of {big} | borrow {big} today, no questions, money in {n} minutes \
| we owe you {big} for the accident you had | earn {big} a week from home with no experience \
| clear your debts for {small} a month, the rest is written off
money_action: apply in two minutes at {badlink} | reply {keyword} to {code} to get it \
| call {premium} any time | just reply {keyword}, it's that easy | see {badlink} before {day}
account_offer: your account at {bank} is blocked after a strange login | {bank} could not verify your card \
| your parcel is held at the depot, a fee of {small} is due \
| {courier} missed you on {day}, your parcel goes back \
| your {line} subscription ends on {day} and renews for {small} | your last bill was paid twice
account_action: confirm your details at {badlink} | call {premium} to speak to us \
| pay at {badlink} to release it | visit {badlink} and enter code {code} \
| reply {keyword} to {code} to stop this
chat_offer: singles in your area want to meet you tonight | someone you know has a secret crush on you \
| hot chat with {name} and friends, live all night | {name} sent you a private photo \
| {n} people liked your picture
chat_action: text {keyword} to {code} to see who | call {premium} now | reply {keyword} for more \
| meet them at {badlink}
shop_offer: get {n} free {deal} every week from {line} \
| your first {n} {deal} are free, then only {small} a week \
| {percent} off all {goods} at {shop} with code {voucher} | last pairs: designer {goods} from {small} \
| lose {n} kilos in {n} weeks or your money back | new {deal} from {line}, first week free
shop_action: text {keyword} to {code} | order at {badlink} | send {keyword} to {code} before midnight \
| don't miss out, text {keyword} to {code} today | only at {badlink} until {day}
terms: {pence} per min. | 18+ only. | text STOP to {code} to opt out. | terms apply. | msg costs {pence}. \
| {pence} per text, 18+. | offer ends {day}. | cancel any time. | no purchase needed. | reply STOP to end.
"""

_HAM = """
are we still on for {meal} {when}? | shall we meet at {place} {when}? i can be there by {time}
can you pick up {food} and {food} on your way home? | {who} wants to {fun} {when}, are you in?
i'm at {place}, where are you? | running late, the bus broke down near {place}. be there by {time}
did you remember to {job}? | please {job} before {who} gets back
i left {thing} at {place}, can you grab it? | have you seen {thing}? i looked everywhere
{who} said {thing} was at {place} all along | it's {weather} here, take {thing} with you
too {weather} for {event}, let's {fun} instead | i'm {feel}, going to bed early
feeling {feel} today so i'll stay in and {job} | {maybe} we should {fun} {when}
{maybe} {who} forgot about {event} again | {pet} {odd} again
you won't believe it, {pet} {odd} while i was on the phone to {kin} | how was {event}? did {who} enjoy it?
good luck with {event} {when}, you'll be fine | the {subject} homework is due {when}, have you started?
i don't get question {n} in {subject}, can you explain it to me?
{subject} class is moved to {day}, tell {name} | {meeting} is moved to {day} at {time}
can you cover {shift} for me {when}? i owe you {meal} | {meeting} went well, the boss smiled twice
i have to finish {work} first, start {meal} without me | what should i get {kin}, {gift} or {gift}?
{kin} loved the present, good choice | thanks for {gift}, i love it | we are out of {food} and {food}
i put {meal} in the oven, help yourself | i burnt the {meal}, so we have {meal} now
do you want {meal} or {meal} {when}? | let's {fun} {when} if it isn't {weather}
we could {fun} and then have {meal} at {place}
my train gets in at {time}, can {who} fetch me from {place}?
just got to {place}, it's {weather} and i am {feel} | got home safe, {pet} was waiting at the door
why did the hen cross {place}? to see {who}, obviously | knock knock. who is there? {pet}, and it {odd}
tell {who} that i said thanks for the {meal} | can we {fun} another time? i'm {feel}
{who} is asking if you can bring {thing} {when} | bring {thing} and {food}, we'll do the rest
i'll {job} if you {job}, deal? | it's your turn to {job}, i did it on {day}
{kin} is coming over {when}, so we need to {job} | don't forget {kin}'s birthday is on {day}
what time does {event} start? {who} says {time}
i watched that film with {who}, it was better than the book
the wifi is down again, going to {place} to finish {work} | missed the bus by a second, i am {feel} now
can i borrow {thing} for {event}? back by {day} | i put {thing} back where it belongs, you're welcome
are you awake? i can't sleep, thinking about {event} | dreamt that {pet} {odd}, woke up laughing
the doctor says it's only a cold, need rest and {meal} | is {who} with you? not answering at home
my phone is nearly dead, meet me at {place} at {time} | sorry i missed you, was at {place} with {kin}
i'm on the train, no signal, will write from {place}
happy birthday {name}! have a lovely day and eat lots of cake | no {subject} today, the teacher is {feel}
we need {n} chairs for {event}, does {who} have some? | saved you a seat near the window at {place}
i think i'll walk, it isn't {weather} any more | {event} was fun, {name} fell in the mud
found {thing} under the sofa, with {n} coins and {gift} | i'm bored, tell me something funny about {kin}
never again will i {fun} with {name}, i am {feel} | can't talk, stuck in {busy}. what's up?
the recipe says {n} eggs, is that right? it's for {event} | who is bringing {food} to {event}?
remember when {pet} {odd} at {place}? still laughing
"""

# Spam in a friendly voice: no link, no shouting. "callback" differs from ham only in its number.
_CHATTY_SPAM = """
friend_pitch: it's me from {day}, i lost my phone | saw your photo and you look fun \
| someone near {place} likes you | i'm {name}, new in town and a bit lonely \
| i never do this, but your profile made me smile | i'm bored and alone {when} \
| {name} told me all about you
friend_ask: write to me here and i'll send you a picture | fancy a chat {when}? just say yes \
| want to keep me company {when}? | shall we talk somewhere private? \
| guess who? say yes and i'll tell you | say yes if you want to see more of me
family_pitch: {kin} here, i broke my phone so this is my new number \
| it's {kin}, i am using a friend's phone | this is the boss, stuck in {busy} \
| {name} here, i lost my wallet at {place}
family_ask: can you send me {big} {when}? will explain \
| buy {n} gift cards and send me the codes, quick please | i need {big} for a bill today \
| don't call, just send the money | what was your card number again?
cash_pitch: i earn more from my sofa than my old boss | my uncle left me money in a bank far away \
| i found a trick that doubles {small} by {day} | we spoke about the loan and it's still yours \
| people in your street make {big} a month with us | you had an accident last year and may be owed money \
| no more debts, you pay one small sum a month
cash_ask: ask me how | want in? | shall i send the money {when}? | can we talk {when}? \
| say yes and i'll show you | i need a kind person to help me, you get half
desk_pitch: your account is on hold | we tried to bring your parcel but a small fee is due \
| your {goods} are ready but the payment failed | we still have your refund here \
| {line} here, your phone is due for a free swap | your name came first in our draw for {prize}
desk_ask: please send us your details | which card should we use? | say yes and we will try again {when} \
| send us your card number and all is fine | we only need your address and a card for the postage
taster_pitch: {name} gave us your name for a free trial of {goods} | did you like the free {deal}? \
| you look like someone who would enjoy {deal} | would you like to know what the stars say about {day}? \
| i have a surprise for whoever answers first | you are number {n} of our ten lucky ones
callback_pitch: {about_a_call}
callback_ask: {call_back} {premium}
taster_ask: say yes and it's yours | say yes to keep them coming every week | just say yes \
| the first week costs nothing, shall i switch it on? | tell me your birthday and i'll look for you
"""

# Ham with the words, links, numbers and urgency of spam.
_TRICKY_HAM = """
are you free {when}? we could {fun} | i'm free after {time}, call me when you can
call me when you get this, it's about {event} | we won {contest}! {name} was brilliant
urgent: where did you put {thing}? | URGENT!! who ate the {meal} | you win, i'll {job} then
{name} won {gift} in {contest} and wants to show you | first prize for {pet} at the village show, so proud
here is the link to the photos from {event}: {link} | the map is at {link}, park behind {place}
{about_a_call}. {call_back} {phone} | {about_a_call}, {call_back} {phone} {when}
{call_back} {phone}, {about_a_call} | my new number is {phone}, please delete the old one
call {kin} on {phone}, the line is bad here
the code for the gate is {pin}, same for the shed
your code for the gym door is {pin}. it changes on {day}
they gave me a free coffee at {place}, what a day | buy one get one free on {food} at {place}, want some?
your parcel came to us, pick it up {when} | a parcel for {kin} came, i signed for it. it's heavy
the bank is shut on {day}, can you lend me {small} until {day}? | i paid {small} for {thing}, never again
i owe you {small} for the tickets, will pay you {when}
tickets for {event} are {small} each, shall i book for us?
congratulations on the new job {name}! {meal} is on me | reply soon please, i have to book {event} today
reminder: you have the dentist on {day} at {time}. reply YES to confirm
reminder from the library: your books are due on {day}. renew at {link} or call {phone}
your appointment at the eye clinic is on {day} at {time}. please call {phone} if you cannot come
your taxi is outside, the driver is called {name} | your table for {n} is booked for {day} at {time}
your order of {food} is ready, come to {place} before {time}
school is closed on {day} because of snow. see {link} for news
the winner of {contest} is {name}, with {n} points. prizes on {day}
last chance to sign up for {event}, tell {name} by {day}
only {n} seats left in the car, claim yours now. leaving at {time}
don't click on that message about {prize}, it's a scam, {kin} got it too
some stranger wrote that i won {prize}, as if
got a text that says they owe me {big}, haha. {meal} {when}?
the new phone is great, {kin} got it for {small} in the sale | cash only at {place}, bring {small}
my phone broke, this is {name}'s. can you fetch me from {place} at {time}?
the gym sent me an offer, {n} weeks for free. shall we go {when}?
i bet you {small} that {who} forgets {event} | {subject} club has a draw on {day}, i gave them {gift}
STOP sending me jokes, i'm in {busy} | text me the address of {place}, i'm driving {when}
guess who is coming to {event}? {kin}! | we tried to bring you {meal} but no one was in, it's with {name}
can you confirm for {event}? {name} needs to know by {day}
saw your photo from {event}, you look great. who is that behind you?
someone has a crush on you, and it's not {pet}. ask {name}
the match is live on tv {when}, come and watch it here
it's me, on {kin}'s phone. mine has no credit, so write here until {day}
the doctor's line is busy, i'll try again {when} | i got the loan for the bike, {small} a month. so happy
the shop says your {goods} are ready, i can pay and you owe me
{percent} off {goods} in town, coming with me {when}? | your card came in the post, i put it on the shelf
can you send me the money for {event} {when}? it was {small}
can you get {n} gift cards for the teachers? i'll pay you back {when}
i can show you how the refund works, just come by {when}
is this still your number? {name} here, from {subject} class | say yes and i'll book it, {small} each
can you send me {small} {when}? left my wallet at {place}
tell me your address again, i'm coming over for {meal}
i'll send you a picture of {pet} {when}, just wait
don't call, i'm in {busy}, just write | can we talk {when}? it's about {kin}
which card should we get for {name}, the funny one?
your refund for {event} came, {small}. will bring it {when} | guess who {odd} again? say hello to {pet}
i have a surprise for you {when} | {name} told me about your new job, want to {fun} and tell me more?
i'm new in town and {kin} says you know {place}, want to show me {when}?
"""


def _split(text: str) -> list[str]:
    return [phrase.strip() for phrase in re.split(r"\||\n", text) if phrase.strip()]


_LOUD_KINDS = ("prize", "money", "account", "chat", "shop")
_CHATTY_KINDS = ("friend", "family", "cash", "desk", "taster") * 3 + ("callback",) * 2
PHRASES: dict[str, list[str]] = {
    **{
        slot: _split(words)
        for slot, words in (line.split(": ", 1) for line in (_PHRASES + _CHATTY_SPAM).splitlines() if line)
    },
    "ham": _split(_HAM),
    "tricky_ham": _split(_TRICKY_HAM),
}

_NAMES = _split(
    "Ana|Ben|Cleo|Dan|Ella|Finn|Gia|Hugo|Iris|Jon|Kira|Leo|Mia|Nico|Olga|Pia|Quin|Rosa|Sam|Tess|Udo|Vera|Will|Yara"
)
_SITES = _split("photos|maps|school|library|clinic|recipes|choir|club")
_BAD_SITES = _split("win|claim|prize|cash|parcel|secure|deals|luv|tones|loan|bonus|verify")
_KEYWORDS = _split("YES|WIN|CLAIM|GO|LOVE|CASH|TONE|PLAY|CHAT|DEAL|LOAN|STAR")

# Numbers that nobody has: premium lines and short codes start with 00, the others are from the ranges that
# Ofcom reserves for films.
_FILLERS: dict[str, Callable[[random.Random], str]] = {
    "name": lambda rng: rng.choice(_NAMES),
    "n": lambda rng: str(rng.randint(2, 12)),
    "time": lambda rng: rng.choice(("{}", "{}pm", "half {}", "{}.30", "{}:15")).format(rng.randint(1, 11)),
    "small": lambda rng: rng.choice(("£{}", "£{}0", "{} pounds", "{}0 quid", "a fiver")).format(rng.randint(2, 9)),
    "big": lambda rng: rng.choice(("£{}00", "£{}50", "{}000 pounds", "{}00 quid")).format(rng.randint(2, 9)),
    "phone": lambda rng: f"{rng.choice(('07700900', '01632960', '020 79460'))}{rng.randrange(1000):03d}",
    "pin": lambda rng: f"{rng.randrange(10000):04d}",
    "link": lambda rng: f"{rng.choice(_SITES)}.example/{rng.choice(_NAMES).lower()}{rng.randrange(10)}",
    "premium": lambda rng: f"00{rng.randrange(10**3):03d}{rng.choice(('', ' '))}{rng.randrange(10**5):05d}",
    "code": lambda rng: f"00{rng.randrange(10**3):03d}",
    "badlink": lambda rng: "-".join(rng.sample(_BAD_SITES, 2)) + ".example",
    "keyword": lambda rng: rng.choice(_KEYWORDS),
    "voucher": lambda rng: f"{rng.choice(_KEYWORDS)}{rng.randrange(10, 95, 5)}",
    "percent": lambda rng: f"{rng.randrange(10, 95, 5)}%",
    "pence": lambda rng: f"{rng.randrange(25, 200, 25)}p",
}

_SHORT_FORMS = [
    pair.split("=")
    for pair in _split(
        "want to=wanna|see you=c u|you=u|are=r|your=ur|please=pls|thanks=thx|tomorrow=tmrw|"
        "tonight=2nite|to=2|for=4|later=l8r|before=b4|great=gr8|because=cos|and=n|what=wot|"
        "weekend=wkend|message=msg|text=txt|i'm=im|don't=dont|it's=its|can't=cant|with=w|homework=hw|"
        "birthday=bday|about=abt|people=ppl|week=wk|love=luv|something=smth"
    )
]


def messages() -> list[tuple[str, str]]:
    """Compose the sample's messages as (label, text) pairs, ham and spam mixed.

    `label` is "ham" or "spam". The same list at every call: it depends on SEED alone.
    """
    rng = random.Random(SEED)
    seen: set[str] = set()
    labelled = [("ham", _compose_new(rng, _compose_ham, seen)) for _ in range(N_HAM)]
    labelled += [("spam", _compose_new(rng, _compose_spam, seen)) for _ in range(N_SPAM)]
    rng.shuffle(labelled)
    return labelled


# The sentences of a message: without and with greetings and the like.
_Draft = tuple[list[str], list[str]]


def _compose_new(rng: random.Random, compose: Callable[[random.Random], _Draft], seen: set[str]) -> str:
    while True:
        core, sentences = compose(rng)
        text = re.sub(r"\{(\w+)\}", lambda match: _FILLERS[match[1]](rng), _type(rng, sentences))
        keys = {_letters(" ".join(core)), _letters(text)}
        if len(text) <= MAX_CHARACTERS and not keys & seen:
            seen |= keys
            return text


def _letters(text: str) -> str:
    return "".join(character for character in text.casefold() if character.isalpha())


def _compose_ham(rng: random.Random) -> _Draft:
    core = [_draw(rng, "tricky_ham" if rng.random() < TRICKY_SHARE else "ham")]
    if rng.random() < 0.2:
        core.append(_draw(rng, "ham"))
        rng.shuffle(core)
    return core, _greet(rng, core)


def _compose_spam(rng: random.Random) -> _Draft:
    if rng.random() < CHATTY_SHARE:
        kind = rng.choice(_CHATTY_KINDS)
        core = [_draw(rng, f"{kind}_pitch"), _draw(rng, f"{kind}_ask")]
        if rng.random() < SMALL_TALK_SHARE:
            core.insert(0, _draw(rng, "ham"))
        return core, _greet(rng, core)
    kind = rng.choice(_LOUD_KINDS)
    core = [_draw(rng, f"{kind}_offer"), _draw(rng, f"{kind}_action")]
    return core, _trumpet(rng, core)


def _greet(rng: random.Random, core: list[str]) -> list[str]:
    first, *rest = core
    if rng.random() < 0.35:
        first = _draw(rng, "greeting") + rng.choice((", ", "! ", ". ", " ")) + first
    return [first, *rest, _draw(rng, "closing")] if rng.random() < 0.25 else [first, *rest]


def _trumpet(rng: random.Random, core: list[str]) -> list[str]:
    first, *rest = core
    if rng.random() < 0.7:
        opening = _draw(rng, "opening")
        shouted = rng.random() < 0.3 and "{" not in opening
        first = f"{opening.upper() if shouted else opening} {first}"
    return [first, *rest, _draw(rng, "terms")] if rng.random() < 0.3 else [first, *rest]


def _draw(rng: random.Random, slot: str, besides: tuple[str, ...] = ()) -> str:
    """Choose a phrase and fill its slots from PHRASES, each with another phrase; slots of _FILLERS stay."""
    drawn: list[str] = []

    def fill(match: re.Match[str]) -> str:
        if match[1] not in PHRASES:
            return match[0]
        drawn.append(_draw(rng, match[1], tuple(drawn)))
        return drawn[-1]

    phrase = rng.choice([phrase for phrase in PHRASES[slot] if phrase not in besides])
    return re.sub(r"\{(\w+)\}", fill, phrase)


def _type(rng: random.Random, sentences: list[str]) -> str:
    """Join sentences as people type them: some with care, some with short forms, slips and no full stop."""
    ended = [s if s[-1] in ".?!:)" else s + rng.choice("..!") for s in sentences]
    if rng.random() < 0.5:
        return " ".join(s[0].upper() + s[1:] for s in ended)
    text = " ".join(ended)
    for long, short in _SHORT_FORMS:
        if rng.random() < 0.5:
            text = re.sub(rf"\b{long}\b", short, text)
    words = text.split(" ")
    slip = rng.randrange(len(words))
    word = words[slip]
    if rng.random() < 0.2 and word.isalpha() and len(word) > 4:
        words[slip] = word[0] + word[2] + word[1] + word[3:]
    text = " ".join(words)
    return text.rstrip(".") if rng.random() < 0.6 else text
