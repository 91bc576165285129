"""Direct preference optimization (DPO, Rafailov et al. 2023, arXiv 2305.18290): its log-probabilities and its loss.

A pair has two answers to one prompt, the chosen one first. How much likelier an answer has become, in the eyes of the
model and compared with the reference from which its training started, is the reward of that answer. The loss is small
where the reward of the chosen answer is larger than that of the rejected one; nothing pulls at a pair any more once the
difference of its rewards, its margin, is several nats.

Shape suffixes: B pairs, 2 the chosen and the rejected answer of each, P = 2 B answers, T tokens, D width of the model,
N tokens of all answers.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from scratchlm.training.loss import IGNORED, Batch, Measure, on_device, shared_start


def answer_log_probs(model: nn.Module, inputs_B2T: Tensor, targets_B2T: Tensor, mean: bool) -> Tensor:
    """Return how likely the model finds each answer, [B, 2] float32, in nats: the mean per token, or the sum.

    Inputs and targets are int64, on the CPU; a target of -100 is not a part of the answer. The sum is the paper's; with
    the mean, as in the book's notebook, a long answer moves no further than a short one. Both answers of all pairs are
    one batch, and the model's head computes only the logits that are needed. What an answer's tokens weigh in the
    gradient is known only after all of them, so that many logits are computed twice rather than kept.
    """
    inputs_PT, targets_PT = inputs_B2T.flatten(0, 1), targets_B2T.flatten(0, 1)
    is_answer_PT = targets_PT != IGNORED
    counted_N = is_answer_PT.flatten().nonzero().squeeze(1)
    tensors = (inputs_PT, targets_PT[is_answer_PT], counted_N, is_answer_PT)
    n_shared = shared_start(inputs_PT, targets_PT)
    inputs_PT, targets_N, counted_N, is_answer_PT = on_device(tensors, model)
    losses_N: Tensor = model(inputs_PT, counted_N, n_shared, targets_N, reduction="none")
    # Not `index_add`, whose order of addition changes from run to run on a GPU, and not `masked_scatter`, whose
    # backward pass makes the CPU wait for the GPU.
    places = losses_N.new_zeros(is_answer_PT.numel())
    log_probs_PT = places.scatter(0, counted_N, -losses_N).view(is_answer_PT.shape)
    sums_P = log_probs_PT.sum(1)
    return (sums_P / is_answer_PT.sum(1) if mean else sums_P).view(-1, 2)


def preference_measure(beta: float, mean: bool) -> Measure:
    """Return a measure of batches of inputs [B, 2, T], targets [B, 2, T] and the reference's log-probabilities [B, 2].

    It sums over the pairs the loss (the paper's equation 7), the rewards, the margin and the accuracy of `outcomes`.
    """

    def measure(model: nn.Module, batch: Batch) -> dict[str, Tensor]:
        inputs_B2T, targets_B2T, reference_B2 = batch
        log_probs_B2 = answer_log_probs(model, inputs_B2T, targets_B2T, mean)
        (reference_B2,) = on_device((reference_B2,), model)
        return {name: values.sum() for name, values in outcomes(log_probs_B2, reference_B2, beta).items()}

    return measure


def outcomes(log_probs_B2: Tensor, reference_B2: Tensor, beta: float) -> dict[str, Tensor]:
    """Return what the log-probabilities of model and reference say about each pair, each [B].

    The rewards are beta times the log-ratio, as in the paper (section 5.1) and in TRL, so that the loss follows from
    the margin alone: -log sigmoid(margin). The book's notebook shows them without beta, ten times as large with 0.1.
    `accuracy`, in percent, is 100 where the chosen answer has the larger reward, and 0 elsewhere.
    """
    rewards_B2 = beta * (log_probs_B2 - reference_B2)
    chosen_B, rejected_B = rewards_B2.unbind(1)
    margin_B = chosen_B - rejected_B
    return {
        "loss": -F.logsigmoid(margin_B),
        "chosen_reward": chosen_B,
        "rejected_reward": rejected_B,
        "margin": margin_B,
        "accuracy": 100 * (margin_B > 0).float(),
    }
