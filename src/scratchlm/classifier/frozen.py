"""A classifier whose frozen blocks are computed once: only the blocks above them, and the head, work at every step."""

from __future__ import annotations

from collections.abc import Iterable

from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from scratchlm.classifier.classifier import Classifier, Messages
from scratchlm.model.cut import lower_part, n_frozen_blocks, upper_part
from scratchlm.stage.snapshots import Snapshots
from scratchlm.training.features import Features, compute_features


class UpperClassifier(nn.Module):
    """The part of a classifier above its frozen blocks: the same logits of the same ids, for texts with features.

    The features of a text are the hidden states of its tokens after `n_lower` blocks. If the head alone is trained,
    they are what it gets, one row.
    """

    def __init__(self, classifier: Classifier, features: Features, n_lower: int) -> None:
        super().__init__()
        self.classifier, self.features, self.n_lower = classifier, features, n_lower

    def forward(self, ids_BT: Tensor) -> Tensor:
        """Return the logits of the labels, [B, n_labels]."""
        classifier = self.classifier
        texts = needed(classifier, ids_BT.cpu())
        x_BTD = self.features.of(texts).to(classifier.gpt.device)
        if trains_head_alone(classifier):
            return classifier.head(x_BTD[:, 0])  # type: ignore[no-any-return]
        ids_BT = ids_BT[:, : x_BTD.shape[1]].to(x_BTD.device)
        return classifier.head(chosen_features(classifier, x_BTD, ids_BT, self.n_lower))  # type: ignore[no-any-return]


def classifier_with_stored_features(
    classifier: Classifier, splits: Iterable[Messages], snapshots: Snapshots
) -> nn.Module:
    """Compute what the frozen blocks make of all messages, and return the rest of the classifier.

    Returns the classifier itself if that would not help: no block is frozen, or dropout changes what the frozen ones
    return. Raises InputError and Interrupted as `compute_features` does.
    """
    gpt, n_frozen = classifier.gpt, n_frozen_blocks(classifier.gpt)
    if not n_frozen or gpt.config.drop_rate:
        return classifier
    n_lower = min(n_frozen, len(gpt.h) - 1)  # the last block computes less than the others, even if it is frozen
    one_row = trains_head_alone(classifier)

    def compute(texts: list[Tensor]) -> Tensor:
        ids_BT = pad_sequence(texts, batch_first=True, padding_value=classifier.reading.pad_id).to(gpt.device)
        x_BTD = lower_part(gpt, ids_BT, n_lower, classifier.reading.mask(ids_BT))
        return chosen_features(classifier, x_BTD, ids_BT, n_lower)[:, None] if one_row else x_BTD

    texts = (text for messages in splits for text in needed(classifier, messages.ids))
    features = compute_features(texts, gpt.config.emb_dim, compute, snapshots, one_row=one_row)
    return UpperClassifier(classifier, features, n_lower)


def trains_head_alone(classifier: Classifier) -> bool:
    """True if a training leaves the whole language model as it is."""
    return not any(parameter.requires_grad for parameter in classifier.gpt.parameters())


def needed(classifier: Classifier, ids_BT: Tensor) -> list[Tensor]:
    """Return of each text the tokens that can change its label."""
    return [ids_T[:n] for ids_T, n in zip(ids_BT, classifier.reading.n_needed(ids_BT).tolist(), strict=True)]


def chosen_features(classifier: Classifier, x_BTD: Tensor, ids_BT: Tensor, n_lower: int) -> Tensor:
    """Return what the head gets, [B, D], from the hidden states after `n_lower` blocks, [B, T, D]."""
    reading = classifier.reading
    position_B = reading.position(ids_BT)
    features = upper_part(classifier.gpt, x_BTD, n_lower, reading.mask(ids_BT), position_B)
    return reading.choose(features, ids_BT) if position_B is None else features
