"""The profiles: complete, commented alternatives to params.yaml with the same keys."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest
from dvc.utils.serialize import modify_yaml
from ruamel.yaml import YAML

from scratchlm.params.choices import Size
from scratchlm.params.file import load_params

REPOSITORY = Path(__file__).parents[3]
PROFILES = sorted((REPOSITORY / "profiles").glob("*.yaml"))
NAMES = [path.stem for path in PROFILES]
BOOK_COMMENT = re.compile(r"\(book: ([^;,)]+)")
# Keys for which the book has no value, or ours differs for a reason that the comment gives.
SMOLLM2 = "smollm2-135M"
NOT_THE_BOOKS = {
    "generate.batch_size",
    "model.attention",
    "model.hidden_dim",
    "model.init_std",
    "model.n_kv_heads",
    "model.rope_base",
    "judge.max_answer_tokens",
    "judge.min_coverage",
    "judge.probes",
    *(
        f"{training}.min_learning_rate"
        for training in ("pretrain", "finetune_classifier", "finetune_instructions", "tune_preferences")
    ),
    *(f"tune_preferences.lora_{key}" for key in ("rank", "alpha", "scaling")),
}


def read(name: str) -> str:
    return (REPOSITORY / "profiles" / f"{name}.yaml").read_text(encoding="utf-8")


def keys_of(name: str) -> list[str]:
    return [key for key, _ in flat(YAML(typ="safe", pure=True).load(read(name)))]


def flat(tree: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in tree.items():
        yield prefix + key, value
        if isinstance(value, dict):
            yield from flat(value, f"{prefix}{key}.")


def comments_of(name: str) -> dict[str, str]:
    """Return the comment line above each key, "" where there is none; sections are keys too."""
    comments = {}
    section = above = ""
    for line in read(name).splitlines():
        if key := re.match(r"( *)(\w+):", line):
            section = section if key[1] else key[2]
            comments[f"{section}.{key[2]}" if key[1] else key[2]] = above
        above = line.strip().removeprefix("#").strip() if line.strip().startswith("#") else ""
    return comments


def test_the_promised_profiles_are_there() -> None:
    assert {"sample", "laptop", "book", "smol"} == set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_a_profile_is_valid(name: str) -> None:
    load_params(REPOSITORY / "profiles" / f"{name}.yaml")


@pytest.mark.parametrize("size", get_args(Size))
def test_the_book_profile_fits_every_gpt2_as_a_base(size: str, tmp_path: Path) -> None:
    params = YAML(typ="safe", pure=True).load(read("book"))
    params["weights"]["bases"] = ["pretrained", size]
    for section in ("finetune_classifier", "finetune_instructions"):
        params[section]["base"] = size
    YAML().dump(params, tmp_path / "params.yaml")
    assert load_params(tmp_path / "params.yaml").finetune_instructions.base == size


@pytest.mark.parametrize("name", NAMES)
def test_every_profile_has_the_same_keys_in_the_same_order(name: str) -> None:
    assert keys_of(name) == keys_of("sample")


@pytest.mark.parametrize("name", NAMES)
def test_every_key_has_a_comment_above_it_the_same_in_every_profile(name: str) -> None:
    comments = comments_of(name)
    assert list(comments) == keys_of(name)
    assert [key for key, comment in comments.items() if not comment] == []
    assert comments == comments_of("sample")


def test_every_comment_says_where_the_key_comes_from() -> None:
    for key, comment in comments_of("sample").items():
        assert re.search(r"\((book: |chapters? |GPT-2: )", comment), key


def test_the_book_s_values_in_the_comments_are_those_of_the_book_profile() -> None:
    yaml = YAML(typ="safe", pure=True)
    checked = 0
    for key, value in flat(yaml.load(read("book"))):
        if isinstance(value, dict) or key in NOT_THE_BOOKS:
            continue
        said = BOOK_COMMENT.search(comments_of("book")[key])
        assert said, key
        parts = [yaml.load(part.split(" in ")[0]) for part in said[1].split(" and ")]
        expected = parts if isinstance(value, list) else parts[0]
        assert value == expected, key
        checked += 1
    assert checked > 60


@pytest.mark.parametrize("name", NAMES)
def test_a_profile_is_in_block_style_with_plain_strings(name: str) -> None:
    # The style that `dvc exp run -S` writes; from any other one, it would change whole lines.
    for line in read(name).splitlines():
        if not line.strip().startswith("#"):
            assert not re.search(r"""["'{}\[\]&*|>#\t]""", line), line
            assert line == line.rstrip() and len(line) - len(line.lstrip()) in (0, 2, 4)
    assert read(name).endswith("\n")


@pytest.mark.parametrize("name", NAMES)
def test_a_change_by_dvc_touches_only_its_own_line(name: str, tmp_path: Path) -> None:
    path = tmp_path / "params.yaml"
    path.write_text(read(name), encoding="utf-8")
    with modify_yaml(str(path)) as params:  # what `dvc exp run -S` calls
        params["seed"] = 7
    assert path.read_text(encoding="utf-8") == read(name).replace("seed: 123", "seed: 7")


def test_the_committed_params_yaml_is_the_sample_profile() -> None:
    # Git's index, not the file: a user who chose another profile has a working copy that differs.
    staged = subprocess.run(["git", "-C", str(REPOSITORY), "show", ":./params.yaml"], capture_output=True, check=False)
    if staged.returncode:
        pytest.skip(f"not a Git repository: {staged.stderr.decode().strip()}")
    assert staged.stdout.decode() == read("sample")


# --- what each profile is for -------------------------------------------------------------------------------


def test_the_book_profile_splits_1100_entries_as_the_book() -> None:
    fractions = load_params(REPOSITORY / "profiles/book.yaml").instructions
    assert (int(1100 * fractions.train_fraction), int(1100 * fractions.test_fraction)) == (935, 110)


def test_the_sample_profile_needs_no_network_and_no_server() -> None:
    sample = load_params(REPOSITORY / "profiles/sample.yaml")
    assert {sample.corpus.source, sample.sms.source, sample.instructions.source, sample.benchmark.source} == {"sample"}
    assert (sample.tokenizer.kind, sample.weights.bases, sample.judge.judges) == (
        "bpe",
        ["pretrained"],
        ["overlap"],
    )


def test_the_laptop_profile_uses_the_real_data_and_a_real_model() -> None:
    laptop = load_params(REPOSITORY / "profiles/laptop.yaml")
    sources = (laptop.corpus.source, laptop.sms.source, laptop.instructions.source, laptop.preferences.source)
    assert sources == ("the-verdict", "uci", "book", "book")
    assert (laptop.tokenizer.kind, laptop.judge.judges) == ("gpt2", ["overlap"])
    assert laptop.weights.bases == ["pretrained", SMOLLM2]
    assert laptop.finetune_classifier.base == laptop.finetune_instructions.base == SMOLLM2


def test_the_smol_profile_is_the_sample_but_for_the_assistant_and_what_is_made_of_it() -> None:
    read = YAML(typ="safe", pure=True).load
    sample, smol, laptop = (
        read((REPOSITORY / "profiles" / f"{name}.yaml").read_text()) for name in ("sample", "smol", "laptop")
    )
    assert {section for section in sample if sample[section] != smol[section]} == {
        "weights",
        "instructions",
        "finetune_instructions",
        "preferences",
        "tune_preferences",
        "generate",
        "benchmark",
    }
    assert smol["weights"] == laptop["weights"] and smol["instructions"] == laptop["instructions"]
    assert smol["finetune_instructions"] == {**laptop["finetune_instructions"], "epochs": 1, "learning_rate": 1e-4}
    assert smol["tune_preferences"] == laptop["tune_preferences"]
