"""params.yaml as checked models: every problem of the file is reported at once."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, TypeAdapter, ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError

from scratchlm.errors import InputError

GPT2_VOCAB_SIZE = 50257
GPT2_CONTEXT_LENGTH = 1024
SMALLEST_BPE = 257
MIN_TEMPERATURE = 0.01  # logits divided by less leave float32's range
LARGEST_COUNT = 2**31 - 1  # more than any run can count, and no more than every library can
MAX_LAYERS = 1000  # GPT-3 has 96; far beyond, building the blocks alone takes minutes
PASSWORD = re.compile(r"(?<=//)[^\s'\"]*(?=@)")

Positive = Annotated[int, Field(gt=0, le=LARGEST_COUNT)]
Count = Annotated[int, Field(ge=0, le=LARGEST_COUNT)]
NonNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
AboveZero = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Fraction = Annotated[float, Field(gt=0, lt=1)]
Checkpoint = Literal["pretrained", "124M", "355M", "774M", "1558M"]


def _text_or_list_of_texts(value: Any) -> Any:
    items = [value] if isinstance(value, str) else value
    if not isinstance(items, list) or not items or not all(isinstance(item, str) and item for item in items):
        raise ValueError("sample, the-verdict, or a list of files, folders and URLs")
    for item in items:
        _place(item)
    return value


def _place(value: str) -> str:
    if re.search("[\0\ud800-\udfff]", value):
        raise ValueError("a path or URL, which has no zero bytes and no half characters")
    if re.search(r"//[^/]*@", value):
        raise ValueError("a URL without name and password, which would be copied to dvc.lock: put them into ~/.netrc")
    return value


def _greedy_or_warm(value: float) -> float:
    if 0 < value < MIN_TEMPERATURE:
        raise ValueError(f"allowed: 0 for greedy, or {MIN_TEMPERATURE} to 100")
    return value


def _different_items(value: Any) -> Any:
    if not isinstance(value, list) or not value or any(value.count(item) > 1 for item in value):
        raise ValueError("a list of one or more different values")
    return value


def _known_judges(judges: list[str]) -> list[str]:
    for judge in judges:
        backend, colon, model = judge.partition(":")
        if judge != "overlap" and not (backend in ("ollama", "openai") and colon and model):
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

    kind: Literal["gpt2", "bpe", "word"]
    vocab_size: Annotated[int, Field(ge=3, le=1_000_000)]


class WindowsParams(Section):
    """How the tokenized corpus is cut into training examples."""

    max_length: Positive
    stride: Positive
    train_fraction: Fraction


class ModelParams(Section):
    """The shape and the random start of the GPT that is pretrained."""

    context_length: Positive
    emb_dim: Positive
    n_heads: Positive
    n_layers: Annotated[int, Field(gt=0, le=MAX_LAYERS)]
    drop_rate: Annotated[float, Field(ge=0, lt=1)]
    qkv_bias: bool
    activation: Literal["gelu_tanh", "gelu", "relu"]
    shortcuts: bool
    attention: Literal["sdpa", "manual", "per_head"]
    tie_embeddings: bool
    init: Literal["book", "gpt2"]
    init_std: Annotated[float, Field(gt=0, le=1)]


class TrainingParams(Section):
    """What every training has: length, optimiser, schedule and evaluation."""

    epochs: Positive
    batch_size: Positive
    learning_rate: AboveZero
    weight_decay: NonNegative
    schedule: Literal["constant", "cosine"]
    warmup_steps: Count
    min_learning_rate: NonNegative
    gradient_clip: AboveZero | None
    eval_every: Positive
    eval_batches: Positive


class PretrainParams(TrainingParams):
    """The training from scratch, and the text it is asked to continue after each epoch."""

    sample_prompt: Annotated[str, Field(min_length=1)]
    sample_tokens: Positive


class VisualizeParams(Section):
    """What to show of the pretrained model."""

    text: Annotated[str, Field(min_length=1)]
    temperatures: Annotated[list[WarmTemperature], BeforeValidator(_different_items)]


class Gpt2Params(Section):
    """The checkpoints that fine-tuning can start from."""

    sizes: Annotated[list[Checkpoint], BeforeValidator(_different_items)]


class SmsParams(Section):
    """The labelled messages and their split; what is left over is the test set."""

    source: Place
    train_fraction: Fraction
    validation_fraction: Fraction


class ClassifierParams(TrainingParams):
    """The fine-tuning of the spam classifier."""

    base: Checkpoint
    train_layers: Literal["last_layer", "last_block", "last_two_blocks", "all"]
    max_length: Positive | None


class InstructionsParams(Section):
    """The instructions, how they are put to the model, and their split; the rest is the validation set."""

    source: Place
    prompt_style: Literal["alpaca", "phi3"]
    train_fraction: Fraction
    test_fraction: Fraction


class AssistantParams(TrainingParams):
    """The fine-tuning of the assistant."""

    base: Checkpoint
    max_length: Positive
    mask_prompt: bool


class GenerateParams(Section):
    """How answers are generated."""

    max_new_tokens: Positive
    temperature: Temperature
    top_k: Positive | None
    batch_size: Positive


class JudgeParams(Section):
    """Who scores the answers."""

    judges: Annotated[list[str], BeforeValidator(_different_items), AfterValidator(_known_judges)]
    prompt: Literal["book", "rubric"]
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
    gpt2: Gpt2Params
    sms: SmsParams
    finetune_classifier: ClassifierParams
    instructions: InstructionsParams
    finetune_instructions: AssistantParams
    generate: GenerateParams
    judge: JudgeParams


def load_params(path: Path) -> Params:
    """Read and check a params file; raise InputError that lists everything wrong with it."""
    try:
        # YAML 1.2, as DVC itself reads it: `5e-05`, which `dvc exp run -S` writes, is a number.
        found = YAML(typ="safe", pure=True).load(path)
    except FileNotFoundError:
        raise InputError(f"{path} is missing: copy a profile with `make profile P=sample`") from None
    except OSError as error:
        raise InputError(
            f"{path} cannot be read ({error.strerror}): copy a profile with `make profile P=sample`"
        ) from None
    except (YAMLError, ValueError, RecursionError) as error:  # ValueError: a number or date that is none, or no text
        problem = " ".join(str(error).split()).partition(";")[0]
        if isinstance(error, MarkedYAMLError) and error.problem_mark:
            problem = f"line {error.problem_mark.line + 1}: {error.problem}"
        raise InputError(
            f"{path} is not valid YAML: {problem}; correct it, or copy a profile with `make profile P=sample`"
        ) from None
    return check_params(found, str(path))


def check_params(found: Any, name: str = "params.yaml") -> Params:
    """Turn loaded YAML into `Params`; raise InputError that names key, value and what is allowed, for all."""
    if not isinstance(found, dict):
        raise InputError(
            f"{name} holds {_shown(found)}, expected sections such as `corpus:` and `model:`; copy a profile "
            "with `make profile P=sample`"
        )
    valid: dict[str, Any] = {}
    problems = []
    for key in found.keys() - Params.model_fields.keys():
        problems.append(_unknown_key((key,), Params))
    for key, field in Params.model_fields.items():
        if key not in found:
            problems.append(f"{key}: missing; take it from a file in profiles/")
            continue
        try:
            # Section by section, so that a mistake in one does not hide those in another.
            valid[key] = TypeAdapter(field.rebuild_annotation()).validate_python(found[key], strict=True)
        except ValidationError as error:
            problems += [_problem(key, detail) for detail in error.errors()]
    problems += _bad_combinations(valid)
    if problems:
        plural = "problem" if len(problems) == 1 else "problems"
        raise InputError(
            f"{name} has {len(problems)} {plural}:" + "".join(f"\n  - {line}" for line in sorted(problems))
        )
    return Params(**valid)


def _bad_combinations(valid: dict[str, Any]) -> Iterator[str]:
    """Check what no single key shows; a check whose sections are not all valid is left out."""

    def have(*sections: str) -> bool:
        return all(section in valid for section in sections)

    if have("model"):
        model: ModelParams = valid["model"]
        if model.emb_dim % model.n_heads:
            yield (f"model.emb_dim: got {model.emb_dim}, allowed: a multiple of model.n_heads ({model.n_heads})")
    if have("tokenizer"):
        tokenizer: TokenizerParams = valid["tokenizer"]
        if tokenizer.kind == "bpe" and tokenizer.vocab_size < SMALLEST_BPE:
            yield (
                f"tokenizer.vocab_size: got {tokenizer.vocab_size}, allowed with tokenizer.kind bpe: at least "
                f"{SMALLEST_BPE}, the 256 bytes and <|endoftext|>"
            )
        if tokenizer.kind == "gpt2" and tokenizer.vocab_size != GPT2_VOCAB_SIZE:
            yield (
                f"tokenizer.vocab_size: got {tokenizer.vocab_size}, allowed with tokenizer.kind gpt2: {GPT2_VOCAB_SIZE}"
            )
    for section, key in (("pretrain", "sample_prompt"), ("visualize", "text")):
        words = have("tokenizer") and valid["tokenizer"].kind == "word"
        if words and have(section) and not getattr(valid[section], key).strip():
            yield f"{section}.{key}: got white space alone, allowed with tokenizer.kind word: at least one word"
    if have("windows"):
        windows: WindowsParams = valid["windows"]
        if windows.stride > windows.max_length:
            yield (
                f"windows.stride: got {windows.stride}, allowed: at most windows.max_length "
                f"({windows.max_length}), or text between windows is never seen"
            )
        if have("model") and windows.max_length > valid["model"].context_length:
            yield (
                f"windows.max_length: got {windows.max_length}, allowed: at most model.context_length "
                f"({valid['model'].context_length})"
            )
    for section, rest in (("sms", "test"), ("instructions", "validation")):
        if have(section):
            middle = "validation_fraction" if section == "sms" else "test_fraction"
            total = valid[section].train_fraction + getattr(valid[section], middle)
            if total >= 1:
                yield (
                    f"{section}.train_fraction + {section}.{middle}: got {total:g}, allowed: less than 1, "
                    f"the rest is the {rest} set"
                )
    for section in ("pretrain", "finetune_classifier", "finetune_instructions"):
        if have(section) and valid[section].min_learning_rate > valid[section].learning_rate:
            yield (
                f"{section}.min_learning_rate: got {valid[section].min_learning_rate:g}, allowed: at most "
                f"{section}.learning_rate ({valid[section].learning_rate:g})"
            )
    if have("gpt2", "tokenizer"):
        openai = [size for size in valid["gpt2"].sizes if size != "pretrained"]
        if openai and valid["tokenizer"].kind != "gpt2":
            yield f"gpt2.sizes: got {openai[0]}, allowed only with tokenizer.kind gpt2, the tokens it knows"
    for section in ("finetune_classifier", "finetune_instructions"):
        if have(section, "gpt2") and valid[section].base not in valid["gpt2"].sizes:
            yield (
                f"{section}.base: got {valid[section].base}, allowed: one of gpt2.sizes "
                f"({', '.join(valid['gpt2'].sizes)})"
            )
        if have(section, "model"):
            base_length = _context_length(valid[section].base, valid["model"])
            if (valid[section].max_length or 0) > base_length:
                yield (
                    f"{section}.max_length: got {valid[section].max_length}, allowed: at most the context of "
                    f"its base {valid[section].base} ({base_length})"
                )
    if have("generate", "finetune_instructions", "model"):
        base_length = _context_length(valid["finetune_instructions"].base, valid["model"])
        if valid["generate"].max_new_tokens >= base_length:
            yield (
                f"generate.max_new_tokens: got {valid['generate'].max_new_tokens}, allowed: less than the "
                f"context of the assistant ({base_length}), which holds the prompt too"
            )


def _context_length(base: str, model: ModelParams) -> int:
    return model.context_length if base == "pretrained" else GPT2_CONTEXT_LENGTH


def _problem(section: str, detail: Any) -> str:
    location = [section, *map(str, detail["loc"])]
    key = ".".join(location)
    if detail["type"] in ("extra_forbidden", "invalid_key"):
        annotation = Params.model_fields[section].annotation
        assert isinstance(annotation, type)
        return _unknown_key(tuple(location), annotation)
    if detail["type"] == "missing":
        return f"{key}: missing; take it from a file in profiles/"
    allowed = re.sub(r"^(Value error, |\w+ should (be|have) )", "", detail["msg"])
    if detail["type"] == "model_type":
        allowed = "keys as in a file in profiles/"
    return f"{key}: got {_shown(detail['input'])}, allowed: {allowed}"


def _unknown_key(location: tuple[str, ...], section: type[BaseModel]) -> str:
    key = str(location[-1])
    known = list(section.model_fields)
    close = difflib.get_close_matches(key, known, n=1)
    hint = f"did you mean {close[0]}?" if close else f"known: {', '.join(known)}"
    return f"{'.'.join(map(str, location))}: unknown key; {hint}"


def _shown(value: Any) -> str:
    text = PASSWORD.sub("...", repr(value))
    return text if len(text) <= 60 else text[:57] + "..."
