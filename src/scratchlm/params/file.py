"""Reading params.yaml and checking all of it, with every problem reported at once."""

from __future__ import annotations

import difflib
import os
import re
import reprlib
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel, TypeAdapter, ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError

from scratchlm.errors import InputError
from scratchlm.files.folders import from_root
from scratchlm.files.text import one_line, shorten
from scratchlm.model.config import GPT2_CONTEXT_LENGTH, GPT2_VOCAB_SIZE, SMOLLM2_CONTEXT_LENGTH
from scratchlm.params.choices import BYTES_AND_END, Size, SmolLM2, sees_padding
from scratchlm.params.schema import (
    ClassifierParams,
    JudgeParams,
    ModelParams,
    Params,
    PretrainParams,
    TokenizerParams,
    WindowsParams,
)

PARAMS = Path("params.yaml")
PROFILE = "copy a profile with `make profile P=sample`"  # what helps a params.yaml that cannot be read
PASSWORD = re.compile(r"(?<=//)[^\s'\"]*(?=@)")
TRAININGS = ("pretrain", "finetune_classifier", "finetune_instructions", "tune_preferences")
SHOWN_CHARACTERS = 60  # of a value or a key
SHOWN_PROBLEM = 200  # characters of the YAML reader's message


class YAMLRepr(reprlib.Repr):
    """Python's repr with YAML's words. Bounded in depth and width: a few aliases can expand to more than memory."""

    def repr_bool(self, value: bool, level: int) -> str:
        return str(value).lower()

    def repr_NoneType(self, value: None, level: int) -> str:
        return "null"


SHORT = YAMLRepr()
SHORT.maxlevel = 3
SHORT.maxstring = SHORT.maxother = sys.maxsize  # a long text is cut later, after its passwords are removed


def load_params(path: Path) -> Params:
    """Read and check a params file; raise InputError that lists everything wrong with it."""
    return check_params(read_yaml(path, PROFILE), str(path))


def read_yaml(path: Path, remedy: str) -> Any:
    """Read a YAML file; raise InputError, which ends with the `remedy`, for one that is missing or not YAML."""
    if path.exists() and not path.is_file():  # reading a pipe may never end
        raise InputError(f"{path} is not a file: move it elsewhere, then {remedy}")
    try:
        # YAML 1.2, as DVC itself reads it: `5e-05`, which `dvc exp run -S` writes, is a number.
        return YAML(typ="safe", pure=True).load(path)
    except FileNotFoundError:
        raise InputError(f"{path} is missing: {remedy}") from None
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}): {remedy}") from None
    except (YAMLError, ValueError, RecursionError) as error:  # ValueError: an impossible number or date, or not text
        problem = one_line(error, SHOWN_PROBLEM).partition(";")[0]
        if isinstance(error, MarkedYAMLError) and error.problem_mark:
            problem = f"line {error.problem_mark.line + 1}: {error.problem}"
        raise InputError(f"{path} is not valid YAML: {problem}; correct it, or {remedy}") from None


def check_params(found: Any, name: str = "params.yaml") -> Params:
    """Turn loaded YAML into `Params`; raise InputError that lists each wrong key, its value and what is allowed."""
    if not isinstance(found, dict):
        raise InputError(
            f"{name} holds {show_value(found)}, expected sections such as `corpus:` and `model:`; {PROFILE}"
        )
    valid, problems = check_sections(found)
    if problems := [*problems, *bad_combinations(valid)]:
        raise InputError(listed(name, problems))
    return Params(**valid)


def listed(name: str, problems: Sequence[str]) -> str:
    """Return the message of all problems of a file, in the order of the alphabet."""
    plural = "problem" if len(problems) == 1 else "problems"
    return f"{name} has {len(problems)} {plural}:" + "".join(f"\n  - {line}" for line in sorted(problems))


def check_sections(found: dict[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """Check section by section; return the valid ones, and the problems of the others and of unknown ones."""
    valid: dict[str, Any] = {}
    problems = []
    for key in found.keys() - Params.model_fields.keys():
        problems.append(unknown_key((key,), Params))
    for key, field in Params.model_fields.items():
        if key not in found:
            problems.append(f"{key}: missing; take it from a file in profiles/")
            continue
        try:
            # Section by section, so that a mistake in one does not hide those in another.
            valid[key] = TypeAdapter(field.rebuild_annotation()).validate_python(found[key], strict=True)
        except ValidationError as error:
            problems += [_problem(key, detail) for detail in error.errors()]
    return valid, problems


def bad_combinations(valid: dict[str, Any]) -> Iterator[str]:
    """Yield the problems of keys that do not fit together; a check that needs an invalid section is left out."""
    checks = (_bad_texts, _bad_windows, _bad_fractions, _bad_trainings, _bad_start, _bad_rates, _bad_bases, _bad_judges)
    for check in checks:
        yield from check(valid)


def _bad_texts(valid: dict[str, Any]) -> Iterator[str]:
    tokenizer: TokenizerParams | None = valid.get("tokenizer")
    if tokenizer is None:
        return
    if tokenizer.kind == "bpe" and tokenizer.vocab_size < BYTES_AND_END:
        yield (
            f"tokenizer.vocab_size: got {tokenizer.vocab_size}, allowed with tokenizer.kind bpe: at least "
            f"{BYTES_AND_END}, the 256 bytes and <|endoftext|>"
        )
    if tokenizer.kind == "gpt2" and tokenizer.vocab_size != GPT2_VOCAB_SIZE:
        yield f"tokenizer.vocab_size: got {tokenizer.vocab_size}, allowed with tokenizer.kind gpt2: {GPT2_VOCAB_SIZE}"
    for section, key in (("pretrain", "sample_prompt"), ("visualize", "text")):
        if tokenizer.kind == "word" and section in valid and not getattr(valid[section], key).strip():
            yield f"{section}.{key}: got only white space, allowed with tokenizer.kind word: at least one word"


def _bad_shape(model: ModelParams) -> Iterator[str]:
    if model.emb_dim % model.n_heads:
        yield f"model.emb_dim: got {model.emb_dim}, allowed: a multiple of model.n_heads ({model.n_heads})"
    if model.architecture == "llama":
        if model.emb_dim % model.n_heads == 0 and model.emb_dim // model.n_heads % 2:
            yield (
                f"model.emb_dim: got {model.emb_dim}, allowed with architecture llama: a multiple of 2 * model.n_heads "
                f"({2 * model.n_heads}), as rotary positions turn pairs of numbers"
            )
        if model.n_heads % model.n_kv_heads:
            yield f"model.n_kv_heads: got {model.n_kv_heads}, allowed: a divisor of model.n_heads ({model.n_heads})"
        if model.activation != "gelu_tanh":
            yield (
                f"model.activation: got {model.activation}, allowed with architecture llama: gelu_tanh, which it does "
                "not use, since its feed-forward always has silu"
            )
        if model.qkv_bias:
            yield "model.qkv_bias: got true, allowed with architecture llama: false"
        if not model.shortcuts:
            yield "model.shortcuts: got false, allowed with architecture llama: true"


def _bad_windows(valid: dict[str, Any]) -> Iterator[str]:
    model: ModelParams | None = valid.get("model")
    windows: WindowsParams | None = valid.get("windows")
    if model:
        yield from _bad_shape(model)
    if windows and windows.stride > windows.max_length:
        yield (
            f"windows.stride: got {windows.stride}, allowed: at most windows.max_length ({windows.max_length}), or "
            "text between windows is never seen"
        )
    if windows and model and windows.max_length > model.context_length:
        yield (
            f"windows.max_length: got {windows.max_length}, allowed: at most model.context_length "
            f"({model.context_length})"
        )


def _bad_fractions(valid: dict[str, Any]) -> Iterator[str]:
    for section, middle, rest in (
        ("sms", "validation_fraction", "test"),
        ("instructions", "test_fraction", "validation"),
        ("preferences", "test_fraction", "validation"),
    ):
        if section in valid:
            total = valid[section].train_fraction + getattr(valid[section], middle)
            if total >= 1:
                yield (
                    f"{section}.train_fraction + {section}.{middle}: got {total:g}, allowed: less than 1, "
                    f"the rest is the {rest} set"
                )


def _bad_trainings(valid: dict[str, Any]) -> Iterator[str]:
    for section in TRAININGS:
        if section in valid and valid[section].batch_size % valid[section].accumulate:
            yield (
                f"{section}.accumulate: got {valid[section].accumulate}, allowed: 1, or a number that divides "
                f"{section}.batch_size ({valid[section].batch_size})"
            )
    pretrain: PretrainParams | None = valid.get("pretrain")
    if pretrain and pretrain.save_optimizer and pretrain.keep == "best":
        yield (
            "pretrain.save_optimizer: got true, allowed with pretrain.keep best: false, because the optimizer's state "
            "is that of the last weights"
        )


def _bad_start(valid: dict[str, Any]) -> Iterator[str]:
    """DVC removes a stage's folder before it runs, so a start from there would be gone, however it is spelled."""
    pretrain: PretrainParams | None = valid.get("pretrain")
    if pretrain is None or pretrain.start == "random":
        return
    try:
        folder = from_root(pretrain.start)
    except InputError:
        return  # the stage says why it cannot be a path
    if Path(os.path.realpath(folder)).is_relative_to(os.path.realpath(from_root("models"))):
        yield (
            f"pretrain.start: got {show_value(pretrain.start)}, allowed: random, or a folder outside models/, which "
            "stages write: copy it to inputs/models/ (if it is gone, `dvc checkout models/pretrained` brings it back)"
        )


def _bad_rates(valid: dict[str, Any]) -> Iterator[str]:
    for section in TRAININGS:
        if section in valid and valid[section].min_learning_rate > valid[section].learning_rate:
            yield (
                f"{section}.min_learning_rate: got {valid[section].min_learning_rate:g}, allowed: at most "
                f"{section}.learning_rate ({valid[section].learning_rate:g})"
            )


def _bad_bases(valid: dict[str, Any]) -> Iterator[str]:
    if {"weights", "tokenizer"} <= valid.keys():
        openai = [base for base in valid["weights"].bases if base in get_args(Size)]
        if openai and valid["tokenizer"].kind != "gpt2":
            yield f"weights.bases: got {openai[0]}, allowed only with tokenizer.kind gpt2, whose tokens it knows"
    for section in ("finetune_classifier", "finetune_instructions"):
        if {section, "weights"} <= valid.keys() and valid[section].base not in valid["weights"].bases:
            yield (
                f"{section}.base: got {valid[section].base}, allowed: one of weights.bases "
                f"({', '.join(valid['weights'].bases)})"
            )
        if {section, "model"} <= valid.keys():
            base_length = _context_length(valid[section].base, valid["model"])
            if (valid[section].max_length or 0) > base_length:
                yield (
                    f"{section}.max_length: got {valid[section].max_length}, allowed: at most the context of "
                    f"its base {valid[section].base} ({base_length})"
                )
    classifier: ClassifierParams | None = valid.get("finetune_classifier")
    if classifier and classifier.padding == "context" and classifier.max_length is not None:
        yield (
            f"finetune_classifier.max_length: got {classifier.max_length}, allowed with finetune_classifier.padding "
            "context: null, which is the context of the base"
        )
    if (
        classifier
        and classifier.padding == "context"
        and classifier.base in get_args(SmolLM2)
        and sees_padding(classifier.token, classifier.padding, classifier.causal_mask)
    ):
        token = f"token {classifier.token}" if classifier.causal_mask else "causal_mask false"
        yield (
            f"finetune_classifier.padding: got context, allowed with base {classifier.base} and {token}: longest or "
            f"none, as {SMOLLM2_CONTEXT_LENGTH:,} tokens of every message exceed most memories; or set "
            "finetune_classifier.token to last_real, with causal_mask true, which needs no padding"
        )
    if {"finetune_instructions", "model"} <= valid.keys():
        base_length = _context_length(valid["finetune_instructions"].base, valid["model"])
        if "tune_preferences" in valid and valid["tune_preferences"].max_length > base_length:
            yield (
                f"tune_preferences.max_length: got {valid['tune_preferences'].max_length}, allowed: at most the "
                f"context of the assistant ({base_length})"
            )
        if "generate" in valid and valid["generate"].max_new_tokens >= base_length:
            yield (
                f"generate.max_new_tokens: got {valid['generate'].max_new_tokens}, allowed: less than the "
                f"context of the assistant ({base_length}), which holds the prompt too"
            )


def _bad_judges(valid: dict[str, Any]) -> Iterator[str]:
    judge: JudgeParams | None = valid.get("judge")
    if judge and judge.pairwise and judge.judges == ["overlap"]:
        yield (
            "judge.pairwise: got true, allowed only with ollama:MODEL or openai:MODEL in judge.judges; overlap cannot "
            "read two answers side by side, its wins and losses stand in the metrics under difference"
        )


def _context_length(base: str, model: ModelParams) -> int:
    if base == "pretrained":
        return model.context_length
    return GPT2_CONTEXT_LENGTH if base in get_args(Size) else SMOLLM2_CONTEXT_LENGTH


def _problem(section: str, detail: Any) -> str:
    location = [section, *map(str, detail["loc"])]
    key = ".".join(location)
    if detail["type"] in ("extra_forbidden", "invalid_key"):
        annotation = Params.model_fields[section].annotation
        assert isinstance(annotation, type)
        return unknown_key(tuple(location), annotation)
    if detail["type"] == "missing":
        return f"{key}: missing; take it from a file in profiles/"
    allowed = re.sub(r"^(Value error, |\w+ should (be|have) )", "", detail["msg"])
    if detail["type"] == "model_type":
        allowed = "keys as in a file in profiles/"
    return f"{key}: got {show_value(detail['input'])}, allowed: {allowed}"


def unknown_key(location: tuple[str, ...], section: type[BaseModel]) -> str:
    """Return the problem of a key that a section does not have, with the key that may have been meant."""
    *before, last = location
    key = shorten(last, SHOWN_CHARACTERS) if isinstance(last, str) else show_value(last)
    known = list(section.model_fields)
    close = difflib.get_close_matches(key, known, n=1)
    hint = f"did you mean {close[0]}?" if close else f"known: {', '.join(known)}"
    return f"{'.'.join([*before, key])}: unknown key; {hint}"


def show_value(value: Any) -> str:
    """Return a value as a message shows it: in YAML's words, short, and without passwords."""
    try:
        text = PASSWORD.sub("...", SHORT.repr(value))
    except ValueError:  # Python prints at most 4,300 digits
        return "a number that is too long to show"
    return shorten(text, SHOWN_CHARACTERS)
