"""Train a GPT from scratch on the tokenized corpus."""

from pathlib import Path

import torch

from scratchlm.checkpoint.folder import save_checkpoint
from scratchlm.files.atomic import write_text
from scratchlm.generation import Sampling, generate_text
from scratchlm.model.gpt import n_parameters
from scratchlm.model.init import new_gpt
from scratchlm.params.schema import Params
from scratchlm.stage.device import choose_device
from scratchlm.stage.metrics import write_metrics
from scratchlm.stage.tables import write_table
from scratchlm.tokenizer.folder import read_tokenizer
from scratchlm.tokens.bigram import bigram_loss
from scratchlm.tokens.folder import open_tokens
from scratchlm.tokens.windows import window_loaders
from scratchlm.training.curve import draw_curve, language_rows
from scratchlm.training.fit import fit
from scratchlm.training.loss import perplexity
from scratchlm.training.state import TrainingState

TOKENIZER = Path("data/tokenizer")
TOKENS = Path("data/tokens")
MODEL = Path("models/pretrained")
CURVE = Path("data/plots/pretrain.csv")
CURVE_FIGURE = Path("data/plots/pretrain.png")
SAMPLES = Path("data/samples/pretrain.md")
METRICS = Path("metrics/pretrain.json")


def main(params: Params) -> None:
    settings, shape = params.pretrain, params.model
    device = choose_device()
    tokenizer = read_tokenizer(TOKENIZER)
    tokens = open_tokens(TOKENS)
    tokens.check_ids(tokenizer.n_vocab)
    torch.manual_seed(params.seed)
    model = new_gpt(shape.config(tokenizer.n_vocab), shape.init, shape.init_std, shape.attention).to(device)
    print(f"{n_parameters(model):,} parameters")

    def sample(epoch: int) -> str:
        text = generate_text(model, tokenizer, settings.sample_prompt, settings.sample_tokens, Sampling())
        return f"\n## Epoch {epoch}\n\n{text}\n"

    def report(state: TrainingState) -> None:
        write_table(CURVE, language_rows(state.curve))
        title = f"# What the model writes after each epoch\n\nPrompt: {settings.sample_prompt}\n"
        write_text(SAMPLES, "".join([title, *state.epoch_notes]))

    batches = window_loaders(tokens, settings.batch_size)
    done = fit("pretrain", model, batches, params=settings, seed=params.seed, after_epoch=sample, report=report)
    bigram = bigram_loss(tokens.ids("train"), tokens.ids("validation"), tokenizer.n_vocab)
    save_checkpoint(MODEL, model, TOKENIZER)
    draw_curve(CURVE_FIGURE, done.state.curve, "Pretraining loss", "token", settings.keep)
    losses = {**done.losses(), "validation_perplexity": perplexity(done.final.validation)}
    losses["bigram_validation_loss"] = bigram
    write_metrics(METRICS, {"parameters": n_parameters(model), **losses, **done.training()})
    done.snapshots.finish()
    print(f"{done}; a bigram model's is {bigram:.3f}")
