"""Every mistake in params.yaml is found, all at once, each with its key, its value and what is allowed."""

from __future__ import annotations

import copy
import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from dvc.utils.hydra import apply_overrides
from hypothesis import given
from hypothesis import strategies as st
from ruamel.yaml import YAML

from scratchlm.errors import InputError
from scratchlm.model.config import GPT2_CONTEXT_LENGTH, GPT2_VOCAB_SIZE, MAX_LAYERS
from scratchlm.params.file import check_params, load_params
from scratchlm.params.schema import Params

REPOSITORY = Path(__file__).parents[3]
PROFILE = (REPOSITORY / "profiles/sample.yaml").read_text(encoding="utf-8")
SAMPLE: dict[str, Any] = YAML(typ="safe", pure=True).load(PROFILE)
# The values that the messages below quote, whatever the profile has.
SAMPLE["tokenizer"]["vocab_size"] = 1500
SAMPLE["windows"] = {"max_length": 128, "stride": 128, "train_fraction": 0.9}
SAMPLE["model"] |= {"context_length": 160, "emb_dim": 128, "n_heads": 4}
SAMPLE["sms"] |= {"train_fraction": 0.7, "validation_fraction": 0.1}
SAMPLE["instructions"] |= {"train_fraction": 0.85, "test_fraction": 0.1}
SAMPLE["preferences"] |= {"train_fraction": 0.85, "test_fraction": 0.1}
SAMPLE["finetune_classifier"]["max_length"] = None
SAMPLE["finetune_instructions"]["max_length"] = SAMPLE["tune_preferences"]["max_length"] = 160
SAMPLE["generate"]["max_new_tokens"] = 48
TRAININGS = ("pretrain", "finetune_classifier", "finetune_instructions", "tune_preferences")
ALLOWED_BASES = (
    "'pretrained', '124M', '355M', '774M', '1558M', 'smollm2-135M', 'smollm2-135M-instruct' or 'smollm2-135M-base'"
)
for training in TRAININGS:
    SAMPLE[training] |= {"learning_rate": 0.002, "min_learning_rate": 0.0001, "gradient_clip": 1.0, "batch_size": 4}
UPPER = "'last_block', 'last_two_blocks', 'upper_third', 'upper_half'"
NULLABLE = {
    *(f"{training}.{key}" for training in TRAININGS for key in ("gradient_clip", "patience")),
    "finetune_classifier.max_length",
    "instructions.max_entries",
    "preferences.max_entries",
    "generate.top_k",
}


def leaves(tree: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    for key, value in tree.items():
        if isinstance(value, dict):
            yield from ((f"{key}.{inner}", leaf) for inner, leaf in leaves(value))
        else:
            yield key, value


LEAVES = dict(leaves(SAMPLE))


def changed(changes: dict[str, Any]) -> dict[str, Any]:
    params = copy.deepcopy(SAMPLE)
    for key, value in changes.items():
        *sections, name = key.split(".")
        place = params
        for section in sections:
            place = place[section]
        place[name] = value
    return params


def problems(changes: dict[str, Any]) -> list[str]:
    """Return the lines of the error that these changes to the sample profile cause, none if they are fine."""
    try:
        check_params(changed(changes))
    except InputError as error:
        return [line.removeprefix("  - ") for line in str(error).splitlines()[1:]]
    return []


def load(folder: Path, text: str | bytes) -> Any:
    path = folder / "params.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return load_params(path)


def refusal(folder: Path, text: str | bytes) -> str:
    with pytest.raises(InputError) as raised:
        load(folder, text)
    return str(raised.value)


def in_yaml(value: Any) -> str:
    """Return a value as a message shows it: booleans and null as YAML spells them."""
    return {"True": "true", "False": "false", "None": "null"}.get(repr(value), repr(value))


# --- types --------------------------------------------------------------------------------------------------


def wrong_types(key: str, value: Any) -> list[Any]:
    wrong: list[Any] = [{"a": 1}, [[1]]]
    if key not in NULLABLE:
        wrong.append(None)
    if value is None or isinstance(value, (bool, int, float)):
        wrong += ["text", "0.5", "", ["text"], math.nan, math.inf, -math.inf]
    if value is None or (isinstance(value, (int, float)) and not isinstance(value, bool)):
        wrong += [True, "1", "5e-05"]
    if isinstance(value, int):
        wrong += [1.5, 1.0]
    if isinstance(value, bool):
        wrong += [0, 1, "yes", "true"]
    if isinstance(value, (str, list)):
        wrong += [3, 0.5, True, "", [], ["a", 3]]
    return wrong


def test_the_table_of_wrong_types_covers_every_key_type() -> None:
    assert {type(value) for value in LEAVES.values()} == {int, float, bool, str, list, type(None)}
    assert {key for key, value in LEAVES.items() if value is None} <= NULLABLE <= LEAVES.keys()


@pytest.mark.parametrize("key", LEAVES)
def test_a_value_of_the_wrong_type_is_refused_with_key_value_and_what_is_allowed(key: str) -> None:
    for wrong in wrong_types(key, LEAVES[key]):
        found = problems({key: wrong})
        assert found, (key, wrong)
        # For a list, a line may name the item that is wrong.
        items = [(f"{key}.{index}", item) for index, item in enumerate(wrong if isinstance(wrong, list) else [])]
        starts = tuple(f"{name}: got {in_yaml(value)}, allowed: " for name, value in [(key, wrong), *items])
        assert all(line.startswith(starts) and not line.endswith("allowed: ") for line in found), found


@pytest.mark.parametrize("key", sorted(NULLABLE))
def test_null_is_allowed_where_the_comment_of_the_key_says_so(key: str) -> None:
    assert problems({key: None}) == []


@pytest.mark.parametrize("key", LEAVES)
def test_a_missing_key_is_named(key: str) -> None:
    params = changed({})
    *sections, name = key.split(".")
    del (params[sections[0]] if sections else params)[name]
    with pytest.raises(InputError) as raised:
        check_params(params)
    assert str(raised.value) == (f"params.yaml has 1 problem:\n  - {key}: missing; take it from a file in profiles/")


@pytest.mark.parametrize("section", [key for key, value in SAMPLE.items() if isinstance(value, dict)])
@pytest.mark.parametrize("wrong", [None, 3, "text", ["text"], []], ids=repr)
def test_a_section_without_keys_is_refused(section: str, wrong: Any) -> None:
    assert problems({section: wrong}) == [f"{section}: got {in_yaml(wrong)}, allowed: keys as in a file in profiles/"]


def test_a_missing_section_is_named() -> None:
    params = changed({})
    del params["judge"]
    with pytest.raises(InputError, match=r"1 problem:\n  - judge: missing; take it from a file in profiles/$"):
        check_params(params)


@pytest.mark.parametrize("key", ["pretrain.learning_rate", "finetune_instructions.gradient_clip"])
def test_a_whole_number_is_accepted_for_a_float(key: str) -> None:
    section, name = key.split(".")
    value = getattr(getattr(check_params(changed({key: 1})), section), name)
    assert value == 1.0 and type(value) is float


ANY_VALUE = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
)

# --- ranges and choices -------------------------------------------------------------------------------------

POSITIVE = [
    *("windows.max_length", "windows.stride"),
    *(f"model.{name}" for name in ("context_length", "emb_dim", "n_heads", "n_layers")),
    *("pretrain.sample_tokens", "finetune_classifier.max_length", "finetune_instructions.max_length"),
    *("preferences.max_entries", "tune_preferences.max_length"),
    *("instructions.max_entries", "generate.max_new_tokens", "generate.top_k", "generate.batch_size"),
    *("judge.num_ctx", "judge.max_answer_tokens", *(f"{section}.lora_rank" for section in TRAININGS[1:])),
    *(
        f"{section}.{name}"
        for section in TRAININGS
        for name in ("epochs", "batch_size", "accumulate", "eval_every", "eval_batches", "patience")
    ),
]
FRACTIONS = [
    *("windows.train_fraction", "sms.train_fraction", "sms.validation_fraction"),
    *("instructions.train_fraction", "instructions.test_fraction"),
    *("preferences.train_fraction", "preferences.test_fraction"),
]
RANGES: list[tuple[str, Any, str]] = [
    *((key, value, "greater than 0") for key in POSITIVE for value in (0, -1)),
    *((key, value, "greater than 0") for key in FRACTIONS for value in (0.0, -0.5)),
    *((key, value, "less than 1") for key in FRACTIONS for value in (1.0, 90.0)),
    *((f"{section}.learning_rate", value, "greater than 0") for section in TRAININGS for value in (0.0, -1e-3)),
    *((f"{section}.gradient_clip", value, "greater than 0") for section in TRAININGS for value in (0.0, -1.0)),
    *((f"{section}.weight_decay", -0.1, "greater than or equal to 0") for section in TRAININGS),
    *((f"{section}.warmup_steps", -1, "greater than or equal to 0") for section in TRAININGS),
    *((f"{section}.lora_alpha", value, "greater than 0") for section in TRAININGS[1:] for value in (0.0, -1.0)),
    *((f"{section}.min_learning_rate", -1e-6, "greater than or equal to 0") for section in TRAININGS),
    ("seed", -1, "greater than or equal to 0"),
    ("seed", 2**32, "less than 4294967296"),
    ("generate.batch_size", 2**31, "less than or equal to 2147483647"),
    ("pretrain.warmup_steps", 2**31, "less than or equal to 2147483647"),
    ("model.n_layers", MAX_LAYERS + 1, f"less than or equal to {MAX_LAYERS}"),
    ("tokenizer.vocab_size", 2, "greater than or equal to 3"),
    ("tokenizer.vocab_size", 1_000_001, "less than or equal to 1000000"),
    *((f"{section}.drop_rate", -0.1, "greater than or equal to 0") for section in ("model", *TRAININGS[1:])),
    *((f"{section}.drop_rate", 1.0, "less than 1") for section in ("model", *TRAININGS[1:])),
    *(("tune_preferences.beta", value, "greater than 0") for value in (0.0, -0.1)),
    ("model.init_std", 0.0, "greater than 0"),
    ("model.init_std", 1.5, "less than or equal to 1"),
    ("generate.temperature", -0.1, "greater than or equal to 0"),
    ("generate.temperature", 0.001, "0 for greedy, or 0.01 to 100"),
    ("judge.temperature", -0.1, "greater than or equal to 0"),
    ("judge.min_coverage", -0.1, "greater than or equal to 0"),
    ("judge.min_coverage", 1.1, "less than or equal to 1"),
    ("pretrain.sample_prompt", "", "at least 1 character"),
    ("pretrain.start", "", "at least 1 character"),
    ("pretrain.start", "a\nb", "a path or URL without control characters and without lone surrogates"),
    ("sms.source", "", "at least 1 character"),
    ("instructions.source", "", "at least 1 character"),
    ("tokenizer.kind", "GPT2", "'gpt2', 'bpe' or 'word'"),
    ("model.activation", "swish", "'gelu_tanh', 'gelu' or 'relu'"),
    ("model.attention", "flash", "'sdpa', 'manual' or 'per_head'"),
    ("visualize.text", "", "at least 1 character"),
    ("visualize.temperatures", [], "a list of one or more different values"),
    ("model.init", "xavier", "'book' or 'gpt2'"),
    *((f"{section}.schedule", "linear", "'constant' or 'cosine'") for section in TRAININGS),
    *((f"{section}.precision", "float16", "'float32', 'bfloat16' or 'auto'") for section in TRAININGS),
    *((f"{section}.keep", "first", "'last' or 'best'") for section in TRAININGS),
    ("finetune_classifier.token", "middle", "'last', 'first', 'last_real', 'mean' or 'mean_real'"),
    ("finetune_classifier.padding", "left", "'longest', 'context' or 'none'"),
    ("finetune_classifier.weights", "gpt2", "'base' or 'random'"),
    ("sms.split", "chapter", "'book' or 'bonus'"),
    ("finetune_classifier.train_layers", "last", f"'last_layer', {UPPER}, 'all' or 'lora'"),
    ("finetune_instructions.train_layers", "last_layer", f"{UPPER}, 'all' or 'lora'"),
    ("tune_preferences.train_layers", "last_layer", f"{UPPER}, 'all' or 'lora'"),
    ("preferences.source", "", "at least 1 character"),
    *((f"{section}.lora_scaling", "rank", "'alpha' or 'alpha_over_rank'") for section in TRAININGS[1:]),
    ("finetune_classifier.base", "125M", ALLOWED_BASES),
    ("finetune_instructions.base", "gpt2", ALLOWED_BASES),
    ("instructions.prompt_style", "phi-3", "'alpaca' or 'phi3'"),
    *(
        ("judge.judges", judges, "overlap, ollama:MODEL or openai:MODEL, as in ollama:llama3")
        for judges in (["gpt4"], ["ollama"], ["overlap", "openai:"], ["overlap:x"], ["ollama: "], ["ollama:a\nb"])
    ),
    ("judge.prompt", "Book", "'book' or 'rubric'"),
    ("weights.bases", "124M", "a list of one or more different values"),
    ("weights.bases", [], "a list of one or more different values"),
    ("weights.bases", ["pretrained", "pretrained"], "a list of one or more different values"),
    ("corpus.source", [], "sample, the-verdict, or a list of files, folders and URLs"),
    ("corpus.source", "", "sample, the-verdict, or a list of files, folders and URLs"),
    ("corpus.source", ["a.txt", ""], "sample, the-verdict, or a list of files, folders and URLs"),
]


@pytest.mark.parametrize(("key", "value", "allowed"), RANGES)
def test_a_value_out_of_range_is_refused_with_key_value_and_what_is_allowed(key: str, value: Any, allowed: str) -> None:
    assert problems({key: value}) == [f"{key}: got {in_yaml(value)}, allowed: {allowed}"]


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("seed", 0),
        ("seed", 2**32 - 1),
        ("tokenizer.vocab_size", 257),
        ("model.drop_rate", 0.999),
        ("pretrain.warmup_steps", 0),
        ("pretrain.weight_decay", 0.0),
        ("judge.min_coverage", 0.0),
        ("judge.min_coverage", 1.0),
        ("windows.stride", 1),
        ("windows.max_length", 160),
        ("finetune_instructions.max_length", 160),
        ("generate.max_new_tokens", 159),
        ("pretrain.min_learning_rate", 0.002),
        ("sms.train_fraction", 0.89),
        ("corpus.source", ["my notes/", "book.txt", "https://host/a.txt"]),
        ("corpus.source", "book.txt"),
        ("sms.source", "own.csv"),
        *((f"{section}.accumulate", 4) for section in TRAININGS),
    ],
)
def test_the_last_value_within_the_range_is_accepted(key: str, value: Any) -> None:
    assert problems({key: value}) == []


WRITTEN = ("models", "./models/assistant/", "inputs/../models/bases/x", "../link/models/x", "~", "{project}/models/x")


@pytest.mark.parametrize("start", WRITTEN)
def test_a_start_from_what_stages_write_is_refused_however_it_is_spelled(
    start: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = tmp_path / "project"
    (project / "inputs").mkdir(parents=True)
    (tmp_path / "link").symlink_to(project)
    monkeypatch.chdir(project)
    monkeypatch.delenv("DVC_ROOT", raising=False)
    monkeypatch.setenv("HOME", str(project / "models/pretrained"))
    (problem,) = problems({"pretrain.start": start.format(project=project)})
    assert problem.startswith("pretrain.start: got ") and problem.endswith(
        ", allowed: random, or a folder outside models/, which stages write: copy it to inputs/models/ (if it is gone, "
        "`dvc checkout models/pretrained` brings it back)"
    )


@pytest.mark.parametrize("start", ["inputs/models/mine", "models-of-mine", "../models/x", "~nobody/models", "a" * 999])
def test_a_start_from_elsewhere_is_accepted(start: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "project").mkdir()
    monkeypatch.chdir(tmp_path / "project")
    monkeypatch.delenv("DVC_ROOT", raising=False)
    assert problems({"pretrain.start": start}) == []


# --- combinations -------------------------------------------------------------------------------------------

COMBINATIONS: list[tuple[dict[str, Any], str]] = [
    ({"model.n_heads": 3}, "model.emb_dim: got 128, allowed: a multiple of model.n_heads (3)"),
    (
        {"model.architecture": "llama", "model.n_kv_heads": 3},
        "model.n_kv_heads: got 3, allowed: a divisor of model.n_heads (4)",
    ),
    (
        {"model.architecture": "llama", "model.n_heads": 128},
        "model.emb_dim: got 128, allowed with architecture llama: a multiple of 2 * model.n_heads (256), as rotary "
        "positions turn pairs of numbers",
    ),
    *(
        (
            {"model.architecture": "llama", "model.activation": activation},
            f"model.activation: got {activation}, allowed with architecture llama: gelu_tanh, which it does not use, "
            "since its feed-forward always has silu",
        )
        for activation in ("relu", "gelu")
    ),
    (
        {"model.architecture": "llama", "model.qkv_bias": True},
        "model.qkv_bias: got true, allowed with architecture llama: false",
    ),
    (
        {"model.architecture": "llama", "model.shortcuts": False},
        "model.shortcuts: got false, allowed with architecture llama: true",
    ),
    (
        {"tokenizer.kind": "gpt2"},
        f"tokenizer.vocab_size: got 1500, allowed with tokenizer.kind gpt2: {GPT2_VOCAB_SIZE}",
    ),
    (
        {"tokenizer.vocab_size": 256},
        "tokenizer.vocab_size: got 256, allowed with tokenizer.kind bpe: at least 257, the 256 bytes and <|endoftext|>",
    ),
    (
        {"tokenizer.kind": "word", "pretrain.sample_prompt": " "},
        "pretrain.sample_prompt: got only white space, allowed with tokenizer.kind word: at least one word",
    ),
    (
        {"tokenizer.kind": "word", "visualize.text": " "},
        "visualize.text: got only white space, allowed with tokenizer.kind word: at least one word",
    ),
    (
        {"windows.max_length": 161},
        "windows.max_length: got 161, allowed: at most model.context_length (160)",
    ),
    (
        {"windows.stride": 129},
        "windows.stride: got 129, allowed: at most windows.max_length (128), or text between windows is never seen",
    ),
    (
        {"sms.train_fraction": 0.9},
        "sms.train_fraction + sms.validation_fraction: got 1, allowed: less than 1, the rest is the test set",
    ),
    (
        {"instructions.test_fraction": 0.2},
        "instructions.train_fraction + instructions.test_fraction: got 1.05, allowed: less than 1, the rest "
        "is the validation set",
    ),
    (
        {"preferences.train_fraction": 0.95},
        "preferences.train_fraction + preferences.test_fraction: got 1.05, allowed: less than 1, the rest "
        "is the validation set",
    ),
    *(
        (
            {f"{section}.min_learning_rate": 0.5},
            f"{section}.min_learning_rate: got 0.5, allowed: at most {section}.learning_rate (0.002)",
        )
        for section in TRAININGS
    ),
    *(
        (
            {f"{section}.accumulate": parts},
            f"{section}.accumulate: got {parts}, allowed: 1, or a number that divides {section}.batch_size (4)",
        )
        for section in TRAININGS
        for parts in (3, 8)
    ),
    (
        {"pretrain.save_optimizer": True, "pretrain.keep": "best"},
        "pretrain.save_optimizer: got true, allowed with pretrain.keep best: false, because the optimizer's state is "
        "that of the last weights",
    ),
    (
        {"weights.bases": ["pretrained", "124M"]},
        "weights.bases: got 124M, allowed only with tokenizer.kind gpt2, whose tokens it knows",
    ),
    (
        {"finetune_instructions.base": "smollm2-135M"},
        "finetune_instructions.base: got smollm2-135M, allowed: one of weights.bases (pretrained)",
    ),
    *(
        (
            {
                "weights.bases": ["pretrained", "smollm2-135M"],
                "finetune_classifier.base": "smollm2-135M",
                "finetune_classifier.padding": "context",
                "finetune_classifier.token": token,
                "finetune_classifier.causal_mask": causal_mask,
            },
            f"finetune_classifier.padding: got context, allowed with base smollm2-135M and {why}: longest or none, as "
            "8,192 tokens of every message exceed most memories; or set finetune_classifier.token to last_real, with "
            "causal_mask true, which needs no padding",
        )
        for token, causal_mask, why in (
            ("last", True, "token last"),
            ("mean", True, "token mean"),
            ("last_real", False, "causal_mask false"),
        )
    ),
    (
        {"judge.pairwise": True},
        "judge.pairwise: got true, allowed only with ollama:MODEL or openai:MODEL in judge.judges; overlap cannot "
        "read two answers side by side, its wins and losses stand in the metrics under difference",
    ),
    (
        {"finetune_classifier.base": "124M"},
        "finetune_classifier.base: got 124M, allowed: one of weights.bases (pretrained)",
    ),
    (
        {"finetune_instructions.base": "355M"},
        "finetune_instructions.base: got 355M, allowed: one of weights.bases (pretrained)",
    ),
    (
        {"finetune_classifier.max_length": 100, "finetune_classifier.padding": "context"},
        "finetune_classifier.max_length: got 100, allowed with finetune_classifier.padding context: null, which is the "
        "context of the base",
    ),
    (
        {"finetune_classifier.max_length": 161},
        "finetune_classifier.max_length: got 161, allowed: at most the context of its base pretrained (160)",
    ),
    (
        {"finetune_instructions.max_length": 161},
        "finetune_instructions.max_length: got 161, allowed: at most the context of its base pretrained (160)",
    ),
    (
        {
            "tokenizer.kind": "gpt2",
            "tokenizer.vocab_size": GPT2_VOCAB_SIZE,
            "weights.bases": ["355M", "pretrained"],
            "finetune_instructions.base": "355M",
            "finetune_instructions.max_length": GPT2_CONTEXT_LENGTH + 1,
        },
        f"finetune_instructions.max_length: got {GPT2_CONTEXT_LENGTH + 1}, allowed: at most the context of its base "
        f"355M ({GPT2_CONTEXT_LENGTH})",
    ),
    (
        {"tune_preferences.max_length": 161},
        "tune_preferences.max_length: got 161, allowed: at most the context of the assistant (160)",
    ),
    (
        {"generate.max_new_tokens": 160},
        "generate.max_new_tokens: got 160, allowed: less than the context of the assistant (160), which "
        "holds the prompt too",
    ),
]


@pytest.mark.parametrize(("changes", "problem"), COMBINATIONS)
def test_a_bad_combination_is_refused(changes: dict[str, Any], problem: str) -> None:
    assert problems(changes) == [problem]


def test_two_fractions_that_add_up_to_one_are_refused() -> None:
    for percent in range(1, 100):
        both = {"sms.train_fraction": percent / 100, "sms.validation_fraction": (100 - percent) / 100}
        assert len(problems(both)) == 1, percent


# --- unknown keys -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("key", "hint"),
    [
        ("modle", "did you mean model?"),
        ("pretrain.learning_rat", "did you mean learning_rate?"),
        ("finetune_classifier.train_layer", "did you mean train_layers?"),
        ("tokenizer.xyz", "known: kind, vocab_size"),
    ],
)
def test_an_unknown_key_is_refused_with_a_suggestion(key: str, hint: str) -> None:
    assert problems({key: 1}) == [f"{key}: unknown key; {hint}"]


@pytest.mark.parametrize("name", [None, 5, 0.5, (1, 2)], ids=repr)
def test_a_key_that_is_not_text_is_an_unknown_key(name: Any) -> None:
    params = changed({})
    params[name] = params["tokenizer"][name] = 1
    with pytest.raises(InputError) as raised:
        check_params(params)
    first, second = str(raised.value).splitlines()[1:]
    assert f"  - {in_yaml(name)}: unknown key; known: seed, corpus, tokenizer" in first + second
    assert f"  - tokenizer.{name}: unknown key; known: kind, vocab_size" in (first, second)


# --- all at once --------------------------------------------------------------------------------------------


def test_all_problems_of_all_sections_come_at_once_and_in_order() -> None:
    mistakes = {
        "seed": "one",
        "corpus.source": 5,
        "model.n_heads": 3,
        "model.embdim": 128,
        "pretrain.epochs": 0,
        "pretrain.learning_rate": "5e-05x",
        "pretrain.schedule": "linear",
        "weights.bases": ["124M", "125M"],
        "sms.train_fraction": 0.95,
        "generate": None,
        "judge.min_coverage": 2,
    }
    found = problems(mistakes)
    assert [line.split(": ")[0] for line in found] == sorted(
        [
            "corpus.source",
            "generate",
            "weights.bases.1",
            "judge.min_coverage",
            "model.embdim",
            "pretrain.epochs",
            "pretrain.learning_rate",
            "pretrain.schedule",
            "seed",
            "sms.train_fraction + sms.validation_fraction",
        ]
    )
    with pytest.raises(InputError, match=r"^params\.yaml has 10 problems:\n"):
        check_params(changed(mistakes))


def test_every_key_wrong_gives_a_line_for_every_key() -> None:
    found = problems({key: {"a": 1} for key in LEAVES})
    assert [line.split(":")[0] for line in found] == sorted(LEAVES)


def test_checking_leaves_what_was_loaded_unchanged() -> None:
    params = changed({})
    check_params(params)
    assert params == SAMPLE


# --- the file -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("written", ["5e-05", "0.00005", "5e-5", "5.0E-05", "0.5e-4", ".00005"])
def test_every_spelling_of_a_small_float_is_a_float(tmp_path: Path, written: str) -> None:
    text = re.sub(r" learning_rate: \S+", f" learning_rate: {written}", PROFILE)
    text = re.sub(r"min_learning_rate: \S+", "min_learning_rate: 0.0", text)
    rate = load(tmp_path, text).pretrain.learning_rate
    assert rate == 5e-05 and type(rate) is float


@pytest.mark.parametrize(
    ("override", "section", "name", "value"),
    [
        ("finetune_classifier.learning_rate=0.00005", "finetune_classifier", "learning_rate", 5e-05),
        ("finetune_classifier.learning_rate=5e-05", "finetune_classifier", "learning_rate", 5e-05),
        ("pretrain.gradient_clip=null", "pretrain", "gradient_clip", None),
        ("model.qkv_bias=true", "model", "qkv_bias", True),
        ("weights.bases=[pretrained]", "weights", "bases", ["pretrained"]),
        ("corpus.source=[a.txt,my notes]", "corpus", "source", ["a.txt", "my notes"]),
        (
            "pretrain.sample_prompt=Every effort moves you",
            "pretrain",
            "sample_prompt",
            "Every effort moves you",
        ),
    ],
)
def test_what_dvc_exp_run_s_writes_is_read_back(
    tmp_path: Path, override: str, section: str, name: str, value: Any
) -> None:
    path = tmp_path / "params.yaml"
    path.write_text(PROFILE, encoding="utf-8")
    apply_overrides(path, ["finetune_classifier.min_learning_rate=0.0", override])
    found = getattr(getattr(load_params(path), section), name)
    assert found == value and type(found) is type(value)


def test_dvc_itself_writes_a_small_float_with_an_exponent(tmp_path: Path) -> None:
    path = tmp_path / "params.yaml"
    path.write_text(PROFILE, encoding="utf-8")
    apply_overrides(path, ["finetune_classifier.learning_rate=0.00005"])
    assert "learning_rate: 5e-05" in path.read_text(encoding="utf-8")


def test_a_key_that_stands_twice_is_refused_with_its_line(tmp_path: Path) -> None:
    message = refusal(tmp_path, "seed: 1\nmodel:\n  emb_dim: 1\n  emb_dim: 2\n")
    assert f"{tmp_path}/params.yaml is not valid YAML: line 4: found duplicate key" in message
    assert '"emb_dim"' in message and "correct it" in message and "\n" not in message


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("model: [1\n", "line 2: expected ',' or ']'"),
        ("model:\n\t- a\n", "line 2: found character"),
        ("model: *base\n", "line 1: found undefined alias"),
        ("seed: !!python/object:os.system 1\n", "line 1: could not determine a constructor"),
        ("seed: 1\n---\nseed: 2\n", "line 2: but found another document"),
        ("seed: \x01\n", "special characters are not allowed"),
        (b"seed: \xff\n", "invalid start byte"),
    ],
)
def test_invalid_yaml_is_refused_in_one_line(tmp_path: Path, text: str | bytes, said: str) -> None:
    message = refusal(tmp_path, text)
    assert message.startswith(f"{tmp_path}/params.yaml is not valid YAML: ") and said in message
    assert message.endswith("correct it, or copy a profile with `make profile P=sample`")
    assert "\n" not in message


@pytest.mark.parametrize(("text", "shown"), [("", "null"), ("- a\n", "['a']"), ("seed\n", "'seed'"), ("3", "3")])
def test_yaml_that_is_not_a_mapping_is_refused(tmp_path: Path, text: str, shown: str) -> None:
    message = refusal(tmp_path, text)
    assert message == (
        f"{tmp_path}/params.yaml holds {shown}, expected sections such as `corpus:` and `model:`; copy a "
        "profile with `make profile P=sample`"
    )


def test_a_missing_file_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(InputError) as raised:
        load_params(tmp_path / "params.yaml")
    assert str(raised.value) == (f"{tmp_path}/params.yaml is missing: copy a profile with `make profile P=sample`")


@given(st.sampled_from(sorted(LEAVES)), ANY_VALUE)
def test_any_value_of_any_key_is_accepted_or_refused_by_name(key: str, value: Any) -> None:
    found = problems({key: value})
    section = key.split(".")[0]
    assert all(re.match(r"[a-z_0-9]+(\.[a-z_0-9]+)*( \+ [a-z_.]+)?: (got|unknown key)", line) for line in found), found
    assert not found or any(line.startswith(section) or key in line for line in found)


@given(st.binary(max_size=60) | st.text("seed: []{}&*!'\"\n\t-?|>%@`#,1e", max_size=60).map(str.encode))
def test_any_other_file_is_refused_by_name(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "any.yaml"
    path.write_bytes(content)
    with pytest.raises(InputError, match=re.escape(str(path))):
        load_params(path)


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("corpus.source", "https://me:secret@host/a", "got 'https://...@host/a', allowed: a URL without name and"),
        (
            "corpus.source",
            ["a.txt", "https://me:secret@host/a"],
            "got ['a.txt', 'https://...@host/a'], allowed: a URL w",
        ),
        ("sms.source", "https://me:se@cret@host/a", "got 'https://...@host/a', allowed: a URL without name and"),
        ("instructions.source", "https://secret@host/a", "got 'https://...@host/a', allowed: a URL without name and"),
        (
            "sms.source",
            "a\0b",
            "got 'a\\x00b', allowed: a path or URL without control characters and without lone surrogates",
        ),
    ],
)
def test_a_place_with_a_password_or_a_zero_byte_is_refused(key: str, value: Any, said: str) -> None:
    (line,) = problems({key: value})
    assert line.startswith(f"{key}: {said}") and "secret" not in line


@pytest.mark.parametrize("key", ["k" * 1000, 16**5000, ("k",) * 1000], ids=["text", "number", "tuple"])
def test_a_long_unknown_key_is_shortened(key: Any) -> None:
    with pytest.raises(InputError) as raised:
        check_params({key: 1})
    (line,) = [line for line in str(raised.value).split("\n") if "unknown key" in line]
    assert len(line) < 300 and line.endswith("unknown key; known: " + ", ".join(Params.model_fields))


def test_a_long_value_is_shortened() -> None:
    (line,) = problems({"seed": "x" * 1000})
    assert len(line) < 120 and line.startswith("seed: got 'xxx") and "..., allowed: " in line
