"""The tokens that stand for no text of their own (chapter 2.4)."""

END_OF_TEXT = "<|endoftext|>"  # between documents, after an answer, and as padding
UNKNOWN = "<|unk|>"  # a word that the vocabulary lacks; byte pair encoding needs none
