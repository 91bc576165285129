"""Put GPT-2's tokenizer, one trained on the corpus, or the corpus's words, into data/tokenizer/."""

from pathlib import Path

from scratchlm.corpus.documents import read_documents
from scratchlm.download.fetch import fetch
from scratchlm.download.sources import GPT2_BPE
from scratchlm.files.atomic import atomic_path
from scratchlm.params.schema import Params
from scratchlm.tokenizer.bpe import train_bpe
from scratchlm.tokenizer.folder import read_tokenizer, write_tokenizer
from scratchlm.tokenizer.words import build_vocabulary, write_vocabulary

CORPUS = Path("data/corpus")
TOKENIZER = Path("data/tokenizer")


def main(params: Params) -> None:
    with atomic_path(TOKENIZER) as temporary:
        temporary.mkdir()
        if params.tokenizer.kind == "gpt2":
            for source in GPT2_BPE:
                fetch(source, temporary / source.name)
        elif params.tokenizer.kind == "word":
            write_vocabulary(temporary, build_vocabulary(read_documents(CORPUS), params.tokenizer.vocab_size))
        else:
            encoder, merges = train_bpe(read_documents(CORPUS), params.tokenizer.vocab_size)
            write_tokenizer(temporary, encoder, merges)
        tokenizer = read_tokenizer(temporary)
    print(f"{params.tokenizer.kind} tokenizer with {tokenizer.n_vocab} tokens")
