"""The models of a project: loaded when asked for, and what is said of those that cannot be."""

from __future__ import annotations

import asyncio
import shutil
import threading
from pathlib import Path

import pytest

from scratchlm.checkpoint.weights import WEIGHTS
from scratchlm.errors import InputError, OutputError
from scratchlm.serving import shelf as module
from scratchlm.serving.bodies import Refused
from scratchlm.serving.engine import Engine
from scratchlm.serving.shelf import Shelf


@pytest.fixture
def damaged(shelf: Shelf, tmp_path: Path) -> Shelf:
    """A project without `pretrained`, with half the weights of `preferred`, and a classifier that is none."""
    shutil.copytree(shelf.root, tmp_path / "project")
    models = tmp_path / "project" / "models"
    content = (models / "preferred" / WEIGHTS).read_bytes()
    (models / "preferred" / WEIGHTS).write_bytes(content[:-9])
    shutil.rmtree(models / "pretrained")
    shutil.rmtree(models / "classifier")
    return Shelf(tmp_path / "project")


def refused(shelf: Shelf, name: str) -> Refused:
    with pytest.raises(Refused) as caught:
        asyncio.run(shelf.find(name) if name != "classifier" else shelf.find_classifier())
    return caught.value


def test_models_are_small_unless_one_of_them_is_large(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    largest = max((shelf.folder(name) / WEIGHTS).stat().st_size for name in shelf.names())
    monkeypatch.setattr(module, "SMALL_BYTES", largest)
    assert shelf.are_small()
    monkeypatch.setattr(module, "SMALL_BYTES", largest - 1)
    assert not shelf.are_small()


def test_a_damaged_model_says_so_and_the_others_are_there(damaged: Shelf) -> None:
    assert damaged.names() == ["base", "assistant", "preferred"]
    for _ in range(2):
        problem = refused(damaged, "preferred")
        assert problem.status == 503
        assert WEIGHTS in problem.message and problem.message.endswith("run `make repro` to build it again")
    with pytest.raises(OutputError):
        damaged.get("preferred")
    problem = refused(damaged, "classifier")
    assert (problem.status, "holds no classifier" in problem.message) == (503, True)
    problem = refused(damaged, "pretrained")
    assert (problem.status, problem.code) == (404, "model_not_found")
    assert problem.message == "no model 'pretrained', wanted base or assistant or preferred"
    with pytest.raises(InputError, match="no model 'pretrained'"):
        damaged.get("pretrained")
    assert damaged.get("assistant").style == "alpaca"
    assert damaged.get("base").style == "phi3"  # that of params.yaml
    damaged.close()


def test_a_model_that_is_mended_is_there_without_a_restart(damaged: Shelf, shelf: Shelf) -> None:
    assert refused(damaged, "preferred").status == 503
    shutil.copytree(shelf.root / "models", damaged.root / "models", dirs_exist_ok=True)
    assert damaged.get("preferred").name == "preferred"
    damaged.close()


def test_loading_one_model_holds_up_no_other(damaged: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    begun, go_on, load = threading.Event(), threading.Event(), module.load
    loads = []

    def slow(folder: Path) -> object:
        if folder.parent.name != "bases":
            return load(folder)
        loads.append(folder)
        begun.set()
        assert go_on.wait(20)
        return load(folder)

    monkeypatch.setattr(module, "load", slow)

    async def both() -> None:
        waiting = [asyncio.ensure_future(damaged.find("base")) for _ in range(2)]
        assert await asyncio.to_thread(begun.wait, 20)
        assert (await asyncio.wait_for(damaged.find("assistant"), 10)).name == "assistant"
        go_on.set()
        first, second = await asyncio.gather(*waiting)
        assert first is second

    asyncio.run(both())
    assert len(loads) == 1
    damaged.close()


def test_a_model_that_is_loaded_amid_the_end_does_not_hinder_it(
    damaged: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    close = Engine.close

    def load_meanwhile(engine: Engine) -> None:
        damaged.get("assistant")
        close(engine)

    monkeypatch.setattr(Engine, "close", load_meanwhile)
    damaged.get("base")
    damaged.close()
    monkeypatch.undo()
    damaged.close()
