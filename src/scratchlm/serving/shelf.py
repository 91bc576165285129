"""The models of a project, each loaded when it is first asked for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import TypeVar

from starlette.concurrency import run_in_threadpool

from scratchlm.assistant.folder import DESCRIPTION, read_style
from scratchlm.checkpoint.config_json import CONFIG
from scratchlm.checkpoint.folder import load
from scratchlm.checkpoint.weights import WEIGHTS
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
# Of weights in a file: a model up to this size is served by one thread. The sample's (3 MB) give 1.4 to 1.9 times as
# many tokens per second so as with two (python benchmarks/serving.py): their operations are shorter than the handing
# over of half of them. Where the gain ends was not measured.
SMALL_BYTES = 10 * 10**6

T = TypeVar("T")
ServedClassifier = tuple[Classifier, Tokenizer, Description]


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
        self._loaded: dict[str, Served] = {}
        self._classifier: ServedClassifier | None = None
        # One for each, so that a large model does not hold up a small one.
        self._locks = {name: Lock() for name in (*self._folders, CLASSIFIER)}

    def names(self) -> list[str]:
        """Return the names of the language models, those that were built."""
        return list(self._folders)

    def are_small(self) -> bool:
        """Return whether no language model is larger than `SMALL_BYTES`."""
        weights = [folder / WEIGHTS for folder in self._folders.values()]
        return all(path.stat().st_size <= SMALL_BYTES for path in weights if path.exists())

    def folder(self, name: str) -> Path:
        """Return the folder of a language model. Raises InputError if there is none of this name."""
        if name not in self._folders:
            raise InputError(f"no model {name!r}, wanted {' or '.join(self._folders) or f'some: {BUILD_AGAIN}'}")
        return self._folders[name]

    def get(self, name: str) -> Served:
        """Return a language model, loaded on first use. Raises InputError as `folder` does, OutputError if damaged."""
        folder = self.folder(name)
        with self._locks[name]:
            if name not in self._loaded:
                self._loaded[name] = self._load(name, folder)
            return self._loaded[name]

    def classifier(self) -> ServedClassifier:
        """Return the classifier, loaded on first use. Raises OutputError if it was not built."""
        with self._locks[CLASSIFIER]:
            if self._classifier is None:
                classifier, tokenizer, description = load_classifier(self.root / "models" / CLASSIFIER)
                self._classifier = classifier.to(find_device()[0]), tokenizer, description
            return self._classifier

    async def find(self, name: str) -> Served:
        """Return `get(name)`, while other requests go on; raise Refused if there is no such model, or it is damaged."""
        try:
            self.folder(name)
        except InputError as error:
            raise Refused(404, str(error), "model", "model_not_found") from None
        if name in self._loaded:  # a thread would only cost time
            return self._loaded[name]
        return await _in_thread(lambda: self.get(name))

    async def find_classifier(self) -> ServedClassifier:
        """Return `classifier()`, while other requests go on; raise Refused if there is none, or it is damaged."""
        return await _in_thread(self.classifier)

    def close(self) -> None:
        """End the engines after the answers that run."""
        for served in list(self._loaded.values()):  # another may be added while one ends
            served.engine.close()

    def _load(self, name: str, folder: Path) -> Served:
        style = read_style(folder) if (folder / DESCRIPTION).exists() else self._style
        model, tokenizer = load(folder)
        model = model.to(find_device()[0])
        return Served(name, folder, model, tokenizer, style, Engine(model))


async def _in_thread(get: Callable[[], T]) -> T:
    try:
        return await run_in_threadpool(get)
    except InputError as error:  # of a folder that is there: what the user gave is not at fault
        raise Refused(503, explain(error)) from None
