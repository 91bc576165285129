"""Put the checkpoints that fine-tuning starts from into models/bases/: GPT-2's sizes, or our own pretrained one."""

from pathlib import Path

from scratchlm.bases.gpt2 import copy_checkpoint, download_checkpoint
from scratchlm.checkpoint.folder import check_vocabulary
from scratchlm.files.atomic import atomic_path
from scratchlm.params.schema import Params
from scratchlm.tokenizer.folder import read_tokenizer

TOKENIZER = Path("data/tokenizer")
PRETRAINED = Path("models/pretrained")
BASES = Path("models/bases")


def main(params: Params) -> None:
    tokenizer = read_tokenizer(TOKENIZER)
    with atomic_path(BASES) as temporary:
        for base in params.weights.bases:
            folder = temporary / base
            if base == "pretrained":
                check_vocabulary(PRETRAINED, tokenizer)
                config = copy_checkpoint(PRETRAINED, folder)
            else:
                config = download_checkpoint(base, folder, TOKENIZER)
                check_vocabulary(folder, tokenizer)
            print(f"{base}: {config.n_layers} layers, {config.emb_dim} wide, every tensor checked")
