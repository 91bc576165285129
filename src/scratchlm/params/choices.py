"""The values that a parameter can have; those of the model's parameters are in model/config.py."""

from __future__ import annotations

from typing import Literal

TokenizerKind = Literal["gpt2", "bpe", "word"]
Schedule = Literal["constant", "cosine"]
Base = Literal["pretrained", "124M", "355M", "774M", "1558M"]
TrainLayers = Literal["last_layer", "last_block", "last_two_blocks", "all"]
PromptStyle = Literal["alpaca", "phi3"]  # of the assistant
PromptName = Literal["book", "rubric"]  # of the judge
