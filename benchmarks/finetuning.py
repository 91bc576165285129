"""Steps of fine-tuning GPT-2 124M by the book's published code, by transformers with peft, and by this project.

python benchmarks/finetuning.py        about 20 minutes on 2 idle cores

All start from the same random weights and take the same steps with AdamW: the classifier on 8 of UCI's messages of 120
tokens, the assistant on 8 of the book's instructions, padded as the book does, with and without their prompts masked.
They train all layers, or LoRA's matrices of rank 16. Each measurement is a fresh process; only the steps after the
warm-up are timed. The programs take turns, and the table shows the medians of the rounds.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from itertools import islice, product
from pathlib import Path
from typing import Any

import torch
from book_package import book_model
from book_profile import BookProfile
from loading import status_bytes
from torch import Tensor, nn
from torch.nn import functional as F

from scratchlm.assistant.batches import read_batches
from scratchlm.bases.gpt2 import gpt2_config
from scratchlm.checkpoint.folder import load, load_checkpoint, save_checkpoint
from scratchlm.classifier.classifier import Classifier, choose_trained_layers, label_loss
from scratchlm.classifier.finetune import encode_splits, read_splits
from scratchlm.model.config import GPTConfig
from scratchlm.model.init import new_model
from scratchlm.model.lora import add_lora, untied_head
from scratchlm.params.file import load_params
from scratchlm.params.schema import FinetuningParams
from scratchlm.stage.device import use_huge_pages
from scratchlm.training.loaders import Loaders, loaders
from scratchlm.training.loop import Training
from scratchlm.training.loss import Batch, next_token_loss

CLASSIFIER, ASSISTANT, MASKED = "classifier", "assistant", "assistant, prompts masked"
TASKS = (CLASSIFIER, ASSISTANT, MASKED)
LAYERS = ("all", "lora")
BASE = Path("models/bases/124M")
TOKENIZER = Path("data/tokenizer")
WARM_UP = 2  # steps
SEED = 123
LOSS_DIFFERENCE = 1e-4  # the largest one allowed, in nats: the programs add up in another order

Side = tuple[str, str, str]  # program, task and layers
Step = Callable[[Batch], float]  # trains on a batch and returns its mean loss before that


def prepare(folder: Path, config: GPTConfig) -> None:
    """Write the data of both fine-tunings, and random weights of a base."""
    same = {"base": "124M", "epochs": 1, "lora_scaling": "alpha_over_rank"}  # peft divides by the rank too
    sections = ("finetune_classifier", "finetune_instructions")
    book = BookProfile(folder, {f"{section}.{key}": value for section in sections for key, value in same.items()})
    for stage in ("build_tokenizer", "prepare_sms", "prepare_instructions"):
        book.run(stage)
    torch.manual_seed(SEED)
    save_checkpoint(folder / BASE, new_model(config, "gpt2"), folder / TOKENIZER)


def settings_of(folder: Path, task: str, layers: str) -> FinetuningParams:
    params = load_params(folder / "params.yaml")
    if task == CLASSIFIER:
        return params.finetune_classifier.model_copy(update={"train_layers": layers})
    return params.finetune_instructions.model_copy(update={"train_layers": layers, "mask_prompt": task == MASKED})


def task_batches(folder: Path, task: str, settings: Any) -> Loaders:
    gpt, tokenizer = load(folder / BASE)
    if task == CLASSIFIER:
        messages, _ = encode_splits(read_splits(folder / "data/sms"), tokenizer, None, gpt.config.context_length)
        return loaders(messages["train"], messages["validation"], settings.batch_size)
    return read_batches(folder / "data/instructions", "alpaca", tokenizer, settings).loaders


def our_step(folder: Path, task: str, settings: Any, batches: Loaders) -> Step:
    """Take the steps of our training loop."""
    gpt = load_checkpoint(folder / BASE)
    torch.manual_seed(SEED)
    model: nn.Module = gpt
    if task == CLASSIFIER:
        model = Classifier(gpt)
        choose_trained_layers(model, settings)
    elif settings.train_layers == "lora":
        add_lora(gpt, [gpt.h, untied_head(gpt)], settings.lora_rank, settings.lora_scale)
    loss = label_loss if task == CLASSIFIER else next_token_loss
    sums: list[float] = []

    def noted_loss(model: nn.Module, batch: Batch) -> Tensor:
        value = loss(model, batch)
        sums.append(value.item())
        return value

    training = Training(model.train(), noted_loss, batches, settings, "benchmark", None)

    def step(batch: Batch) -> float:
        training.update(batch)
        return sums[-1] / int((batch[1] != -100).sum())

    return step


def books_step(folder: Path, task: str, settings: Any, batches: Loaders) -> Step:
    from llms_from_scratch.appendix_e import replace_linear_with_lora
    from llms_from_scratch.ch05 import calc_loss_batch as token_loss
    from llms_from_scratch.ch06 import calc_loss_batch as message_loss

    model = book_model(load_checkpoint(folder / BASE)).train()
    torch.manual_seed(SEED)
    if task == CLASSIFIER:
        model.out_head = nn.Linear(model.pos_emb.embedding_dim, 2)
    if settings.train_layers == "lora":
        model.requires_grad_(False)
        replace_linear_with_lora(model, settings.lora_rank, settings.lora_scale)
    loss = message_loss if task == CLASSIFIER else token_loss
    return plain_step(model, settings, lambda batch: loss(*batch, model, "cpu"))


def transformers_step(folder: Path, task: str, settings: Any, batches: Loaders) -> Step:
    from transformers import GPT2LMHeadModel, GPT2Model

    torch.manual_seed(SEED)
    no_dropout = {"attn_pdrop": 0.0, "embd_pdrop": 0.0, "resid_pdrop": 0.0}
    if task == CLASSIFIER:
        model = nn.ModuleDict({"gpt": GPT2Model.from_pretrained(folder / BASE, **no_dropout)})
        model["head"] = nn.Linear(model["gpt"].config.n_embd, 2)
    else:
        model = GPT2LMHeadModel.from_pretrained(folder / BASE, **no_dropout)
    if settings.train_layers == "lora":
        from peft import LoraConfig, inject_adapter_in_model

        every = ["c_attn", "c_fc", "c_proj", "head" if task == CLASSIFIER else "lm_head"]
        scale = {"r": settings.lora_rank, "lora_alpha": settings.lora_alpha}
        inject_adapter_in_model(LoraConfig(**scale, target_modules=every, fan_in_fan_out=True), model)

    def loss(batch: Batch) -> Tensor:
        inputs, targets = batch
        if task == CLASSIFIER:
            # `GPT2ForSequenceClassification` would look for the last token before the padding.
            return F.cross_entropy(model["head"](model["gpt"](inputs).last_hidden_state[:, -1]), targets)
        return model(inputs, labels=targets, shift_labels=targets).loss

    return plain_step(model.train(), settings, loss)


def plain_step(model: nn.Module, settings: Any, loss: Callable[[Batch], Tensor]) -> Step:
    """Return the step of the book's loop, which is that of most code: torch's AdamW as it is."""
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=settings.learning_rate, weight_decay=settings.weight_decay)

    def step(batch: Batch) -> float:
        optimizer.zero_grad()
        value = loss(batch)
        value.backward()
        optimizer.step()
        return value.item()

    return step


BOOK, THEIRS, OURS = "the book's code", "transformers", "scratchlm"
PROGRAMS = {BOOK: books_step, THEIRS: transformers_step, OURS: our_step}


def measure(folder: Path, program: str, task: str, layers: str, n_timed: int) -> dict[str, Any]:
    """Warm up, then time some steps; return the losses of all, the seconds of one, and the peak of memory."""
    if program == OURS:  # as every stage does
        use_huge_pages()
    settings = settings_of(folder, task, layers)
    batches = task_batches(folder, task, settings)
    step = PROGRAMS[program](folder, task, settings, batches)
    torch.manual_seed(SEED)
    losses, seconds = [], []
    for batch in islice(batches.train, WARM_UP + n_timed):
        started = time.perf_counter()
        losses.append(step(batch))
        seconds.append(time.perf_counter() - started)
    return {
        "losses": losses,
        "seconds": statistics.mean(seconds[WARM_UP:]),
        "peak_gib": status_bytes("VmHWM") / 2**30,
    }


def in_a_process(folder: Path, program: str, task: str, layers: str, n_timed: int) -> dict[str, Any]:
    print(f"running {program}: {task}, {layers} ...", file=sys.stderr, flush=True)
    command = [sys.executable, __file__, "--measure", str(folder), program, task, layers, str(n_timed)]
    environment = {**os.environ, "TQDM_DISABLE": "1"}
    output = subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE, text=True).stdout
    return dict(json.loads(output.splitlines()[-1]))


def unequal_losses(found: Mapping[Side, dict[str, Any]]) -> list[str]:
    """Return whose losses differ from ours.

    Two are equal only before the first update. With LoRA, peft draws other matrices, and has one pair for query, key
    and value together. In the book's code the assistant's head is a copy of the token embedding that learns apart.
    """
    unequal = []
    for (program, task, layers), run in found.items():
        learns_apart = program == BOOK and task != CLASSIFIER and layers == "all"
        equal = 1 if learns_apart or (program, layers) == (THEIRS, "lora") else len(run["losses"])
        theirs, ours = (torch.tensor(losses[:equal]) for losses in (run["losses"], found[OURS, task, layers]["losses"]))
        if (theirs - ours).abs().max() > LOSS_DIFFERENCE:
            unequal.append(f"{program}: {task}, {layers}")
    return unequal


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=str(__doc__).split("\n\n")[0], formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=3, help="rounds of all programs")
    parser.add_argument("--steps", type=int, default=6, help="steps to be timed, after two to warm up")
    parser.add_argument("--tasks", nargs="+", default=TASKS, choices=TASKS)
    parser.add_argument("--measure", nargs=5, help=argparse.SUPPRESS)
    return parser.parse_args()


def main() -> None:
    asked = parse_arguments()
    if asked.measure:
        folder, program, task, layers, n_timed = asked.measure
        print(json.dumps(measure(Path(folder), program, task, layers, int(n_timed))))
        return
    sides = list(product(PROGRAMS, asked.tasks, LAYERS))
    with tempfile.TemporaryDirectory() as name:
        prepare(Path(name), gpt2_config("124M"))
        rounds = [{side: in_a_process(Path(name), *side, asked.steps) for side in sides} for _ in range(asked.rounds)]
    seconds = {side: statistics.median(found[side]["seconds"] for found in rounds) for side in sides}
    print(f"{'task':28}{'layers':8}{'program':18}{'s/step':>8}{'ours takes':>12}{'peak memory':>13}")
    for task, layers, program in product(asked.tasks, LAYERS, PROGRAMS):
        side = program, task, layers
        ratio = "" if program == OURS else f"{seconds[OURS, task, layers] / seconds[side]:.2f}"
        peak = max(found[side]["peak_gib"] for found in rounds)
        print(f"{task:28}{layers:8}{program:18}{seconds[side]:8.2f}{ratio:>12}{peak:9.1f} GiB")
    unequal = unequal_losses(rounds[0])
    print(f"different losses: {'; '.join(unequal)}" if unequal else "all losses are equal within rounding")
    sys.exit(bool(unequal))


if __name__ == "__main__":
    main()
