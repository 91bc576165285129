"""Write the tokenizer into data/tokenizer/: GPT-2's, one trained on the corpus, or the corpus's words."""

from pathlib import Path

from scratchlm.corpus.documents import read_documents, token_paths
from scratchlm.corpus.ready_tokens import ready_characters_per_token
from scratchlm.download.fetch import fetch
from scratchlm.download.sources import GPT2_BPE
from scratchlm.files.atomic import atomic_path
from scratchlm.params.schema import Params
from scratchlm.stage.metrics import write_metrics
from scratchlm.tokenizer.bpe import train_bpe
from scratchlm.tokenizer.folder import read_tokenizer, write_tokenizer
from scratchlm.tokenizer.measures import characters_of_ids, characters_per_token
from scratchlm.tokenizer.words import build_vocabulary, write_vocabulary

CORPUS = Path("data/corpus")
TOKENIZER = Path("data/tokenizer")
METRICS = Path("metrics/build_tokenizer.json")


def main(params: Params) -> None:
    kind = params.tokenizer.kind
    with atomic_path(TOKENIZER) as temporary:
        temporary.mkdir()
        if kind == "gpt2":
            for source in GPT2_BPE:
                fetch(source, temporary / source.name)
        elif kind == "word":
            write_vocabulary(temporary, build_vocabulary(read_documents(CORPUS), params.tokenizer.vocab_size))
        else:
            encoder, merges = train_bpe(read_documents(CORPUS), params.tokenizer.vocab_size)
            write_tokenizer(temporary, encoder, merges)
        tokenizer = read_tokenizer(temporary)
    if ready := token_paths(CORPUS):
        per_token = ready_characters_per_token(ready, characters_of_ids(tokenizer))
    else:
        per_token = characters_per_token(tokenizer, read_documents(CORPUS))
    write_metrics(
        METRICS,
        {
            "kind": kind,
            "vocab_size": tokenizer.n_vocab,
            "merges": tokenizer.n_merges,
            "characters_per_token": per_token,
        },
    )
    print(f"{kind} tokenizer with {tokenizer.n_vocab:,} tokens, {per_token:.2f} characters each in the corpus")
