"""A byte pair encoding as one tokenizer.json, which also says how text is cut into words: that of SmolLM2 and others.

`bpe.py` has the same kind of tokenizer with GPT-2's way of cutting built in. SmolLM2 cuts out every digit first, its
special tokens are the first ids and not the last, and not every byte is a token.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from scratchlm.errors import OutputError
from scratchlm.files.atomic import write_text
from scratchlm.tokenizer.bpe import byte_characters, decode_pieces
from scratchlm.tokenizer.protocol import END_OF_TEXT, HF_TOKENIZER, encode_with_special

# Random ids, and spellings of tokens that are not their bytes; with some the library panics.
UNREAD = ("dropout", "continuing_subword_prefix", "end_of_word_suffix", "byte_fallback")
WIDER = ("lstrip", "rstrip", "single_word")  # an added token that takes blanks beside it, or is none inside a word


class ByteLevelTokenizer:
    """What a tokenizer.json describes, with the interface of the other tokenizers.

    Where single bytes are not in the vocabulary, they are left out of the ids, as transformers and llama.cpp do, and
    do not come back. Of SmolLM2's 21 such bytes, 13 are in no text in UTF-8, two begin characters to which Unicode
    has given no meaning, and six are control characters that texts do not have: 4, 6, 19, 20, 22 and 29.
    """

    unk_token = None  # nothing is encoded as an unknown token

    def __init__(self, description: dict[str, Any]) -> None:
        """Take what a tokenizer.json holds; raise ValueError that says why it cannot be used."""
        import tokenizers

        problem = problem_of(description)
        if problem is not None:
            raise ValueError(problem)
        try:
            encoder = tokenizers.Tokenizer.from_str(json.dumps(description))
        except Exception as error:  # the library raises no other
            raise ValueError(str(error)) from None
        encoder.no_truncation()
        encoder.no_padding()
        encoder.encode_special_tokens = True  # in a text they are plain text; `encode` cuts out the others
        self._encoder = encoder
        self._special_ids: dict[str, int] = {
            added["content"]: added["id"] for added in description["added_tokens"] if added["special"]
        }
        self._pieces = pieces_of(description)
        self._n_merges = len(description["model"]["merges"])

    @property
    def n_vocab(self) -> int:
        return len(self._pieces)

    @property
    def eot_token(self) -> int:
        return self._special_ids[END_OF_TEXT]

    @property
    def stop_ids(self) -> Set[int]:
        """The ids of all special tokens: no answer has one inside, and SmolLM2 ends its own with `<|im_end|>`."""
        return set(self._special_ids.values())

    @property
    def n_merges(self) -> int:
        return self._n_merges

    def tokens(self) -> list[bytes]:
        """Return every token in the order of the ids."""
        return list(self._pieces)

    def encode_ordinary(self, text: str) -> list[int]:
        """Encode a text in which special tokens are plain text; half a surrogate pair becomes U+FFFD."""
        try:
            text.encode()
        except UnicodeEncodeError:
            text = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
        ids: list[int] = self._encoder.encode(text, add_special_tokens=False).ids
        return ids

    def encode_ordinary_batch(self, texts: Sequence[str], /) -> list[list[int]]:
        """Encode each text as `encode_ordinary` does."""
        return [self.encode_ordinary(text) for text in texts]

    def encode(self, text: str, *, allowed_special: Literal["all"] | Set[str]) -> list[int]:
        """Encode a text in which the allowed special tokens get their own ids."""
        return encode_with_special(text, self._special_ids, allowed_special, self.encode_ordinary)

    def encode_to_numpy(self, text: str, *, allowed_special: Literal["all"] | Set[str]) -> npt.NDArray[np.uint32]:
        """Encode as `encode` does, into an array [n] uint32."""
        return np.array(self.encode(text, allowed_special=allowed_special), dtype=np.uint32)

    def decode(self, tokens: Sequence[int], /) -> str:
        """Return the text of the tokens."""
        return "".join(self.decode_stream(tokens))

    def decode_single_token_bytes(self, token: int, /) -> bytes:
        """Return the bytes that a token stands for."""
        return self._pieces[token]

    def decode_stream(self, tokens: Iterable[int], /) -> Iterator[str]:
        """Yield the text of each token; a character that spans several tokens comes with the last of them."""
        return decode_pieces(map(self.decode_single_token_bytes, tokens))


def describe_byte_level(
    tokens: Sequence[str], merges: Sequence[str], special_tokens: Sequence[str], cut_digits: bool
) -> dict[str, Any]:
    """Return the tokenizer.json of a tokenizer that cuts words as GPT-2 does, with `cut_digits` every digit before.

    `tokens` are in the order of their ids, spelled with GPT-2's character for each byte; `merges` are pairs of them
    in order of rank, with a blank between. For SmolLM2 it is what the model's authors published, byte for byte.
    """
    ids = {token: index for index, token in enumerate(tokens)}
    cut_words = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    digits = {"type": "Digits", "individual_digits": True}
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [
            {
                "id": ids[token],
                "content": token,
                "single_word": False,
                "lstrip": False,
                "rstrip": False,
                "normalized": False,
                "special": True,
            }
            for token in special_tokens
        ],
        "normalizer": None,
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [digits, cut_words]} if cut_digits else cut_words,
        "post_processor": None,
        "decoder": {**cut_words, "add_prefix_space": True},  # which a decoder does not use
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None,
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": False,
            "byte_fallback": False,
            "ignore_merges": False,
            "vocab": ids,
            "merges": list(merges),
        },
    }


def write_byte_level(folder: Path, description: dict[str, Any]) -> None:
    """Write tokenizer.json as SmolLM2's authors did: without a line end."""
    write_text(folder / HF_TOKENIZER, json.dumps(description, indent=2, ensure_ascii=False))


def checked_byte_level(description: Any, path: Path) -> ByteLevelTokenizer:
    """Return the tokenizer that a tokenizer.json describes; raise OutputError if it is damaged or of another kind."""
    try:
        return ByteLevelTokenizer(description)
    except ValueError as error:
        raise OutputError(f"{path} is not a byte-level BPE that can be used: {error}") from None


def problem_of(description: Any) -> str | None:
    """Say why a tokenizer.json is not one that this reader understands; None if it is."""
    try:
        model, added = description["model"], description["added_tokens"]
        ids = {**model["vocab"], **{token["content"]: token["id"] for token in added}}
        special = {token["content"] for token in added if token["special"]}
        spelled = {character for token in model["vocab"].keys() - special for character in token}
        cutters = description["pre_tokenizer"].get("pretokenizers", [description["pre_tokenizer"]])
        if model.get("type", "BPE") != "BPE" or description["normalizer"] is not None or not is_read(cutters):
            return "wanted BPE over bytes, cut by ByteLevel after Digits or alone, and no normalizer"
        if (description.get("post_processor") or {"type": "ByteLevel"})["type"] != "ByteLevel":
            return "a post_processor that adds tokens"
        if any(not token["content"] or not token["special"] or any(token[key] for key in WIDER) for token in added):
            return f"an added token is empty, not special, or has one of {', '.join(WIDER)}"
        if any(model.get(key) for key in UNREAD) or model.get("unk_token") not in (None, *model["vocab"]):
            return f"{', '.join(UNREAD)} or another unk_token than one of the tokens"
        if sorted(ids.values()) != list(range(len(ids))):
            return "the ids are not 0, 1, 2 and so on"
        if not isinstance(model["merges"], list) or END_OF_TEXT not in special:
            return f"no list of merges, or no special token {END_OF_TEXT}"
    except (AttributeError, IndexError, KeyError, TypeError) as error:
        return f"a part is missing or of another kind ({error!r})"
    return None if spelled <= set(byte_characters().values()) else "a token is not spelled in bytes"


def is_read(cutters: Sequence[Mapping[str, Any]]) -> bool:
    """Say whether a text is cut into words as this reader understands it: no letter is lost, none is added."""
    if not cutters:
        return False
    *first, last = cutters
    cuts_words = (
        last["type"] == "ByteLevel" and last["add_prefix_space"] is False and last.get("use_regex", True) is True
    )
    cuts_digits = [one["type"] == "Digits" and one["individual_digits"] is True for one in first]
    return cuts_words and cuts_digits in ([], [True])


def pieces_of(description: dict[str, Any]) -> list[bytes]:
    """Return the bytes of every token in the order of the ids; an added token stands for its name."""
    byte_of = {character: byte for byte, character in byte_characters().items()}
    named = {token["content"]: token["id"] for token in description["added_tokens"]}
    pieces = {index: token.encode() for token, index in named.items()}
    for token, index in description["model"]["vocab"].items():
        if token not in named:
            pieces[index] = bytes(byte_of[character] for character in token)
    return [pieces[index] for index in range(len(pieces))]
