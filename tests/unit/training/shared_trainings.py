"""What several processes run in `test_parallel.py`: the four trainings, and everything that is measured around them."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any

import torch
from tiny_models import config_of
from tiny_trainings import LENGTHS, instructions, like_lengths, random_pair, tiny_model, windows
from torch import Tensor, nn
from torch._dynamo.utils import counters
from training_settings import classifier_settings, preference_settings, training_settings

from scratchlm.assistant import tuning
from scratchlm.assistant.trained_layers import choose_trained_layers as choose_assistant_layers
from scratchlm.classifier import finetune
from scratchlm.classifier.classifier import Classifier, Messages, choose_trained_layers
from scratchlm.model import head_loss
from scratchlm.model.config import Architecture
from scratchlm.model.init import new_model
from scratchlm.stage import snapshots
from scratchlm.stage.processes import from_first, n_processes, rank
from scratchlm.stage.snapshots import Snapshots
from scratchlm.training import fit as fitting
from scratchlm.training.loop import train
from scratchlm.training.loss import Batch, next_token_loss
from scratchlm.training.optimizer import new_optimizer, set_state, state_of

BATCH = {"batch_size": 8, "learning_rate": 0.003, "eval_every": 1, "eval_batches": 3, "gradient_clip": 0.5}


def open_in(folder: str) -> Callable[..., Snapshots]:
    return lambda stage, device: Snapshots(Path(folder) / stage, every_s=0)


def told(state: Any, *found: Any) -> dict[str, Any]:
    """Return everything that a training reports, as numbers."""
    return {"curve": state.curve_rows(), "notes": state.epoch_notes, "found": found}


def weights_of(model: nn.Module) -> list[list[float]]:
    return [parameter.detach().flatten().tolist() for parameter in model.parameters()]


def fit(
    folder: str,
    kind: str,
    changes: dict[str, Any],
    layers: str = "all",
    tied: bool = True,
    drop: float = 0.0,
    architecture: Architecture = "gpt2",
) -> Any:
    """Pretrain on windows, or fine-tune on instructions whose rows have 1 to 20 targets."""
    fitting.open_snapshots = open_in(folder)  # type: ignore[assignment]
    made = {"windows": windows, "instructions": instructions, "like_lengths": like_lengths}[kind]
    _, _, batches = made(drop)
    torch.manual_seed(0)
    model = new_model(config_of(architecture, 40, 24, 16, 2, 2, drop, tie_embeddings=tied), "gpt2", 0.1)
    chosen = preference_settings(train_layers=layers, lora_rank=2)
    torch.manual_seed(3)
    choose_assistant_layers(model, chosen)
    texts = [row for batch in (*batches.train, *batches.validation) for row in batch[0]]
    inputs = [row[:n] for row in texts for n in range(1, len(row) + 1)] if layers == "last_block" else []
    params = training_settings(**{**BATCH, **changes})
    optimizer = new_optimizer(model, params) if kind == "windows" else None
    torch.manual_seed(123)
    look = lambda epoch: float(model(torch.arange(8)[None]).detach().sum())  # noqa: E731
    done = fitting.fit(
        "pretrain", model, batches, params, 1, Path(folder) / "curve.csv",
        texts=inputs, after_epoch=look, optimizer=optimizer,
    )  # fmt: skip
    kept = state_of(model, optimizer) if optimizer else {}
    moments = from_first({name: value.flatten().tolist() for name, value in kept.items()})
    return told(done.state, done.losses()) | {"weights": weights_of(model), "moments": moments}


def fit_until(step: int, *arguments: Any) -> Any:
    """Do as `fit`, with a stop requested of the last process after so many steps."""
    calls = iter(range(1, 1000))
    snapshots.requested = lambda: next(calls) == step and rank() == n_processes() - 1  # type: ignore[assignment]
    return fit(*arguments)


def fit_on(*arguments: Any) -> Any:
    """Do as `fit` does with a training that was stopped."""
    said = StringIO()
    with redirect_stdout(said):
        found = fit(*arguments)
    assert "resuming after" in said.getvalue(), "it began anew"
    return found


def n_moments(folder: str) -> list[int]:
    """Return how many tensors an optimizer keeps whose state a training goes on from: before, during and after it."""
    model, loss, batches = windows(0.0)
    params = training_settings(**BATCH)
    optimizer = new_optimizer(model, params)
    state = [(name, weight) for name, weight in model.named_parameters()]
    zeros = {f"{name}.{key}": torch.zeros_like(weight) for name, weight in state for key in ("exp_avg", "exp_avg_sq")}
    set_state(model, optimizer, zeros | {f"{name}.step": torch.tensor(0.0) for name, _ in state})
    counts = [len(state_of(model, optimizer))]
    during: set[int] = set()
    look = lambda epoch: during.add(len(state_of(model, optimizer)))  # noqa: E731
    train(model, loss=loss, batches=batches, params=params, name="test", after_epoch=look, optimizer=optimizer)
    return [*counts, *during, len(state_of(model, optimizer))]


def fit_compiled(*arguments: Any) -> Any:
    """Do as `fit`, and return also how many graphs torch has compiled."""
    return fit(*arguments) | {"graphs": counters["stats"]["unique_graphs"]}


def fit_with_nan(step: int) -> None:
    """Train with a loss that is not finite in the last process alone, from a step on."""
    _, _, batches = instructions(0.0)
    steps = iter(range(1000))

    def loss(model: nn.Module, batch: Batch) -> Tensor:
        found = next_token_loss(model, batch)
        return found * torch.nan if model.training and next(steps) >= step and rank() == n_processes() - 1 else found

    train(
        tiny_model(0.0),
        loss=loss,
        batches=batches,
        params=training_settings(**{**BATCH, "eval_every": 50}),
        name="test",
    )


def classify(folder: str, changes: dict[str, Any], tied: bool = True) -> Any:
    """Fine-tune a classifier; the validation and test sets end with a batch of one message."""
    finetune.open_snapshots = open_in(folder)  # type: ignore[assignment]
    torch.manual_seed(0)
    gpt = new_model(config_of("gpt2", 40, 24, 16, 2, 2, 0.0, tie_embeddings=tied), "gpt2", 0.1)
    params = classifier_settings(**{**BATCH, "lora_rank": 2, **changes})
    classifier = Classifier(gpt)
    torch.manual_seed(3)
    choose_trained_layers(classifier, params)
    generator = torch.Generator().manual_seed(1)
    splits = {
        split: Messages(
            torch.randint(39, (n, 16), generator=generator), torch.randint(2, (n,), generator=generator).tolist()
        )
        for split, n in {"train": 26, "validation": 9, "test": 17}.items()
    }
    done = finetune.finetune(classifier, splits, params, 123, lambda: None)
    return told(done.state, done.initial, done.final, done.metrics()) | {"weights": weights_of(classifier)}


def prefer(folder: str, changes: dict[str, Any]) -> Any:
    """Tune by preferences, on pairs whose answers have 1 to 20 tokens."""
    tuning.open_snapshots = open_in(folder)  # type: ignore[assignment]
    generator = torch.Generator().manual_seed(1)
    made = [random_pair(generator, prompt, (answer, 3)) for prompt, answer in LENGTHS * 3]
    splits = {"train": made, "validation": made[:9], "test": made[:5]}
    params = preference_settings(**{**BATCH, "lora_rank": 2, "mean_log_probability": False, **changes})
    model = tiny_model(0.0)
    torch.manual_seed(3)
    choose_assistant_layers(model, params)
    done = tuning.tune(model, splits, 39, params, 123)
    found = [{split: part.tolist() for split, part in each.items()} for each in (done.reference, done.final)]
    return told(done.state, *found) | {"weights": weights_of(model)}


def in_parts(folder: str, function: str, *arguments: Any) -> Any:
    """Do as a function of this module does, with the logits of 8 targets in memory at a time."""
    head_loss.LOGITS_AT_ONCE = 8 * 40
    return globals()[function](folder, *arguments)
