"""Put the checkpoints that fine-tuning starts from into models/bases/: GPT-2's sizes, or our own pretrained one."""

from dataclasses import asdict
from pathlib import Path

from scratchlm.bases.gpt2 import copy_checkpoint, download_checkpoint
from scratchlm.bases.measure import measure_base
from scratchlm.checkpoint.folder import check_vocabulary
from scratchlm.files.atomic import atomic_path
from scratchlm.params.schema import Params
from scratchlm.stage.device import choose_device
from scratchlm.stage.metrics import write_metrics
from scratchlm.stage.run import run
from scratchlm.tokenizer.folder import read_tokenizer
from scratchlm.tokens.folder import check_ids
from scratchlm.tokens.windows import read_windows

TOKENIZER = Path("data/tokenizer")
TOKENS = Path("data/tokens")
PRETRAINED = Path("models/pretrained")
BASES = Path("models/bases")
METRICS = Path("metrics/download_weights.json")


def main(params: Params) -> None:
    device = choose_device()
    tokenizer = read_tokenizer(TOKENIZER)
    check_ids(TOKENS, tokenizer.n_vocab)
    windows = read_windows(TOKENS, "validation")
    measures = {}
    with atomic_path(BASES) as temporary:
        for base in params.weights.bases:
            folder = temporary / base
            if base == "pretrained":
                check_vocabulary(PRETRAINED, tokenizer)
                config = copy_checkpoint(PRETRAINED, folder)
            else:
                config = download_checkpoint(base, folder, TOKENIZER)
                check_vocabulary(folder, tokenizer)
            measures[base] = measure_base(folder, windows, tokenizer.n_vocab, params.pretrain.batch_size, device)
            print(f"{base}: {config.n_layers} layers, {config.emb_dim} wide, every tensor checked")
    write_metrics(METRICS, {base: asdict(measured) for base, measured in measures.items()})


if __name__ == "__main__":
    run(main)
