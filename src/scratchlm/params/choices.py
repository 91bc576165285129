"""The values that a parameter can have; those of the model's parameters are in model/config.py."""

from __future__ import annotations

from typing import Literal

BYTES_AND_END = 257  # tokens of a BPE without a merge: the 256 bytes and <|endoftext|>

TokenizerKind = Literal["gpt2", "bpe", "word"]
Precision = Literal["float32", "bfloat16", "auto"]  # of a training's matrix products
Schedule = Literal["constant", "cosine"]
Keep = Literal["last", "best"]  # weights of a training
Size = Literal["124M", "355M", "774M", "1558M"]  # of the released GPT-2
SmolLM2 = Literal["smollm2-135M", "smollm2-135M-instruct", "smollm2-135M-base"]  # 4-bit from a package; from the hub
Base = Literal["pretrained", Size, SmolLM2]
AssistantLayers = Literal["last_block", "last_two_blocks", "upper_third", "upper_half", "all", "lora"]  # trained ones
TrainLayers = Literal["last_layer", AssistantLayers]  # of the classifier
Weights = Literal["base", "random"]  # that the classifier starts with
Token = Literal["last", "first", "last_real", "mean", "mean_real"]  # that tells a message's label
Padding = Literal["longest", "context", "none"]  # of messages
Split = Literal["book", "bonus"]  # of messages
LoraScaling = Literal["alpha", "alpha_over_rank"]
PromptStyle = Literal["alpaca", "phi3"]  # of the assistant
PromptName = Literal["book", "rubric"]  # of the judge


def sees_padding(token: Token, padding: Padding, causal_mask: bool) -> bool:
    """Return whether the padding of a message can change its label: it stands after the message's own tokens."""
    return padding != "none" and (not causal_mask or token in ("last", "mean"))
