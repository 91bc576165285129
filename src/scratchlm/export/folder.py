"""The folder that is exported: a GGUF file, what Ollama and the Hugging Face hub want beside it, and a model card."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from scratchlm.assistant.chat_template import TEMPLATE, jinja_template
from scratchlm.assistant.folder import DESCRIPTION
from scratchlm.checkpoint.folder import write_descriptions
from scratchlm.checkpoint.weights import WEIGHTS
from scratchlm.errors import InputError
from scratchlm.export.card import write_card
from scratchlm.export.exported_model import ExportedModel, read_exported
from scratchlm.export.gguf_file import Dtype, weights_bytes, write_gguf
from scratchlm.export.last_run import find_out
from scratchlm.export.ollama import go_template, modelfile, parameters
from scratchlm.export.origin import licence_of, notice
from scratchlm.export.vocabulary import Vocabulary, read_vocabulary
from scratchlm.files.atomic import atomic_path, write_json, write_text
from scratchlm.files.checksum import measure
from scratchlm.files.room import check_room, writable
from scratchlm.tokenizer.folder import write_hugging_face_tokenizer

CARD, NOTICE, MODELFILE = "README.md", "NOTICE", "Modelfile"
GO_TEMPLATE, PARAMETERS = "template", "params"  # Ollama's names in a folder on the hub
SUMS = "SHA256SUMS"  # of all other files, as sha256sum writes it
SUM = re.compile(r"([0-9a-f]{64})  (.+)")


def export_model(
    folder: Path, out: Path, dtype: Dtype, name: str | None = None, licence: str | None = None
) -> ExportedModel:
    """Export a model folder to `out`, which is replaced if it holds an export that nobody has changed.

    `name` is that of the folder unless it is given, and `licence`, as the hub names it, that of the weights that the
    model was trained from, or none. The dvc.lock of the model's project knows the figures of its last run. The same
    input gives the same bytes.

    Raises InputError for a model that llama.cpp cannot compute, for a name or licence that the hub cannot take, for
    what is in the way at `out`, for another export that writes there, and for a full disk; OutputError for a folder
    that is missing or damaged.
    """
    model = read_exported(folder, dtype, name, licence)
    check_place(out, folder)
    size_bytes = (folder / WEIGHTS).stat().st_size + weights_bytes(model.config, dtype)
    with writable(out.parent, size_bytes), alone_at(out):
        if (problem := foreign_file(out)) is not None:
            raise InputError(f"{problem}, so {out} is left as it is: move it elsewhere, or give another --out")
        check_room(out.parent, size_bytes)
        with atomic_path(out) as new:
            new.mkdir()
            write_checkpoint(new, model)
            vocabulary = read_vocabulary(new)
            write_gguf(new / model.gguf_name, new, vocabulary, dtype, model.name, chat_template_of(model))
            write_for_ollama(new, model, vocabulary)
            for path, text in licence_texts(model).items():
                write_text(new / path, text)
            write_text(new / CARD, write_card(model))
            write_text(new / SUMS, "".join(f"{measure(new / file)[1]}  {file}\n" for file in files_in(new)))
    return model


def check_place(out: Path, folder: Path) -> None:
    """Raise InputError for a place where no export may be made, whatever is there."""
    if out.name in ("", "..") or Path.cwd().is_relative_to(out.resolve()):
        raise InputError(f"--out: {out} holds the current folder: give a place for a folder, such as exports/mine")
    if out.resolve().is_relative_to(folder.resolve()):
        raise InputError(f"--out: {out} is in the model's own folder: give another place")
    if (found := find_out(out)) is not None:
        raise InputError(f"--out: {out} is in {found.path}, which the stage {found.stage} writes: give another place")


@contextmanager
def alone_at(out: Path) -> Iterator[None]:
    """Keep other exports from `out`; raise InputError if one is at work there."""
    out.parent.mkdir(parents=True, exist_ok=True)
    lock = out.with_name(f".{out.name}.lock")
    try:
        with FileLock(lock, timeout=0):
            yield
    except Timeout:
        raise InputError(f"another export is writing {out}: wait for it, or give another --out") from None


def write_checkpoint(new: Path, model: ExportedModel) -> None:
    """Write the model as `save_checkpoint` and `save_assistant` do, however old the folder is that it comes from."""
    shutil.copyfile(model.folder / WEIGHTS, new / WEIGHTS)
    write_hugging_face_tokenizer(model.folder, new)
    write_descriptions(new, model.config)
    if (template := chat_template_of(model)) is not None:
        write_text(new / TEMPLATE, template)
        shutil.copyfile(model.folder / DESCRIPTION, new / DESCRIPTION)


def chat_template_of(model: ExportedModel) -> str | None:
    """Return the Jinja template of an assistant; None for a model that continues texts."""
    return None if model.style is None else jinja_template(model.style)


def write_for_ollama(new: Path, model: ExportedModel, vocabulary: Vocabulary) -> None:
    """Write a Modelfile, and the same as two files for the hub."""
    template, params = go_template(model.style), parameters(model.config.context_length, vocabulary.stops)
    write_text(new / GO_TEMPLATE, template)
    write_json(new / PARAMETERS, params)
    licences = "\n".join(licence_texts(model).values())
    write_text(new / MODELFILE, modelfile(model.gguf_name, template, params, licences))


def licence_texts(model: ExportedModel) -> dict[str, str]:
    """Return what must go with weights that came from others, by its path: the notice, and the licence's text."""
    if model.origin is None:
        return {}
    return {NOTICE: notice(model.name, model.origin), **licence_of(model.origin)}


def foreign_file(out: Path) -> str | None:
    """Say what would be lost if `out` were replaced; None if that is nothing but an export as it was written."""
    if not out.is_dir():
        return None  # `atomic_path` refuses a file
    lines = (out / SUMS).read_text(encoding="utf-8", errors="replace").splitlines() if (out / SUMS).is_file() else []
    written = {found[2]: found[1] for line in lines if (found := SUM.fullmatch(line))}
    for file in files_in(out):
        if file != SUMS and file not in written:
            return f"{out / file} was written by no export"
        if file != SUMS and measure(out / file)[1] != written[file]:
            return f"{out / file} was changed after its export"
    return None


def files_in(folder: Path) -> list[str]:
    """List all files below a folder, sorted, and what else is no export's: links and empty folders."""
    found = (path for path in folder.rglob("*") if path.is_symlink() or not path.is_dir() or not any(path.iterdir()))
    return sorted(path.relative_to(folder).as_posix() for path in found)
