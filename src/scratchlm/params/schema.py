"""The parameters of all stages and their allowed values; `params.file` reads and checks params.yaml."""

from __future__ import annotations

import re
from dataclasses import fields
from math import ceil
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from scratchlm.model.config import (
    MAX_LAYERS,
    MAX_ROPE_BASE,
    Activation,
    Architecture,
    AttentionKind,
    GPTConfig,
    Init,
    LlamaConfig,
    ModelConfig,
)
from scratchlm.params.choices import (
    AssistantLayers,
    Base,
    Keep,
    LoraScaling,
    Padding,
    Precision,
    PromptName,
    PromptStyle,
    Schedule,
    Split,
    Token,
    TokenizerKind,
    TrainLayers,
    Weights,
)

MIN_TEMPERATURE = 0.01  # logits divided by less leave float32's range
LARGEST_COUNT = 2**31 - 1  # more than any run needs, and every library can count that far
UNSPELLABLE = re.compile("[\0-\x1f\x7f\ud800-\udfff]")  # control characters, and surrogates, which UTF-8 cannot hold

Positive = Annotated[int, Field(gt=0, le=LARGEST_COUNT)]
Count = Annotated[int, Field(ge=0, le=LARGEST_COUNT)]
NonNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
AboveZero = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Fraction = Annotated[float, Field(gt=0, lt=1)]
DropRate = Annotated[float, Field(ge=0, lt=1)]


def _text_or_list_of_texts(value: Any) -> Any:
    items = [value] if isinstance(value, str) else value
    if not isinstance(items, list) or not items or not all(isinstance(item, str) and item for item in items):
        raise ValueError("sample, the-verdict, or a list of files, folders and URLs")
    for item in items:
        _place(item)
    return value


def _place(value: str) -> str:
    if UNSPELLABLE.search(value):
        raise ValueError("a path or URL without control characters and without lone surrogates")
    if re.search(r"//[^/]*@", value):
        raise ValueError("a URL without name and password, which would be copied to dvc.lock: put them into ~/.netrc")
    return value


def _greedy_or_warm(value: float) -> float:
    if 0 < value < MIN_TEMPERATURE:
        raise ValueError(f"0 for greedy, or {MIN_TEMPERATURE} to 100")
    return value


def _different_items(value: Any) -> Any:
    if not isinstance(value, list) or not value or any(value.count(item) > 1 for item in value):
        raise ValueError("a list of one or more different values")
    return value


def _known_judges(judges: list[str]) -> list[str]:
    for judge in judges:
        backend, colon, model = judge.partition(":")
        named = colon and model.strip() and not UNSPELLABLE.search(model)
        if judge != "overlap" and not (backend in ("ollama", "openai") and named):
            raise ValueError("overlap, ollama:MODEL or openai:MODEL, as in ollama:llama3")
    return judges


Temperature = Annotated[float, Field(ge=0, le=100), AfterValidator(_greedy_or_warm)]
Place = Annotated[str, Field(min_length=1), AfterValidator(_place)]
WarmTemperature = Annotated[float, Field(ge=MIN_TEMPERATURE, le=100)]


class Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class CorpusParams(Section):
    """Which texts to pretrain on."""

    source: Annotated[str | list[str], BeforeValidator(_text_or_list_of_texts)]


class TokenizerParams(Section):
    """GPT-2's tokenizer, or a byte-level BPE or the words of the corpus."""

    kind: TokenizerKind
    vocab_size: Annotated[int, Field(ge=3, le=1_000_000)]


class WindowsParams(Section):
    """How the tokenized corpus is cut into training examples."""

    max_length: Positive
    stride: Positive
    train_fraction: Fraction


class ModelParams(Section):
    """The shape and the random start of the model that is pretrained."""

    architecture: Architecture
    context_length: Positive
    emb_dim: Positive
    n_heads: Positive
    n_layers: Annotated[int, Field(gt=0, le=MAX_LAYERS)]
    n_kv_heads: Positive
    hidden_dim: Positive
    rope_base: Annotated[float, Field(ge=1, le=MAX_ROPE_BASE, allow_inf_nan=False)]
    drop_rate: DropRate
    qkv_bias: bool
    activation: Activation
    shortcuts: bool
    attention: AttentionKind
    tie_embeddings: bool
    init: Init
    init_std: Annotated[float, Field(gt=0, le=1)]

    def config(self, vocab_size: int) -> ModelConfig:
        """Return the shape of this model with a vocabulary of `vocab_size` tokens."""
        kind = LlamaConfig if self.architecture == "llama" else GPTConfig
        set_here = {field.name for field in fields(kind)} & type(self).model_fields.keys()
        return kind(vocab_size=vocab_size, **{name: getattr(self, name) for name in set_here})


class TrainingParams(Section):
    """What all trainings share: length, precision, optimiser, schedule, evaluation, and what is kept of it."""

    epochs: Positive
    batch_size: Positive
    accumulate: Positive
    precision: Precision
    learning_rate: AboveZero
    weight_decay: NonNegative
    schedule: Schedule
    warmup_steps: Count
    min_learning_rate: NonNegative
    gradient_clip: AboveZero | None
    eval_every: Positive
    eval_batches: Positive
    keep: Keep
    patience: Positive | None


class PretrainParams(TrainingParams):
    """The training, from random weights or a user's model, and the text to be continued after each epoch."""

    start: Place
    save_optimizer: bool
    sample_prompt: Annotated[str, Field(min_length=1)]
    sample_tokens: Positive


class FinetuningParams(TrainingParams):
    """What all fine-tunings share; the keys of LoRA are unused unless `train_layers` is lora (appendix E)."""

    drop_rate: DropRate
    train_layers: TrainLayers
    group_by_length: bool
    lora_rank: Positive
    lora_alpha: AboveZero
    lora_scaling: LoraScaling

    @property
    def lora_scale(self) -> float:
        """The factor of what LoRA's matrices add: alpha as the book has it, or alpha / rank (Hu et al. 2021)."""
        return self.lora_alpha if self.lora_scaling == "alpha" else self.lora_alpha / self.lora_rank

    def n_upper_blocks(self, n_layers: int) -> int:
        """Return how many of the last of `n_layers` blocks `train_layers` names, parts rounded up; 0 if it does not."""
        third, half = ceil(n_layers / 3), ceil(n_layers / 2)
        named = {"last_block": 1, "last_two_blocks": 2, "upper_third": third, "upper_half": half}
        return min(named.get(self.train_layers, 0), n_layers)


class VisualizeParams(Section):
    """What to show of the pretrained model."""

    text: Annotated[str, Field(min_length=1)]
    temperatures: Annotated[list[WarmTemperature], BeforeValidator(_different_items)]


class WeightsParams(Section):
    """The bases: the checkpoints that fine-tuning can start from."""

    bases: Annotated[list[Base], BeforeValidator(_different_items)]


class SmsParams(Section):
    """The labelled messages and their split; the rest is the test set."""

    source: Place
    balance: bool
    train_fraction: Fraction
    validation_fraction: Fraction
    split: Split


class ClassifierParams(FinetuningParams):
    """The fine-tuning of the classifier."""

    base: Base
    weights: Weights
    token: Token
    padding: Padding
    max_length: Positive | None
    causal_mask: bool


class InstructionsParams(Section):
    """The instructions, their prompt template, and their split; the rest is the validation set."""

    source: Place
    max_entries: Positive | None
    prompt_style: PromptStyle
    train_fraction: Fraction
    test_fraction: Fraction


class AssistantParams(FinetuningParams):
    """The fine-tuning of the assistant."""

    base: Base
    train_layers: AssistantLayers
    max_length: Positive
    mask_prompt: bool


class PreferencesParams(Section):
    """The preference pairs and their split; the rest is the validation set."""

    source: Place
    max_entries: Positive | None
    train_fraction: Fraction
    test_fraction: Fraction


class PreferenceTuningParams(FinetuningParams):
    """The training of the assistant on preference pairs."""

    train_layers: AssistantLayers
    max_length: Positive
    mask_prompt: bool
    beta: AboveZero
    mean_log_probability: bool


class GenerateParams(Section):
    """How answers are generated."""

    max_new_tokens: Positive
    temperature: Temperature
    top_k: Positive | None
    batch_size: Positive


class BenchmarkParams(Section):
    """The multiple-choice questions."""

    source: Place


class JudgeParams(Section):
    """Who scores the answers."""

    judges: Annotated[list[str], BeforeValidator(_different_items), AfterValidator(_known_judges)]
    prompt: PromptName
    pairwise: bool
    temperature: NonNegative
    num_ctx: Positive
    max_answer_tokens: Positive
    probes: Count
    min_coverage: Annotated[float, Field(ge=0, le=1)]


class Params(Section):
    """All of params.yaml."""

    seed: Annotated[int, Field(ge=0, lt=2**32)]  # what numpy and scikit-learn accept
    corpus: CorpusParams
    tokenizer: TokenizerParams
    windows: WindowsParams
    model: ModelParams
    pretrain: PretrainParams
    visualize: VisualizeParams
    weights: WeightsParams
    sms: SmsParams
    finetune_classifier: ClassifierParams
    instructions: InstructionsParams
    finetune_instructions: AssistantParams
    preferences: PreferencesParams
    tune_preferences: PreferenceTuningParams
    generate: GenerateParams
    benchmark: BenchmarkParams
    judge: JudgeParams
