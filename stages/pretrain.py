"""Train a GPT or a Llama on the tokenized corpus, from scratch or from a model of the user's."""

from pathlib import Path

import torch

from scratchlm.bases.start import start_model
from scratchlm.checkpoint.folder import save_checkpoint
from scratchlm.files.atomic import write_text
from scratchlm.generation.decode import Sampling, generate_text
from scratchlm.generation.epoch_texts import describe_texts
from scratchlm.model.language_model import n_parameters
from scratchlm.params.schema import Params
from scratchlm.stage.device import choose_device
from scratchlm.stage.metrics import write_metrics
from scratchlm.tokenizer.folder import read_tokenizer
from scratchlm.tokens.bigram import bigram_loss
from scratchlm.tokens.folder import open_tokens
from scratchlm.tokens.windows import window_loaders
from scratchlm.training.curve import draw_curve
from scratchlm.training.fit import fit
from scratchlm.training.optimizer import new_optimizer, state_of

INPUTS = Path("inputs/models")
TOKENIZER = Path("data/tokenizer")
TOKENS = Path("data/tokens")
MODEL = Path("models/pretrained")
CURVE = Path("data/plots/pretrain.csv")
CURVE_FIGURE = Path("data/plots/pretrain.png")
SAMPLES = Path("data/samples/pretrain.md")
METRICS = Path("metrics/pretrain.json")


def main(params: Params) -> None:
    settings = params.pretrain
    device = choose_device(settings.precision)
    tokenizer, tokens = read_tokenizer(TOKENIZER), open_tokens(TOKENS)
    tokens.check_vocabulary(tokenizer.n_vocab)
    torch.manual_seed(params.seed)
    model, optimizer_state = start_model(settings.start, INPUTS, params.model, tokenizer)
    optimizer = new_optimizer(model.to(device), settings, optimizer_state)

    def sample(epoch: int) -> str:
        return generate_text(model, tokenizer, settings.sample_prompt, settings.sample_tokens, Sampling())

    def show(texts: list[str]) -> None:
        write_text(SAMPLES, describe_texts(settings.sample_prompt, texts))

    batches = window_loaders(tokens, settings.batch_size)
    done = fit(
        "pretrain", model, batches, settings, params.seed, CURVE, after_epoch=sample, show=show, optimizer=optimizer
    )
    bigram = bigram_loss(tokens.ids("train"), tokens.ids("validation"), tokenizer.n_vocab)
    save_checkpoint(MODEL, model, TOKENIZER, state_of(model, optimizer) if settings.save_optimizer else None)
    draw_curve(CURVE_FIGURE, done.state.curve, "Pretraining loss", "token", settings.keep)
    losses = {**done.losses(), "bigram_validation_loss": bigram}
    write_metrics(METRICS, {"parameters": n_parameters(model), **losses, **done.training()})
    done.snapshots.finish()
    print(f"{done}; a bigram model's is {bigram:.3f}")
