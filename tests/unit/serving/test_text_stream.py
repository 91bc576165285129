"""What of an answer's text can be shown while it comes."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from scratchlm.serving.text_stream import TextStream
from scratchlm.tokenizer.bpe import BytePairTokenizer, train_bpe
from scratchlm.tokenizer.folder import read_tokenizer, write_tokenizer
from scratchlm.tokenizer.protocol import Tokenizer
from scratchlm.tokenizer.words import WordTokenizer, build_vocabulary


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    folder = tmp_path_factory.mktemp("tokenizer") / "built"
    write_tokenizer(folder, *train_bpe(["ab abc bca  aab\n cab"] * 9, 270))
    return read_tokenizer(folder)


def shown_parts(stream: TextStream, tokens: list[int]) -> list[str]:
    """Return what is shown after each token, up to a stop, and at the end."""
    parts = []
    for token in tokens:
        parts.append(stream.push(token))
        if stream.stopped:
            return parts
    return [*parts, stream.end()]


def expected(tokenizer: Tokenizer, tokens: list[int], stops: list[str]) -> str:
    """Return the text before the stop that is complete first, looking at the whole text after every token."""
    texts = [tokenizer.decode(tokens[:end]) for end in range(1, len(tokens) + 1)] or [""]
    for text in texts:
        if found := [text.index(stop) for stop in stops if stop in text]:
            return text[: min(found)]
    return texts[-1]


TEXTS = st.text("abc \n", max_size=30)
STOPS = st.lists(st.text("abc \n", min_size=1, max_size=4), max_size=3)


@given(text=TEXTS, stops=STOPS, strips=st.booleans())
@example(text="ab", stops=["b", "a"], strips=False)  # one token that holds both
def test_the_parts_are_the_text_before_the_first_stop(
    tokenizer: BytePairTokenizer, text: str, stops: list[str], strips: bool
) -> None:
    tokens = tokenizer.encode_ordinary(text)
    wanted = expected(tokenizer, tokens, stops)
    assert "".join(shown_parts(TextStream(tokenizer, stops, strips), tokens)) == (wanted.strip() if strips else wanted)


def test_nothing_is_held_back_that_cannot_begin_a_stop(tokenizer: Tokenizer) -> None:
    tokens = [tokenizer.encode_ordinary(letter)[0] for letter in "xabxab"]
    assert shown_parts(TextStream(tokenizer, ["abc"]), tokens) == ["x", "", "", "abx", "", "", "ab"]


def test_white_space_waits_for_what_follows(tokenizer: Tokenizer) -> None:
    tokens = [tokenizer.encode_ordinary(letter)[0] for letter in " x y "]
    assert shown_parts(TextStream(tokenizer, strips=True), tokens) == ["", "x", "", " y", "", ""]


def test_a_character_of_several_tokens_comes_whole(tokenizer: Tokenizer) -> None:
    tokens = tokenizer.encode_ordinary("€!")
    assert len(tokens) == 4
    assert shown_parts(TextStream(tokenizer), tokens) == ["", "", "€", "!", ""]
    assert shown_parts(TextStream(tokenizer), tokens[:2]) == ["", "", "\N{REPLACEMENT CHARACTER}"]
    assert shown_parts(TextStream(tokenizer, ["€"]), tokens) == ["", "", ""]


def test_words_get_the_blank_that_their_prompt_asks_for() -> None:
    tokenizer = WordTokenizer(build_vocabulary(["the cat sat."], 10))
    prompt, new = tokenizer.encode_ordinary("the cat"), tokenizer.encode_ordinary("sat.")
    assert shown_parts(TextStream(tokenizer, before=prompt), new) == [" sat", ".", ""]
    assert shown_parts(TextStream(tokenizer), new) == ["sat", ".", ""]
