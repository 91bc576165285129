"""Preference tuning: the batches of pairs, and the training by DPO with what is measured before and after it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from scratchlm.assistant.batches import SPLITS, Example, check_lengths, collate, encode_entries, input_ids, n_inputs
from scratchlm.assistant.dpo import answer_log_probs, outcomes, preference_measure
from scratchlm.assistant.instructions import Entry, format_entry
from scratchlm.assistant.pairs import read_pairs
from scratchlm.model.language_model import LanguageModel
from scratchlm.params.choices import PromptStyle
from scratchlm.params.schema import PreferenceTuningParams
from scratchlm.stage.device import autocast
from scratchlm.stage.processes import leave
from scratchlm.stage.progress import progress_bar
from scratchlm.stage.snapshots import Snapshots, open_snapshots
from scratchlm.tokenizer.protocol import Tokenizer
from scratchlm.training.best import training_metrics
from scratchlm.training.frozen import with_stored_features
from scratchlm.training.loaders import Loader, loaders
from scratchlm.training.loop import train
from scratchlm.training.loss import Batch
from scratchlm.training.machine import check_machine
from scratchlm.training.measuring import evaluation_mode
from scratchlm.training.shares import compute_rows
from scratchlm.training.state import TrainingState

STAGE = "tune_preferences"


class EncodedPair(NamedTuple):
    """A pair as token ids, each answer after its prompt, and how likely the reference finds both."""

    chosen: Example
    rejected: Example
    reference: Sequence[float] = (0.0, 0.0)  # log-probabilities, chosen first


class EncodedPairs(NamedTuple):
    """The pairs of all splits, how many answers of each split are cut to `max_length`, and all texts."""

    splits: dict[str, list[EncodedPair]]
    truncated: dict[str, int]
    texts: dict[str, list[str]]  # prompts and answers


def encode_splits(folder: Path, style: PromptStyle, tokenizer: Tokenizer, max_length: int) -> EncodedPairs:
    """Read and tokenize the pairs of a folder; raise InputError as `check_lengths` does."""
    splits, truncated, texts = {}, {}, {}
    for split in SPLITS:
        pairs = read_pairs(folder / f"{split}.json")
        answers = [pair["chosen"] for pair in pairs] + [pair["rejected"] for pair in pairs]
        entries = [
            Entry(instruction=pair["instruction"], input=pair["input"], output=answer)
            for pair, answer in zip(pairs * 2, answers, strict=True)
        ]
        examples = encode_entries(entries, style, tokenizer)
        chosen, rejected = examples[: len(pairs)], examples[len(pairs) :]
        truncated[split] = sum(check_lengths(part, max_length, True, STAGE) for part in (chosen, rejected))
        splits[split] = list(map(EncodedPair, chosen, rejected))
        texts[split] = [format_entry(entry, style) for entry in entries]
    return EncodedPairs(splits, truncated, texts)


def longer_answer(pair: EncodedPair, max_length: int) -> int:
    """Return how many input tokens the longer answer of a pair has in a batch, with its prompt."""
    return max(n_inputs(answer, max_length) for answer in (pair.chosen, pair.rejected))


def collate_pairs(pairs: Sequence[EncodedPair], pad_id: int, max_length: int, mask_prompt: bool) -> Batch:
    """Pad a batch of pairs; return inputs and targets, [B, 2, T] int64, and what the reference finds, [B, 2] float32.

    End-of-text after an answer is a part of it, as in TRL: a model that prefers an answer should prefer to stop after
    it. The book's notebook leaves end-of-text out; its mask also counts the line "### Response:" before the answer.
    """
    answers = [answer for pair in pairs for answer in (pair.chosen, pair.rejected)]
    inputs_PT, targets_PT = collate(answers, pad_id, max_length, mask_prompt)
    reference_B2 = torch.tensor([list(pair.reference) for pair in pairs])
    return inputs_PT.view(len(pairs), 2, -1), targets_PT.view(len(pairs), 2, -1), reference_B2


@dataclass(frozen=True)
class Tuning:
    """The result of a tuning: log-probabilities [n, 2] of every split's pairs before and after it, and its curve."""

    reference: dict[str, Tensor]
    final: dict[str, Tensor]
    beta: float
    state: TrainingState
    snapshots: Snapshots  # call its `finish` once the results are written

    def metrics(self) -> dict[str, float]:
        """Return what `outcomes` finds after the training under its names in the metrics, as means of whole splits.

        `likelier` is how often the chosen answer is the likelier one, in percent, whatever the reference finds. Before
        the training that and the loss are given; the rewards were 0.
        """
        measured: dict[str, float] = {}
        for split in SPLITS:
            reference, final = self.reference[split], self.final[split]
            before, after = (outcomes(found, reference, self.beta) for found in (reference, final))
            values = {f"initial_{split}_loss": before["loss"], f"initial_{split}_likelier": likelier(reference)}
            values |= {f"{split}_{name}": each for name, each in after.items()} | {f"{split}_likelier": likelier(final)}
            measured |= {name: float(each.double().mean()) for name, each in values.items()}
        return measured | training_metrics(self.state, measured["train_loss"], measured["validation_loss"])

    def __str__(self) -> str:
        measured = self.metrics()
        return (
            f"test pairs: margin {measured['test_margin']:.3f}, accuracy {measured['test_accuracy']:.1f} %; the chosen "
            f"answer is the likelier one in {measured['initial_test_likelier']:.1f} -> "
            f"{measured['test_likelier']:.1f} %"
        )


def likelier(log_probs_B2: Tensor) -> Tensor:
    """Return 100 for each pair whose chosen answer is the likelier one, and 0 for the others, [B]."""
    return 100 * (log_probs_B2[:, 0] > log_probs_B2[:, 1]).float()


def tune(
    model: LanguageModel,
    pairs: Mapping[str, Sequence[EncodedPair]],
    pad_id: int,
    params: PreferenceTuningParams,
    seed: int,
    after_epoch: Callable[[int], Any] = lambda epoch: None,
    report: Callable[[TrainingState], Any] = lambda state: None,
) -> Tuning:
    """Train a model on the training pairs by DPO, with the model as it is now as the reference.

    The reference is asked once, before the training, about the pairs of all splits: it never changes, and so there is
    no second model in memory. `after_epoch` and `report` are called as by `train`.
    Of several processes that share all this, the first returns the result and the others leave.
    Raises InputError and Interrupted as `train` does.
    """
    pad = partial(collate_pairs, pad_id=pad_id, max_length=params.max_length, mask_prompt=params.mask_prompt)
    length = partial(longer_answer, max_length=params.max_length) if params.group_by_length else None
    measure = preference_measure(params.beta, params.mean_log_probability)

    def log_probs() -> dict[str, list[list[float]]]:
        return {
            split: find_log_probs(
                upper, DataLoader(cast(Dataset[Any], part), params.batch_size, collate_fn=pad), params
            )
            for split, part in pairs.items()
        }

    check_machine(STAGE, params.batch_size)
    snapshots = open_snapshots(STAGE, model.device)
    answers = (answer for part in pairs.values() for pair in part for answer in (pair.chosen, pair.rejected))
    with autocast(model, params.precision):
        upper = with_stored_features(model, (input_ids(answer, params.max_length) for answer in answers), snapshots)
    reference: dict[str, list[list[float]]] = snapshots.once("reference", log_probs)
    known = {
        split: [pair._replace(reference=found) for pair, found in zip(part, reference[split], strict=True)]
        for split, part in pairs.items()
    }
    torch.manual_seed(seed)
    state = train(
        upper,
        loss=lambda model, batch: measure(model, batch)["loss"],
        measure=measure,
        batches=loaders(known["train"], known["validation"], params.batch_size, pad, length),
        params=params,
        name=STAGE,
        after_epoch=after_epoch,
        report=report,
        snapshots=snapshots,
    )
    final = log_probs()
    leave()
    before, after = ({split: torch.tensor(part) for split, part in found.items()} for found in (reference, final))
    return Tuning(before, after, params.beta, state, snapshots)


@torch.no_grad()
def find_log_probs(model: nn.Module, batches: Loader, params: PreferenceTuningParams) -> list[list[float]]:
    """Return how likely the model finds both answers of every pair, as `answer_log_probs` does, chosen first."""
    found: list[list[float]] = []
    n_pairs = len(batches.dataset)  # type: ignore[arg-type]
    bar = progress_bar(n_pairs, "log-probabilities", "pair")
    with evaluation_mode(model), autocast(model, params.precision), bar:
        for batch in batches:
            found += compute_rows(
                lambda part: answer_log_probs(model, part[0], part[1], params.mean_log_probability), batch
            ).tolist()
            bar.update(len(batch[0]))
    return found
