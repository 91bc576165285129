"""Train a GPT from scratch on the tokenized corpus."""

from dataclasses import asdict
from math import exp
from pathlib import Path

import torch

from scratchlm.checkpoint.folder import save_checkpoint
from scratchlm.files.atomic import write_text
from scratchlm.generation.decode import Sampling, generate_text
from scratchlm.model.config import GPTConfig
from scratchlm.model.gpt import n_parameters
from scratchlm.model.init import new_gpt
from scratchlm.params.schema import Params
from scratchlm.stage.device import choose_device
from scratchlm.stage.metrics import write_metrics
from scratchlm.stage.run import run
from scratchlm.stage.snapshots import Snapshots
from scratchlm.stage.tables import write_table
from scratchlm.tokenizer.folder import read_tokenizer
from scratchlm.tokens.bigram import bigram_loss
from scratchlm.tokens.folder import check_ids, read_ids
from scratchlm.tokens.windows import read_windows
from scratchlm.training.loop import loaders, measure_losses, train
from scratchlm.training.loss import next_token_loss

TOKENIZER = Path("data/tokenizer")
TOKENS = Path("data/tokens")
MODEL = Path("models/pretrained")
CURVE = Path("data/plots/pretrain.csv")
SAMPLES = Path("data/samples/pretrain.md")
METRICS = Path("metrics/pretrain.json")

LARGEST_EXPONENT = 700  # exp(710) is no float any more


def main(params: Params) -> None:
    device = choose_device()
    tokenizer = read_tokenizer(TOKENIZER)
    check_ids(TOKENS, tokenizer.n_vocab)
    shape = params.model.model_dump(exclude={"init", "init_std"})
    config = GPTConfig(vocab_size=tokenizer.n_vocab, **shape)
    torch.manual_seed(params.seed)
    model = new_gpt(config, params.model.init, params.model.init_std).to(device)
    batches = loaders(
        read_windows(TOKENS, "train"),
        read_windows(TOKENS, "validation"),
        params.pretrain.batch_size,
        collate=lambda batch: batch,  # the windows of a batch come gathered already
    )
    loss = next_token_loss(model)
    print(f"{n_parameters(model):,} parameters")
    snapshots = Snapshots.of_stage("pretrain", device)
    initial = snapshots.once("initial", lambda: measure_losses(model, loss, *batches, device, params.seed))
    prompt, n_tokens = params.pretrain.sample_prompt, params.pretrain.sample_tokens

    def write_sample(epoch: int) -> str:
        return f"\n## Epoch {epoch}\n\n{generate_text(model, tokenizer, prompt, n_tokens, Sampling())}\n"

    done = train(model, loss, *batches, params.pretrain, device, "pretrain", write_sample, snapshots)
    final = measure_losses(model, loss, *batches, device, params.seed)
    bigram = bigram_loss(read_ids(TOKENS, "train"), read_ids(TOKENS, "validation"), tokenizer.n_vocab)
    save_checkpoint(MODEL, model, TOKENIZER)
    write_table(CURVE, [asdict(evaluation) for evaluation in done.curve])
    title = f"# What the model writes after each epoch\n\nPrompt: {prompt}\n"
    write_text(SAMPLES, "".join([title, *done.epoch_notes]))
    write_metrics(
        METRICS,
        {
            "parameters": n_parameters(model),
            "initial_train_loss": initial[0],
            "initial_validation_loss": initial[1],
            "train_loss": final[0],
            "validation_loss": final[1],
            "validation_perplexity": exp(min(final[1], LARGEST_EXPONENT)),
            "bigram_validation_loss": bigram,
            "steps": done.steps,
            "tokens_seen": done.tokens_seen,
        },
    )
    snapshots.finish()
    print(f"validation loss {initial[1]:.3f} -> {final[1]:.3f}; a bigram model's is {bigram:.3f}")


if __name__ == "__main__":
    run(main)
