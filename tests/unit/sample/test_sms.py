"""The embedded SMS: their number, mixture and variety, and that they name nobody and nothing real."""

import re
from collections import Counter

import pytest

from scratchlm.sample import sms
from scratchlm.sample.sms import messages


@pytest.fixture(scope="module")
def labelled():
    return messages()


def texts(labelled, label):
    return [text for its_label, text in labelled if its_label == label]


def test_about_13_percent_of_the_messages_are_spam(labelled):
    counts = Counter(label for label, _ in labelled)
    assert counts == {"ham": sms.N_HAM, "spam": sms.N_SPAM}
    assert 4900 < len(labelled) < 5500
    assert 0.12 < counts["spam"] / len(labelled) < 0.14


def test_every_call_gives_the_same_messages(labelled):
    assert messages() == labelled


def test_ham_and_spam_are_mixed(labelled):
    assert 90 < sum(label == "spam" for label, _ in labelled[:1000]) < 180


def test_no_two_messages_are_equal_even_without_case_digits_spaces_and_punctuation(labelled):
    bare = [re.sub(r"[^a-z]", "", text.casefold()) for _, text in labelled]
    assert len(set(bare)) == len(bare)


def test_messages_are_short_and_one_line(labelled):
    words = [len(text.split()) for _, text in labelled]
    assert max(words) <= 30 and max(len(text) for _, text in labelled) <= sms.MAX_CHARACTERS
    assert sum(5 <= n <= 25 for n in words) > 0.9 * len(words)
    assert all(text == text.strip() and text.isprintable() for _, text in labelled)


def test_every_slot_is_filled_and_every_phrase_list_is_used(labelled):
    assert not [text for _, text in labelled if "{" in text or "}" in text]
    slots = set(re.findall(r"\{(\w+)\}", " ".join(phrase for phrases in sms.PHRASES.values() for phrase in phrases)))
    assert slots <= sms.PHRASES.keys() | sms._FILLERS.keys()
    drawn_by_name = {f"{kind}_{part}" for kind in sms._LOUD_KINDS for part in ("offer", "action")}
    drawn_by_name |= {f"{kind}_{part}" for kind in sms._CHATTY_KINDS for part in ("pitch", "ask")}
    drawn_by_name |= {"ham", "tricky_ham", "greeting", "closing", "opening", "terms"}
    assert sms.PHRASES.keys() == (slots & sms.PHRASES.keys()) | drawn_by_name


@pytest.mark.parametrize("word", ["free", "win", "won", "call", "prize", "urgent", "stop", "£", ".example"])
def test_the_words_of_spam_occur_in_ham_too(labelled, word):
    for label in ("ham", "spam"):
        assert sum(word in text.casefold() for text in texts(labelled, label)) >= 5, label


def test_a_fifth_of_the_spam_has_neither_link_nor_long_number_nor_shouting(labelled):
    quiet = [text for text in texts(labelled, "spam") if not re.search(r"\.example|\d{5}|\b[A-Z]{3,}\b|!!", text)]
    assert 0.2 < len(quiet) / sms.N_SPAM < 0.4


def test_some_ham_is_typed_with_care_and_some_without(labelled):
    ham = texts(labelled, "ham")
    hurried = [text for text in ham if re.search(r"\b(u|r|ur|tmrw|2nite|pls|thx|n)\b", text)]
    assert 0.1 < len(hurried) / len(ham) < 0.5
    assert 0.4 < sum(text[0].isupper() for text in ham) / len(ham) < 0.8


def test_links_lead_nowhere_and_numbers_belong_to_nobody(labelled):
    everything = "\n".join(text for _, text in labelled)
    assert not re.search(r"https?:|www\.|@", everything)
    domains = re.findall(r"\b[\w-]+\.([a-z]{2,})\b(?=[/ .!]|$)", everything, flags=re.MULTILINE)
    assert domains and set(domains) == {"example"}
    # Ofcom's numbers for films and plays, and a leading 00, which no short code or premium line has.
    nobodys = r"\b(07700900|01632960|020 79460)\d{3}\b|\b00\d{3} ?\d{5}\b|\b00\d{3}\b|\b\d{1,4}\b"
    assert not re.search(r"\d{5}", re.sub(nobodys, "", everything))
