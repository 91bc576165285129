"""Put the checkpoints that fine-tuning starts from into models/gpt2/: GPT-2's sizes, or our own pretrained one."""

from pathlib import Path

from scratchlm.checkpoint import check_vocabulary
from scratchlm.files import atomic_path
from scratchlm.gpt2 import copy_checkpoint, download_checkpoint
from scratchlm.params import Params
from scratchlm.stage import run
from scratchlm.tokenizer import read_tokenizer

TOKENIZER = Path("data/tokenizer")
PRETRAINED = Path("models/pretrained")
GPT2 = Path("models/gpt2")


def main(params: Params) -> None:
    tokenizer = read_tokenizer(TOKENIZER)
    with atomic_path(GPT2) as temporary:
        for size in params.gpt2.sizes:
            folder = temporary / size
            if size == "pretrained":
                check_vocabulary(PRETRAINED, tokenizer)
                config = copy_checkpoint(PRETRAINED, folder)
            else:
                config = download_checkpoint(size, folder, TOKENIZER)
                check_vocabulary(folder, tokenizer)
            print(f"{size}: {config.n_layers} layers, {config.emb_dim} wide, every tensor checked")


if __name__ == "__main__":
    run(main)
