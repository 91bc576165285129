"""The embedded topics: their number and variety, and that a list of words does not tell them apart."""

import hashlib
import os
import random
import re
import subprocess
import sys
from collections import Counter

import pytest

from scratchlm.sample import topics
from scratchlm.sample.topics import TOPICS, messages

DIGEST_SCRIPT = (
    "import hashlib; from scratchlm.sample.topics import messages;"
    "print(hashlib.sha256(repr(messages()).encode()).hexdigest())"
)


@pytest.fixture(scope="module")
def labelled():
    return messages()


def test_the_topics_are_four_of_unequal_size(labelled):
    counts = Counter(label for label, _ in labelled)
    assert counts == {"food": 620, "animals": 480, "sport": 380, "weather": 280}
    assert 1200 <= len(labelled) <= 2000
    assert len({label for label, _ in labelled[:40]}) == 4  # mixed


@pytest.mark.parametrize("hash_seed", ["1", "2"])
def test_every_process_makes_the_same_bytes(labelled, hash_seed):
    run = subprocess.run(
        [sys.executable, "-c", DIGEST_SCRIPT],
        capture_output=True,
        text=True,
        check=True,
        env=os.environ | {"PYTHONHASHSEED": hash_seed},
    )
    assert run.stdout.strip() == hashlib.sha256(repr(labelled).encode()).hexdigest()


def test_no_two_notes_are_equal_even_without_case_digits_spaces_and_punctuation(labelled):
    bare = [re.sub(r"[^a-z]", "", text.casefold()) for _, text in labelled]
    assert len(set(bare)) == len(bare)


def test_notes_are_short_and_one_line_with_every_slot_filled(labelled):
    for _, text in labelled:
        assert len(text) <= topics.MAX_CHARACTERS and text == text.strip() and text.isprintable()
        assert not re.search(r"[{}<>|]|  ", text), text
        assert text[0].isupper() and text[-1] in ".?!", text


def test_a_clause_and_a_postscript_of_another_topic_do_not_count(labelled):
    framed = [(label, text) for label, text in labelled if re.search("[Aa]lthough|[Ww]hile", text)]
    postscripts = [text for _, text in labelled if " P.S. " in text]
    assert 0.25 < len(framed) / len(labelled) < 0.45
    assert 0.1 < len(postscripts) / len(labelled) < 0.3
    for topic, clause in (("sport", r"\w+ won the race"), ("weather", "it rained"), ("food", "lunch was")):
        main = [label for label, text in framed if re.match(clause, text, re.IGNORECASE)]
        aside = [label for label, text in framed if re.search(f"(although|while) {clause}", text, re.IGNORECASE)]
        assert set(main) == {topic}
        assert set(aside) == TOPICS.keys() - {topic}


@pytest.mark.parametrize("word", ["rain", "race", "cake", "ball", "snow", "baked", "match"])
def test_no_word_belongs_to_one_topic(labelled, word):
    assert len({label for label, text in labelled if word in text.casefold()}) >= 3


def test_a_bag_of_words_does_not_tell_the_topics_apart(labelled):
    import pandas as pd

    from scratchlm.classifier.baseline import tfidf_accuracies

    frame = pd.DataFrame(labelled, columns=["Label", "Text"])
    train, rest = frame[:1200], frame[1200:]
    assert 70 < tfidf_accuracies(train, rest, rest)["test"] < 92


def test_every_pattern_names_only_known_slots():
    known = topics._slots(random.Random(0)).keys()
    for topic in TOPICS.values():
        assert set(re.findall(r"\{(\w+)\}", topic.plain + topic.tricky + topic.clauses)) <= known
