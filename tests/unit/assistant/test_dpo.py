"""The loss of preference tuning: the paper's formula written out, and transformers' probabilities of the answers."""

from __future__ import annotations

import math

import pytest
import torch
from tiny_trainings import random_pair
from torch import Tensor
from transformers import GPT2LMHeadModel

from scratchlm.assistant.batches import Example
from scratchlm.assistant.dpo import answer_log_probs, outcomes, preference_measure
from scratchlm.assistant.tuning import EncodedPair, collate_pairs
from scratchlm.checkpoint.folder import save_checkpoint
from scratchlm.model.config import GPTConfig
from scratchlm.model.gpt import GPT
from scratchlm.model.init import new_model
from scratchlm.training.loss import IGNORED, Batch, count_targets

BETA = 0.1
END = 39
SINGLE = 1e-5  # what float32 leaves of a sum of some tens of nats


def tiny_model(seed: int) -> GPT:
    torch.manual_seed(seed)
    return new_model(GPTConfig(40, 30, 16, 2, 2), "gpt2", 0.3).eval()


def pairs(n: int, reference: bool = True) -> list[EncodedPair]:
    """Pairs whose prompts and answers all have different lengths."""
    generator = torch.Generator().manual_seed(3)
    made = []
    for number in range(n):
        pair = random_pair(generator, 2 + number, (1 + number, 7 - number))
        found = (-torch.rand(2, generator=generator) * 9).tolist()
        made.append(pair._replace(reference=found) if reference else pair)
    return made


def batch_of(made: list[EncodedPair], mask_prompt: bool = True, max_length: int = 30) -> Batch:
    return collate_pairs(made, END, max_length, mask_prompt)


def log_prob_alone(model: GPT, example: Example, mean: bool, mask_prompt: bool = True) -> Tensor:
    """The log-probability of one answer, token by token from the logits of its text alone."""
    ids = torch.tensor([*example.ids, END])
    log_probs_TV = model(ids[None, :-1])[0].log_softmax(dim=-1)
    each = torch.stack([log_probs_TV[position, ids[position + 1]] for position in range(len(ids) - 1)])
    answer = each[example.prompt_length - 1 :] if mask_prompt else each
    return answer.mean() if mean else answer.sum()


def paper_loss(model: GPT, reference: GPT, pair: EncodedPair, mean: bool) -> Tensor:
    """Equation 7 of Rafailov et al. 2023 for one pair."""
    chosen, rejected = (
        log_prob_alone(model, example, mean) - log_prob_alone(reference, example, mean).detach()
        for example in (pair.chosen, pair.rejected)
    )
    return -torch.log(torch.sigmoid(BETA * chosen - BETA * rejected))


@pytest.mark.parametrize("mean", [True, False])
@pytest.mark.parametrize("mask_prompt", [True, False])
def test_log_probabilities_are_those_of_each_answer_alone(mean: bool, mask_prompt: bool) -> None:
    model, made = tiny_model(1), pairs(5)
    inputs, targets, _ = batch_of(made, mask_prompt)
    wanted = [
        [log_prob_alone(model, example, mean, mask_prompt).item() for example in (pair.chosen, pair.rejected)]
        for pair in made
    ]
    torch.testing.assert_close(
        answer_log_probs(model, inputs, targets, mean), torch.tensor(wanted), atol=SINGLE, rtol=0
    )


def test_log_probabilities_are_those_of_transformers(tmp_path, tokenizer_folder) -> None:
    torch.manual_seed(1)
    ours = new_model(GPTConfig(280, 30, 16, 2, 2, qkv_bias=True), "gpt2", 0.3).eval()
    save_checkpoint(tmp_path / "model", ours, tokenizer_folder)
    theirs = GPT2LMHeadModel.from_pretrained(tmp_path / "model").eval()
    made = pairs(5)
    inputs, targets, _ = batch_of(made)
    found = answer_log_probs(ours, inputs, targets, mean=False)
    for row, pair in enumerate(made):
        for column, example in enumerate((pair.chosen, pair.rejected)):
            ids = torch.tensor([[*example.ids, END]])
            labels = ids.clone()
            labels[0, : example.prompt_length] = IGNORED
            n_tokens = len(example.ids) + 1 - example.prompt_length
            wanted = -theirs(ids, labels=labels).loss * n_tokens
            assert found[row, column].item() == pytest.approx(wanted.item(), abs=SINGLE * n_tokens)


@pytest.mark.parametrize("mean", [True, False])
def test_the_loss_and_its_gradients_are_the_papers(mean: bool) -> None:
    model, reference, made = tiny_model(1), tiny_model(2), pairs(5, reference=False)
    inputs, targets, _ = batch_of(made)
    with torch.no_grad():
        known = answer_log_probs(reference, inputs, targets, mean)
    loss = preference_measure(BETA, mean)(model, (inputs, targets, known))["loss"]
    loss.backward()
    gradients = [parameter.grad.clone() for parameter in model.parameters()]
    model.zero_grad()
    wanted = torch.stack([paper_loss(model, reference, pair, mean) for pair in made]).sum()
    wanted.backward()
    assert loss.item() == pytest.approx(wanted.item(), abs=SINGLE)
    for found, parameter in zip(gradients, model.parameters(), strict=True):
        torch.testing.assert_close(found, parameter.grad, atol=SINGLE, rtol=1e-3)
    assert max(gradient.abs().max() for gradient in gradients) > 0.01


@pytest.mark.parametrize("mean", [True, False])
def test_a_model_that_is_its_own_reference_has_a_loss_of_log_2_and_no_margin(mean: bool) -> None:
    model, made = tiny_model(1), pairs(6, reference=False)
    inputs, targets, _ = batch_of(made)
    with torch.no_grad():
        known = answer_log_probs(model, inputs, targets, mean)
        sums = preference_measure(BETA, mean)(model, (inputs, targets, known))
    assert sums["loss"].item() / 6 == pytest.approx(math.log(2), abs=1e-7)
    assert f"{sums['loss'].item() / 6:.4f}" == "0.6931"
    assert [sums[name].item() for name in ("chosen_reward", "rejected_reward", "margin", "accuracy")] == [0, 0, 0, 0]


def test_rewards_are_beta_times_the_log_ratio_and_decide_loss_margin_and_accuracy() -> None:
    found = outcomes(torch.tensor([[-1.0, -5.0], [-4.0, -2.0]]), torch.tensor([[-2.0, -3.0], [-3.0, -4.0]]), 0.5)
    assert found["chosen_reward"].tolist() == [0.5, -0.5]
    assert found["rejected_reward"].tolist() == [-1.0, 1.0]
    assert found["margin"].tolist() == [1.5, -1.5]
    assert found["accuracy"].tolist() == [100, 0]
    assert found["loss"].tolist() == pytest.approx([math.log(1 + math.exp(-1.5)), math.log(1 + math.exp(1.5))])


def test_neither_the_order_of_the_pairs_nor_the_padding_matters() -> None:
    model, made = tiny_model(1), pairs(6)
    measure = preference_measure(BETA, True)
    together = measure(model, batch_of(made))
    turned = measure(model, batch_of(made[::-1]))
    alone = [measure(model, batch_of([pair])) for pair in made]
    assert count_targets(batch_of(made)) == 6  # pairs
    for name, value in together.items():
        assert turned[name].item() == pytest.approx(value.item(), abs=SINGLE), name
        assert sum(each[name].item() for each in alone) == pytest.approx(value.item(), abs=SINGLE), name


def test_a_masked_prompt_cannot_change_what_is_asked_of_the_answer() -> None:
    made = pairs(3)
    _, masked, reference = batch_of(made)
    _, unmasked, _ = batch_of(made, mask_prompt=False)
    for row, pair in enumerate(made):
        for column, example in enumerate((pair.chosen, pair.rejected)):
            answer = [*example.ids[example.prompt_length :], END]  # end-of-text is a part of it
            targets = masked[row, column]
            assert targets[targets != IGNORED].tolist() == answer
            assert unmasked[row, column][: len(example.ids)].tolist() == [*example.ids[1:], END]
        assert reference[row].tolist() == pytest.approx(pair.reference)


def test_the_gradient_pulls_at_the_chosen_answer_and_pushes_the_rejected_one_away() -> None:
    model, made = tiny_model(1), pairs(4, reference=False)
    inputs, targets, _ = batch_of(made)
    with torch.no_grad():
        known = answer_log_probs(model, inputs, targets, True)
    preference_measure(BETA, True)(model, (inputs, targets, known))["loss"].backward()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter -= 0.01 * parameter.grad
        found = outcomes(answer_log_probs(model, inputs, targets, True), known, BETA)
    assert (found["chosen_reward"] > 0).all() and (found["rejected_reward"] < 0).all()


def test_a_large_margin_gives_no_infinite_loss() -> None:
    found = outcomes(torch.tensor([[0.0, -1e5], [-1e5, 0.0]]), torch.zeros(2, 2), 1.0)
    assert found["loss"].tolist() == [0.0, 1e5]
