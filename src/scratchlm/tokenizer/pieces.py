"""A text's pieces: what each token stands for, as text and as bytes (chapters 2.3 and 2.5)."""

from __future__ import annotations

from collections.abc import Sequence

from scratchlm.errors import InputError
from scratchlm.tokenizer.protocol import Tokenizer

LABEL = 14  # characters of a label
SHOWN_BYTES = 16  # of a token; GPT-2's longest has 128
SHOWN_CHARACTERS = 20


def token_label(tokenizer: Tokenizer, token: int, longest: int = LABEL) -> str:
    """Return a token as printable text of at most `longest` characters; what was cut ends with an ellipsis.

    A blank is ␣. Characters that cannot be printed and bytes that are only a part of a character are escaped, as
    in Python's literals.
    """
    text = tokenizer.decode_single_token_bytes(token).decode("utf-8", errors="backslashreplace")
    shown = "".join(
        "␣" if character == " " else character if character.isprintable() else repr(character)[1:-1]
        for character in text
    )
    return shown if len(shown) <= longest else shown[: longest - 1] + "…"


def describe_pieces(tokenizer: Tokenizer, text: str, ids: Sequence[int]) -> str:
    """Return a table of a text's tokens, their ids and bytes, and how many characters a token has on average.

    Lines have at most 80 columns, unless characters are two columns wide. Raises InputError if there is no token.
    """
    if not ids:
        raise InputError(f"the text {text!r} has no tokens: give a text with words in it")
    rows = [("id", "bytes", "piece")]
    for token in ids:
        content = tokenizer.decode_single_token_bytes(token)
        cut = " …" if len(content) > SHOWN_BYTES else ""
        rows.append((str(token), content[:SHOWN_BYTES].hex(" ") + cut, token_label(tokenizer, token, SHOWN_CHARACTERS)))
    id_width, bytes_width = (max(len(row[column]) for row in rows) for column in (0, 1))
    lines = [f"{number:>{id_width}}  {content:{bytes_width}}  {piece}" for number, content, piece in rows]
    counts = f"{len(text):,} characters, {len(ids):,} tokens: {len(text) / len(ids):.2f} characters per token"
    return "\n".join([*lines, "", counts]) + "\n"
