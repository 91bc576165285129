"""The text of an answer that comes token by token: what of it can be shown already."""

from __future__ import annotations

from collections.abc import Sequence

from scratchlm.tokenizer.protocol import Tokenizer


class TextStream:
    """Takes new tokens, gives their text: up to the first of some stop texts, which may span tokens.

    What may be the beginning of a stop text is held back until it is known. With `strips`, the text has no white space
    around it, as the answers in data/responses.json. Tokens `before` the first new one decide how that one is written:
    a word tokenizer puts blanks between words, and a new token may complete their last character. Their own text,
    without such a beginning, is in `before`.
    """

    def __init__(
        self, tokenizer: Tokenizer, stops: Sequence[str] = (), strips: bool = False, before: Sequence[int] = ()
    ) -> None:
        self._stops, self._strips = stops, strips
        self._token: int | None = None
        self._pieces = tokenizer.decode_stream(iter(lambda: self._token, None))  # takes one token for each piece
        self._held = ""  # text that may not be shown yet
        self._begun = False
        self.stopped = False  # at a stop text; what comes after it has no text
        self.before = "".join([self._decode(token) for token in before])

    def push(self, token: int) -> str:
        """Take the next token; return the text that can be shown now, often of earlier tokens too."""
        self._held += self._decode(token)
        return self._show(is_last=False)

    def end(self) -> str:
        """Return the text that was held back; call it when there are no more tokens."""
        self._token = None
        self._held += "".join(self._pieces)
        return self._show(is_last=True)

    def _decode(self, token: int) -> str:
        self._token = token
        return next(self._pieces)

    def _show(self, is_last: bool) -> str:
        found = [at for stop in self._stops if (at := self._held.find(stop)) >= 0]
        if self.stopped or found:
            end = 0 if self.stopped else min(found)
            self._held, self.stopped, is_last = self._held[:end], True, True
        end = len(self._held) if is_last else len(self._held) - self._n_doubtful()
        shown = self._held[:end]
        if self._strips:
            shown = shown.rstrip()  # what was blank is held back: more text may follow, or not
            self._held = self._held[len(shown) :]
            shown = shown if self._begun else shown.lstrip()
        else:
            self._held = self._held[end:]
        if is_last:
            self._held = ""
        self._begun = self._begun or bool(shown)
        return shown

    def _n_doubtful(self) -> int:
        """Count the characters at the end that may begin a stop text."""
        for length in range(max((len(stop) - 1 for stop in self._stops), default=0), 0, -1):
            if any(len(stop) > length and self._held.endswith(stop[:length]) for stop in self._stops):
                return length
        return 0
