"""How likely a model finds the last tokens of a text after those before them.

Shape suffixes as in gpt.py: B batch, T tokens, D emb_dim; N scored tokens of the batch,
S those of one text, V vocab_size.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.nn.utils.rnn import pad_sequence

from scratchlm.model.kv_cache import n_alike
from scratchlm.model.language_model import LanguageModel

LOGITS_AT_ONCE = 512  # rows; of GPT-2's vocabulary they take 100 MB in float32


@torch.no_grad()
def log_likelihoods(model: LanguageModel, texts: Sequence[Sequence[int]], n_scored: Sequence[int]) -> Tensor:
    """Return the log-likelihood of the last `n_scored` tokens of each text, [B] float64 on the CPU, in nats.

    A text has more tokens than are scored of it, and at most one more than the model can see, since its last one is
    not read. The texts are one batch, padded on the right, where causal attention does not see the padding. `model` is
    in evaluation mode.
    """
    ids_BT = pad_sequence([torch.tensor(text) for text in texts], batch_first=True)
    ends_B1 = torch.tensor([[len(text) - 1] for text in texts])
    columns_T = torch.arange(ids_BT.shape[1] - 1)
    is_read_BT = (columns_T < ends_B1) & (columns_T >= ends_B1 - torch.tensor(n_scored)[:, None])  # predicts a token
    rows_N, columns_N = is_read_BT.nonzero(as_tuple=True)
    ids_BT = ids_BT.to(model.device)
    features_ND = model.features(ids_BT[:, :-1])[rows_N, columns_N]
    targets_N = ids_BT[rows_N, columns_N + 1]
    # Not the logits of every position, which would be 800 MB with GPT-2's vocabulary and 4,096 tokens.
    parts = zip(torch.split(features_ND, LOGITS_AT_ONCE), torch.split(targets_N, LOGITS_AT_ONCE), strict=True)
    losses = [F.cross_entropy(model.head(part_ND).float(), part_N, reduction="none") for part_ND, part_N in parts]
    log_likelihoods_N = -torch.cat(losses).cpu().double()  # on the CPU: Apple's GPUs have no float64
    return torch.zeros(len(texts), dtype=torch.float64).index_add_(0, rows_N, log_likelihoods_N)


@torch.no_grad()
def next_log_probs(model: LanguageModel, texts: Sequence[Sequence[int]], tokens: Sequence[int]) -> Tensor:
    """Return how likely each of some tokens is after each text, [B, len(tokens)] float32 on the CPU, in nats.

    No text is longer than the model can see. The texts are one batch, as for `log_likelihoods`; what all of them begin
    with is computed once. `model` is in evaluation mode.
    """
    ids_BT = pad_sequence([torch.tensor(text) for text in texts], batch_first=True)
    last_B = torch.tensor([len(text) - 1 for text in texts])
    n_shared = min(n_alike(ids_BT), int(last_B.min()))  # the last token of every text is computed for it alone
    features_BTD = model.features_after_start(model.embed(ids_BT.to(model.device)), n_shared)
    features_BD = features_BTD[torch.arange(len(texts)), last_B - n_shared]
    return model.head(features_BD).float().log_softmax(dim=-1)[:, list(tokens)].cpu()


@dataclass(frozen=True)
class TokenScores:
    """How likely a model finds each token of a text but the first, S of them, in nats; float32 on the CPU."""

    log_probs_S: Tensor
    likeliest: Tensor  # the K likeliest tokens of each place, likeliest first, [S, K] int64
    likeliest_log_probs: Tensor  # [S, K]


@torch.no_grad()
def score_tokens(model: LanguageModel, texts: Sequence[Sequence[int]], n_likeliest: int) -> list[TokenScores]:
    """Return how likely every token of each text but its first one is after those before it.

    The texts have at least one token, and at most one more than the model can see; they are one batch, as for
    `log_likelihoods`. `model` is in evaluation mode.
    """
    n_scored = [len(text) - 1 for text in texts]
    if not any(n_scored):
        nothing = torch.zeros(0, n_likeliest)
        return [TokenScores(torch.zeros(0), nothing.long(), nothing) for _ in texts]
    ids_BT = pad_sequence([torch.tensor(text) for text in texts], batch_first=True)
    is_read_BT = torch.arange(ids_BT.shape[1] - 1) < torch.tensor(n_scored)[:, None]
    features_BTD = model.features(ids_BT[:, :-1].to(model.device))
    features_ND = features_BTD[is_read_BT.to(model.device)]
    targets_N1 = ids_BT[:, 1:][is_read_BT].to(model.device)[:, None]
    parts = []
    for part_ND, part_N1 in zip(
        torch.split(features_ND, LOGITS_AT_ONCE), torch.split(targets_N1, LOGITS_AT_ONCE), strict=True
    ):
        log_probs_NV = model.head(part_ND).float().log_softmax(dim=-1)
        top = log_probs_NV.topk(min(n_likeliest, log_probs_NV.shape[1]))
        parts.append((log_probs_NV.gather(1, part_N1)[:, 0].cpu(), top.indices.cpu(), top.values.cpu()))
    columns = [torch.split(torch.cat(column), n_scored) for column in zip(*parts, strict=True)]
    return [TokenScores(*scores) for scores in zip(*columns, strict=True)]
