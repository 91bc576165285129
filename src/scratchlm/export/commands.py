"""What to do with an exported folder: its files, and the commands that use it."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from pathlib import Path

from scratchlm.checkpoint.weights import WEIGHTS
from scratchlm.export.exported_model import YOU, ExportedModel


def describe_commands(model: ExportedModel, out: Path) -> Iterator[str]:
    """Yield lines with the sizes of the files, and how other programs run and get the model."""
    quoted = shlex.quote(str(out))
    yield f"{out} holds {model.name}, with a model card in README.md:"
    for name in (model.gguf_name, WEIGHTS):
        yield f"  {name}  {(out / name).stat().st_size / 1e6:,.1f} MB"
    yield "Run it with Ollama, or with llama.cpp's server at http://127.0.0.1:8080:"
    yield f"  ollama create {model.name} -f {shlex.quote(str(out / 'Modelfile'))}"
    yield f'  ollama run {model.name} "{model.example}"'
    yield f"  llama-server -m {shlex.quote(str(out / model.gguf_name))}"
    yield f"Upload it, {YOU} being your account on the Hugging Face hub:"
    yield f"  hf upload {YOU}/{model.name} {quoted}"
    if model.licence is None:
        yield "No licence is named in it: --license names one, such as mit."
