"""The exported folder: whole, the same each time, loadable, and never in the place of something of the user's."""

from __future__ import annotations

import errno
import hashlib
import json
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from huggingface_hub.utils import validate_repo_id
from runs import write_lock
from tiny_exports import GPT, random_model

from scratchlm.assistant.chat_template import jinja_template
from scratchlm.assistant.folder import load_assistant
from scratchlm.checkpoint.folder import save_checkpoint
from scratchlm.checkpoint.gguf import read_gguf
from scratchlm.classifier.classifier import Classifier
from scratchlm.classifier.folder import Description, save_classifier
from scratchlm.errors import InputError, OutputError
from scratchlm.export import exported_model
from scratchlm.export import folder as exporting
from scratchlm.export.card import write_card
from scratchlm.export.exported_model import ExportedModel
from scratchlm.export.folder import export_model
from scratchlm.export.gguf_file import Dtype
from scratchlm.export.ollama import go_template
from scratchlm.export.origin import origin_of
from scratchlm.tokenizer.bpe import BytePairTokenizer
from scratchlm.tokenizer.folder import HF_ENCODER, HF_MERGES


@pytest.fixture
def out(assistant: Path) -> Path:
    return assistant.parents[1] / "exports" / "assistant"


def all_bytes(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_an_assistant_is_exported_whole(assistant: Path, out: Path) -> None:
    export_model(assistant, out, "f16")
    found = all_bytes(out)
    assert set(found) == {
        "Modelfile",
        "README.md",
        "SHA256SUMS",
        "assistant-F16.gguf",
        "assistant.json",
        "chat_template.jinja",
        "config.json",
        "generation_config.json",
        "model.safetensors",
        "params",
        "template",
        "tokenizer.json",
        "tokenizer_config.json",
    }
    copied = {path.name for path in assistant.iterdir()}
    assert {name: found[name] for name in copied} == all_bytes(assistant)
    values = read_gguf(out / "assistant-F16.gguf").values
    assert values["tokenizer.chat_template"] == jinja_template("phi3") == found["chat_template.jinja"].decode()
    assert found["template"].decode() == go_template("phi3")
    assert json.loads(found["params"]) == {
        "num_ctx": 64,
        "num_predict": 32,
        "stop": ["<|endoftext|>"],
        "temperature": 0,
    }
    assert found["Modelfile"].decode().startswith("FROM ./assistant-F16.gguf\n")


def test_the_export_is_a_model_folder_of_ours(assistant: Path, out: Path) -> None:
    export_model(assistant, out, "q8_0")
    ids = torch.tensor([[5, 100, 200]])
    (ours, _, style), (theirs, _, exported_style) = load_assistant(assistant), load_assistant(out)
    assert style == exported_style and torch.equal(ours(ids), theirs(ids))


def test_a_base_has_no_template_of_chats(assistant: Path, out: Path) -> None:
    (assistant / "assistant.json").unlink()
    export_model(assistant, out, "f16")
    assert (out / "template").read_text() == "{{ .Prompt }}"
    assert "tokenizer.chat_template" not in read_gguf(out / "assistant-F16.gguf").values
    assert not (out / "chat_template.jinja").exists() and "continues a text" in (out / "README.md").read_text()


def test_a_folder_of_an_earlier_version_gets_what_it_lacks(assistant: Path, out: Path, tokenizer_folder: Path) -> None:
    export_model(assistant, out, "f16")
    expected = all_bytes(out)
    for name in ("tokenizer.json", "tokenizer_config.json", "generation_config.json", "chat_template.jinja"):
        (assistant / name).unlink()
    shutil.copyfile(tokenizer_folder / "encoder.json", assistant / HF_ENCODER)
    shutil.copyfile(tokenizer_folder / "vocab.bpe", assistant / HF_MERGES)
    _, tokenizer, _ = load_assistant(assistant)
    assert isinstance(tokenizer, BytePairTokenizer)
    export_model(assistant, out, "f16")
    assert all_bytes(out) == expected


@pytest.mark.parametrize("dtype", ["f32", "f16", "q8_0"])
def test_the_same_model_gives_the_same_bytes(dtype: Dtype, assistant: Path, out: Path, tmp_path: Path) -> None:
    export_model(assistant, out, dtype)
    elsewhere = tmp_path / "elsewhere" / "models" / "assistant"
    shutil.copytree(assistant, elsewhere)
    export_model(elsewhere, tmp_path / "a b" / "c", dtype)
    assert all_bytes(out) == all_bytes(tmp_path / "a b" / "c")
    assert str(tmp_path) not in (out / "README.md").read_text()


def test_the_sums_are_those_of_all_other_files(assistant: Path, out: Path) -> None:
    export_model(assistant, out, "f16")
    found = all_bytes(out)
    lines = found.pop("SHA256SUMS").decode().splitlines()
    assert lines == [f"{hashlib.sha256(content).hexdigest()}  {name}" for name, content in sorted(found.items())]


def test_an_export_is_replaced_by_the_next_one(assistant: Path, out: Path) -> None:
    export_model(assistant, out, "f16")
    (out / "template").unlink()
    export_model(assistant, out, "f32", "other")
    assert sorted(path.name for path in out.glob("*.gguf")) == ["other-F32.gguf"] and (out / "template").exists()


def test_a_folder_that_no_export_wrote_is_left_alone(assistant: Path, out: Path) -> None:
    out.mkdir(parents=True)
    (out / "thesis.txt").write_text("mine")
    with pytest.raises(InputError, match=r"thesis\.txt was written by no export, so .* give another --out"):
        export_model(assistant, out, "f16")
    assert all_bytes(out) == {"thesis.txt": b"mine"}


@pytest.mark.parametrize(
    ("name", "problem"),
    [("README.md", "was changed after its export"), (".git/config", "was written by no export")],
)
def test_an_export_with_work_of_the_users_in_it_is_left_alone(
    name: str, problem: str, assistant: Path, out: Path
) -> None:
    export_model(assistant, out, "f16")
    (out / name).parent.mkdir(exist_ok=True)
    (out / name).write_text("my own card")
    before = all_bytes(out)
    with pytest.raises(InputError, match=f"{name} {problem}"):
        export_model(assistant, out, "f16")
    assert all_bytes(out) == before


def test_links_and_empty_folders_in_an_export_are_the_users(assistant: Path, out: Path, tmp_path: Path) -> None:
    for number, make in enumerate((lambda path: path.symlink_to(tmp_path), Path.mkdir)):
        place = out.with_name(str(number))
        export_model(assistant, place, "f16")
        make(place / "mine")
        with pytest.raises(InputError, match="mine was written by no export"):
            export_model(assistant, place, "f16")
        assert (place / "mine").is_dir()


def test_a_model_folder_is_no_place_for_an_export(assistant: Path, out: Path) -> None:
    before = all_bytes(assistant)
    for inside in (assistant, assistant / "gguf"):
        with pytest.raises(InputError, match="in the model's own folder"):
            export_model(assistant, inside, "f16")
    with pytest.raises(InputError, match="was written by no export"):
        export_model(assistant, assistant.parent, "f16")
    assert all_bytes(assistant) == before


def test_a_file_in_the_way_is_left_alone(assistant: Path, out: Path) -> None:
    out.parent.mkdir()
    out.write_text("mine")
    with pytest.raises(InputError, match="is in the way"):
        export_model(assistant, out, "f16")
    assert out.read_text() == "mine"


def test_an_export_that_fails_leaves_the_one_before(
    assistant: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    export_model(assistant, out, "f16")
    before = all_bytes(out)

    def fail(model: ExportedModel) -> str:
        raise InputError("no room")

    monkeypatch.setattr(exporting, "write_card", fail)
    with pytest.raises(InputError, match="no room"):
        export_model(assistant, out, "f32")
    assert all_bytes(out) == before and {*out.parent.iterdir()} == {out, out.with_name(".assistant.lock")}


NAMES_REFUSED = ["", "../evil", "a b", ".hidden", "a" * 64, "a\n", "Ü", "a--b", "a..b", "a-", "a.", "a_", "a.git"]


@pytest.mark.parametrize("name", NAMES_REFUSED)
def test_a_name_that_others_cannot_take_is_refused(name: str, assistant: Path, out: Path) -> None:
    with pytest.raises(InputError, match=r"--name: got .*, wanted at most 63 letters, digits"):
        export_model(assistant, out, "f16", name)
    assert not out.parent.exists()


@pytest.mark.parametrize("name", ["a", "My-model_1.5", "a-b.c", "git", "a.gits", "a" * 63])
def test_a_name_that_is_taken_is_one_that_the_hub_takes(name: str, assistant: Path, out: Path) -> None:
    validate_repo_id(f"me/{name}")
    assert export_model(assistant, out, "f16", name).name == name


@pytest.mark.parametrize("place", [".", "..", "", "../..", "new/.."])
def test_the_current_folder_is_no_place_for_an_export(
    place: str, assistant: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    empty = assistant.parents[1] / "work" / "empty"
    empty.mkdir(parents=True)
    monkeypatch.chdir(empty)
    with pytest.raises(InputError, match=r"--out: .* holds the current folder: give a place"):
        export_model(assistant, Path(place), "f16")
    assert list(empty.iterdir()) == [] and Path.cwd() == empty


def test_what_a_stage_writes_is_no_place_for_an_export(assistant: Path) -> None:
    root = assistant.parents[1]
    write_lock(root)
    for place in ("models/bases", "models/bases/mine", "data/corpus/mine"):
        with pytest.raises(InputError, match=r"--out: .* is in (models/bases|data/corpus), which the stage download_"):
            export_model(assistant, root / place, "f16")
    assert not (root / "models" / "bases").exists()
    export_model(assistant, root / "models" / "mine", "f16")


def test_the_projects_record_is_found_from_anywhere(
    assistant: Path, out: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_lock(assistant.parents[1])
    monkeypatch.chdir(tmp_path)
    export_model(assistant, out, "f16")
    assert "| mean score of its answers | 75.21 (" in (out / "README.md").read_text()


def test_two_exports_to_one_place_do_not_disturb_each_other(
    assistant: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def write_again(model: ExportedModel) -> str:
        with pytest.raises(InputError, match=f"another export is writing {out}: wait for it"):
            export_model(assistant, out, "f32")
        return write_card(model)

    monkeypatch.setattr(exporting, "write_card", write_again)
    export_model(assistant, out, "f16")
    assert (out / "assistant-F16.gguf").exists() and not (out / "assistant-F32.gguf").exists()


def test_a_full_disk_is_told_before_anything_is_written(
    assistant: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: SimpleNamespace(free=100_000))
    with pytest.raises(InputError, match=rf"no space left in {out.parent}: [\d,]+ bytes are needed, 100,000 are free"):
        export_model(assistant, out, "f16")
    assert not list(out.parent.glob("*assistant"))


@pytest.mark.parametrize(("number", "said"), [(errno.ENOSPC, "no space left in"), (errno.EROFS, "cannot write")])
def test_a_disk_that_cannot_be_written_is_named(
    number: int, said: str, assistant: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(path: Path, text: str) -> None:
        raise OSError(number, "it fails")

    monkeypatch.setattr(exporting, "write_text", fail)
    with pytest.raises(InputError, match=f"{said} {out.parent}: "):
        export_model(assistant, out, "f16")


def test_a_licence_is_a_name_that_the_hub_knows(assistant: Path, out: Path) -> None:
    with pytest.raises(InputError, match="--license: got 'All rights', wanted the hub's name of a licence"):
        export_model(assistant, out, "f16", licence="All rights")
    export_model(assistant, out, "f16", licence="cc-by-4.0")
    assert "license: cc-by-4.0\n" in (out / "README.md").read_text()


def test_others_weights_carry_their_licence_and_authors(
    assistant: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exported_model, "find_origin", lambda config, run: origin_of("smollm2-135M"))
    export_model(assistant, out, "f16")
    notice, licence = (out / "NOTICE").read_text(), (out / "LICENSES" / "Apache-2.0.txt").read_text()
    assert "assistant is a changed version of SmolLM2-135M-Instruct" in notice and "Apache License" in licence
    assert f'LICENSE """{notice}\n{licence}"""' in (out / "Modelfile").read_text()
    assert "license: apache-2.0\n" in (out / "README.md").read_text()
    export_model(assistant, out, "f16", licence="cc-by-4.0")
    assert "license: cc-by-4.0\n" in (out / "README.md").read_text() and (out / "NOTICE").exists()


def test_weights_that_only_look_like_others_get_their_notice_and_no_licence(
    assistant: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    guessed = origin_of("smollm2-135M")._replace(certain=False)
    monkeypatch.setattr(exported_model, "find_origin", lambda config, run: guessed)
    export_model(assistant, out, "f16")
    header, card = (out / "README.md").read_text().removeprefix("---\n").split("---\n", 1)
    assert "base_model" not in header and "license" not in header
    assert "By its shape it was trained from [SmolLM2-135M-Instruct]" in card and "No licence was chosen" in card
    assert (out / "NOTICE").read_text().startswith("assistant may be, as its shape says, a changed version of SmolLM2")
    export_model(assistant, out, "f16", licence="cc-by-4.0")
    assert "license: cc-by-4.0\n" in (out / "README.md").read_text()


def test_a_classifier_is_refused(tokenizer_folder: Path, tmp_path: Path) -> None:
    gpt = random_model(replace(GPT, tie_embeddings=False))
    description = Description(["ham", "spam"], max_length=20, temperature=1.0)
    save_classifier(tmp_path / "classifier", Classifier(gpt), tokenizer_folder, description)
    with pytest.raises(InputError, match=r"holds a classifier, which llama\.cpp cannot run"):
        export_model(tmp_path / "classifier", tmp_path / "out", "f16")
    assert not (tmp_path / "out").exists()


def test_a_folder_that_is_missing_or_damaged_is_told(assistant: Path, out: Path) -> None:
    with pytest.raises(OutputError, match=r"holds no model \(config\.json is missing\)"):
        export_model(assistant.parent / "asistant", out, "f16")
    (assistant / "model.safetensors").write_bytes(b"")
    with pytest.raises(OutputError, match="is not a readable safetensors file"):
        export_model(assistant, out, "f16")
    assert not out.parent.exists()


def test_a_model_with_another_tokenizer_is_refused(tokenizer_folder: Path, tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "model", random_model(replace(GPT, vocab_size=281)), tokenizer_folder)
    with pytest.raises(InputError, match="has 281 tokens, the tokenizer 280"):
        export_model(tmp_path / "model", tmp_path / "out", "f16")
