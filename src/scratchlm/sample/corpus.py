"""The corpus of the sample profile: stories, portraits, lessons and quizzes of one small village."""

from __future__ import annotations

import random

from scratchlm.sample import facts as nature
from scratchlm.sample import language, lessons, stories

SEED = 1_853
STORIES = 78
QUIZZES = 120


def documents() -> dict[str, str]:
    """Return file name -> text of all documents, the same every time; each line is a paragraph.

    The names give the order, which mixes all kinds: the end of the corpus is as varied as its start.
    """
    rng = random.Random(SEED)
    subjects = language.subjects() + nature.subjects()
    told = [("story", text) for text in stories.stories(rng, STORIES)]
    told += [(f"portrait-{name.lower()}", text) for name, text in stories.portraits(rng).items()]
    told += [(f"lesson-{lesson.subject}", text) for lesson in subjects for text in lessons.tell(rng, lesson)]
    told += [("quiz", text) for text in lessons.quiz(rng, subjects, QUIZZES)]
    rng.shuffle(told)
    return {f"{number:03}-{kind}.txt": text for number, (kind, text) in enumerate(told, start=1)}
