"""What the assistant's trainings change of the model: all of it, its upper blocks, or LoRA's matrices beside it."""

from __future__ import annotations

from scratchlm.model.cut import train_upper_blocks
from scratchlm.model.language_model import LanguageModel
from scratchlm.model.lora import add_lora, untied_head
from scratchlm.params.schema import FinetuningParams


def choose_trained_layers(model: LanguageModel, params: FinetuningParams) -> None:
    """Freeze what `train_layers` does not name; with lora, add matrices to every linear layer of blocks and head.

    With upper blocks, the final norm is trained, and the head if it has a matrix of its own. A tied head is the token
    embedding, which is frozen: the lower blocks were made for it. LoRA's matrices are drawn from torch's global
    generator. Raises InputError as `add_lora` does.
    """
    if params.train_layers == "lora":
        add_lora(model, [model.h, untied_head(model)], params.lora_rank, params.lora_scale)
    elif n_blocks := params.n_upper_blocks(len(model.h)):
        train_upper_blocks(model, n_blocks)
        if not model.config.tie_embeddings:
            model.lm_head.requires_grad_(True)
