"""The models of a project, each loaded when it is first asked for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Any

from starlette.concurrency import run_in_threadpool

from scratchlm.assistant.folder import DESCRIPTION, load_assistant
from scratchlm.checkpoint.config_json import CONFIG
from scratchlm.checkpoint.folder import load
from scratchlm.classifier.classifier import Classifier
from scratchlm.classifier.folder import Description, load_classifier
from scratchlm.errors import BUILD_AGAIN, InputError, explain
from scratchlm.model.language_model import LanguageModel
from scratchlm.params.choices import PromptStyle
from scratchlm.params.file import load_params
from scratchlm.serving.bodies import Refused
from scratchlm.serving.engine import Engine
from scratchlm.stage.device import find_device
from scratchlm.tokenizer.protocol import Tokenizer

CLASSIFIER = "classifier"


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
        self._locks = {name: Lock() for name in (*self._folders, CLASSIFIER)}

    def names(self) -> list[str]:
        """Return the names of the language models, those that were built."""
        return list(self._folders)

    def folder(self, name: str) -> Path:
        """Return the folder of a language model. Raises InputError if there is none of this name."""
        if name not in self._folders:
            raise InputError(f"no model {name!r}, wanted {' or '.join(self._folders) or f'some: {BUILD_AGAIN}'}")
        return self._folders[name]

    def get(self, name: str) -> Served:
        """Return a language model, loaded on first use. Raises InputError as `folder` does, OutputError if damaged."""
        self.folder(name)
        return self._once(name, lambda: self._load(name))  # type: ignore[no-any-return]

    def classifier(self) -> tuple[Classifier, Tokenizer, Description]:
        """Return the classifier, loaded on first use. Raises OutputError if it was not built."""
        return self._once(CLASSIFIER, self._load_classifier)  # type: ignore[no-any-return]

    async def find(self, name: str) -> Served:
        """Return `get(name)`, while other requests go on; raise Refused if there is no such model, or it is damaged."""
        try:
            self.folder(name)
        except InputError as error:
            raise Refused(404, str(error), "model", "model_not_found") from None
        if name in self._loaded:  # another thread would have to wait for this one and the engine's
            return self.get(name)
        return await self._in_thread(lambda: self.get(name))  # type: ignore[no-any-return]

    async def find_classifier(self) -> tuple[Classifier, Tokenizer, Description]:
        """Return `classifier()`, while other requests go on; raise Refused if there is none, or it is damaged."""
        return await self._in_thread(self.classifier)  # type: ignore[no-any-return]

    def close(self) -> None:
        """End the engines after the answers that run."""
        for served in self._loaded.values():
            if isinstance(served, Served):
                served.engine.close()

    def _load(self, name: str) -> Served:
        folder = self._folders[name]
        device, _ = find_device()
        style = self._style
        if (folder / DESCRIPTION).exists():
            model, tokenizer, style = load_assistant(folder)
        else:
            model, tokenizer = load(folder)
        model = model.to(device)
        return Served(name, folder, model, tokenizer, style, Engine(model))

    def _load_classifier(self) -> tuple[Classifier, Tokenizer, Description]:
        device, _ = find_device()
        classifier, tokenizer, description = load_classifier(self.root / "models" / CLASSIFIER)
        return classifier.to(device), tokenizer, description

    def _once(self, name: str, make: Callable[[], Any]) -> Any:
        with self._locks[name]:  # one of its own, so that a large model does not hold up a small one
            if name not in self._loaded:
                self._loaded[name] = make()
            return self._loaded[name]

    async def _in_thread(self, get: Callable[[], Any]) -> Any:
        try:
            return await run_in_threadpool(get)
        except InputError as error:  # of a folder that is there: what the user gave is not at fault
            raise Refused(503, explain(error)) from None
