"""Put the bases into models/bases/: our own checkpoint, GPT-2's sizes, or SmolLM2; and let each write a little."""

from dataclasses import asdict
from pathlib import Path
from typing import get_args

from scratchlm.bases.gpt2 import download_checkpoint
from scratchlm.bases.measure import measure_base
from scratchlm.bases.own import copy_checkpoint
from scratchlm.bases.smollm2 import download_smollm2
from scratchlm.checkpoint.folder import check_vocabulary, load
from scratchlm.files.atomic import atomic_path, write_text
from scratchlm.generation.base_texts import describe_base, sample_base
from scratchlm.params.choices import SmolLM2
from scratchlm.params.schema import Params
from scratchlm.stage.device import choose_device
from scratchlm.stage.metrics import write_metrics
from scratchlm.tokenizer.folder import read_tokenizer
from scratchlm.tokens.folder import open_tokens
from scratchlm.tokens.windows import window_loaders

TOKENIZER = Path("data/tokenizer")
TOKENS = Path("data/tokens")
PRETRAINED = Path("models/pretrained")
BASES = Path("models/bases")
SAMPLES = Path("data/samples/bases.md")
METRICS = Path("metrics/download_weights.json")


def main(params: Params) -> None:
    device = choose_device()
    tokenizer = read_tokenizer(TOKENIZER)
    tokens = open_tokens(TOKENS)
    tokens.check_vocabulary(tokenizer.n_vocab)
    batches, max_length = window_loaders(tokens, params.pretrain.batch_size).validation, tokens.manifest.max_length
    measures, samples = {}, ["# What each base writes before any fine-tuning\n"]
    with atomic_path(BASES) as temporary:
        for base in params.weights.bases:
            folder = temporary / base
            if base == "pretrained":
                check_vocabulary(PRETRAINED, tokenizer)
                config = copy_checkpoint(PRETRAINED, folder)
            elif base in get_args(SmolLM2):
                config = download_smollm2(base, folder)
            else:
                config = download_checkpoint(base, folder, TOKENIZER)
                check_vocabulary(folder, tokenizer)
            model, own = load(folder)
            readable = own.tokens() == tokenizer.tokens()
            measures[base] = measure_base(model.to(device), folder, batches if readable else None, max_length)
            samples.append(describe_base(base, sample_base(model, own)))
            print(f"{base}: {config.n_layers} layers, {config.emb_dim} wide, every tensor checked")
    write_text(SAMPLES, "\n".join(samples))
    write_metrics(METRICS, {base: asdict(measured) for base, measured in measures.items()})
