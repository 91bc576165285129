"""The models of a project, each loaded when it is first asked for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Any, get_args

from scratchlm.assistant.folder import DESCRIPTION
from scratchlm.checkpoint.config_json import CONFIG, read_description
from scratchlm.checkpoint.folder import load
from scratchlm.classifier.classifier import Classifier
from scratchlm.classifier.folder import Description, load_classifier
from scratchlm.errors import BUILD_AGAIN, InputError
from scratchlm.model.language_model import LanguageModel
from scratchlm.params.choices import PromptStyle
from scratchlm.params.file import load_params
from scratchlm.serving.engine import Engine
from scratchlm.stage.device import find_device
from scratchlm.tokenizer.protocol import Tokenizer


@dataclass(frozen=True)
class Served:
    """A language model that answers."""

    name: str
    folder: Path
    model: LanguageModel
    tokenizer: Tokenizer
    style: PromptStyle  # of its instructions; for a model that was trained on none, that of params.yaml
    engine: Engine


class Shelf:
    """The models of the project in `root`, and its classifier."""

    def __init__(self, root: Path) -> None:
        self.root = root
        params = load_params(root / "params.yaml")
        self._style: PromptStyle = params.instructions.prompt_style
        models = root / "models"
        folders = {
            "pretrained": models / "pretrained",
            "base": models / "bases" / params.finetune_instructions.base,
            "assistant": models / "assistant",
            "preferred": models / "preferred",
        }
        self._folders = {name: folder for name, folder in folders.items() if (folder / CONFIG).exists()}
        self._loaded: dict[str, Any] = {}
        self._lock = Lock()

    def names(self) -> list[str]:
        """Return the names of the language models, those that were built."""
        return list(self._folders)

    def get(self, name: str) -> Served:
        """Return a language model, loaded on first use. Raises InputError if there is none of this name."""
        if name not in self._folders:
            raise InputError(f"no model {name!r}: got {', '.join(self._folders) or 'none at all'}; {BUILD_AGAIN}")
        return self._once(name, lambda: self._load(name))  # type: ignore[no-any-return]

    def classifier(self) -> tuple[Classifier, Tokenizer, Description]:
        """Return the classifier, loaded on first use. Raises OutputError if it was not built."""
        return self._once("classifier", lambda: load_classifier(self.root / "models" / "classifier"))  # type: ignore[no-any-return]

    def close(self) -> None:
        """End the engines after the answers that run."""
        for served in self._loaded.values():
            if isinstance(served, Served):
                served.engine.close()

    def _load(self, name: str) -> Served:
        folder = self._folders[name]
        model, tokenizer = load(folder)
        device, _ = find_device()
        style: Any = self._style
        if (folder / DESCRIPTION).exists():
            style = read_description(folder / DESCRIPTION, "assistant").get("prompt_style")
            if style not in get_args(PromptStyle):
                raise InputError(f"{folder / DESCRIPTION}: prompt_style is {style!r}")
        return Served(name, folder, model.to(device), tokenizer, style, Engine(model))

    def _once(self, name: str, make: Callable[[], Any]) -> Any:
        with self._lock:
            if name not in self._loaded:
                self._loaded[name] = make()
            return self._loaded[name]
