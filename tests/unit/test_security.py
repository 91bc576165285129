"""SECURITY.md's promises, checked in the source and with hostile names."""

from __future__ import annotations

import ast
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from http_fault_server import FaultServer, serve
from ruamel.yaml import YAML

from scratchlm.assistant.sources import collect_entries
from scratchlm.classifier.sources import collect_messages
from scratchlm.corpus.collect import collect_corpus
from scratchlm.errors import InputError
from scratchlm.params.file import check_params

REPOSITORY = Path(__file__).parents[2]
MESSAGES = b"".join(b"ham\thello %d\nspam\twin %d\n" % (number, number) for number in range(3))
INPUTS = Path("inputs")
PROGRAMS = sorted(path for folder in ("src", "stages") for path in (REPOSITORY / folder).rglob("*.py"))
PICKLES = {
    *("pickle", "cPickle", "_pickle", "dill", "cloudpickle", "joblib", "shelve", "marshal", "read_pickle"),
    *("torch.load", "allow_pickle", "unsafe_load", "full_load"),
}
SERVERS = {"bind", "serve_forever", "start_server", "create_server", "http.server", "socketserver", "uvicorn"}
# What listens, and with what; tests/unit/serving and tests/unit/stage/test_launch.py say where and to whom.
LISTEN = {
    REPOSITORY / "src/scratchlm/serving/server.py": {"bind", "uvicorn"},
    REPOSITORY / "src/scratchlm/stage/rendezvous.py": {"create_server"},
}


def names_in(source: str) -> Iterator[str]:
    """Yield the names that a program imports, reads as attributes or calls: modules, `torch.load` and keywords."""
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Import(names=names):
                yield from (part for alias in names for part in (alias.name, alias.name.partition(".")[0]))
            case ast.ImportFrom(module=module, names=names):
                yield from (module or "", *(alias.name for alias in names))
                yield from (f"{module}.{alias.name}" for alias in names)
            case ast.Attribute(value=ast.Name(id=owner), attr=name):
                yield from (name, f"{owner}.{name}")
            case ast.Attribute(attr=name):
                yield name
            case ast.keyword(arg=str(name)):
                yield name


@pytest.mark.parametrize("path", PROGRAMS, ids=lambda path: str(path.relative_to(REPOSITORY)))
def test_no_program_reads_a_pickle_or_listens(path: Path) -> None:
    found = set(names_in(path.read_text(encoding="utf-8")))
    assert found & PICKLES == set()
    assert found & SERVERS == LISTEN.get(path, set())


def test_the_tests_listen_on_127_0_0_1_alone() -> None:
    places = []
    for path in sorted((REPOSITORY / "tests").rglob("*.py")):
        found = re.findall(r"(?:bind|Server)\(\(([^,]*),", path.read_text(encoding="utf-8"))
        places += [place for place in found if path != Path(__file__)]
    assert places and set(places) == {'"127.0.0.1"'}


# --- names that lead out of the project ---------------------------------------------------------------------


@pytest.fixture
def server() -> Iterator[FaultServer]:
    with FaultServer() as running:
        yield running


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project's folder; nothing beside it may appear or change."""
    for name in ("SCRATCHLM_MIRROR", "DVC_ROOT"):
        monkeypatch.delenv(name, raising=False)
    folder = tmp_path / "clone" / "project"
    folder.mkdir(parents=True)
    (tmp_path / "clone" / "outside").mkdir()
    (tmp_path / "clone" / "outside" / "mine.txt").write_text("mine")
    monkeypatch.setenv("SCRATCHLM_CACHE", str(tmp_path / "cache"))
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    monkeypatch.chdir(folder)
    return folder


def assert_untouched_beside(project: Path) -> None:
    assert sorted(path.name for path in project.parent.iterdir()) == ["outside", "project"]
    assert [path.read_text() for path in (project.parent / "outside").iterdir()] == ["mine"]
    assert list((project.parents[1] / "temporary").iterdir()) == []
    assert {path.name for path in project.parents[1].iterdir()} <= {"clone", "cache", "temporary"}


@pytest.mark.parametrize(
    "name",
    ["%2e%2e", "a%2f..%2f..%2fevil.txt", "%2fetc%2fevil.txt", "..%5cevil.txt", "a%00b.txt", "x" * 300 + ".txt", ""],
)
def test_a_url_names_no_file_outside(project: Path, server: FaultServer, name: str) -> None:
    url = f"{server.url}/{name}"
    entry = b'[{"instruction": "a", "input": "", "output": "b"}]'
    server.plan("*", serve(b"the text"), serve(entry), serve(MESSAGES))
    collect_corpus([url], Path("data/corpus"), INPUTS)
    assert [path.read_text() for path in Path("data/corpus").iterdir()] == ["the text"]
    assert len(collect_entries(url, INPUTS)) == 1
    assert len(collect_messages(url, INPUTS)) == 6
    assert_untouched_beside(project)


@pytest.mark.parametrize("name", ["..", "...txt", "-rf.txt", "a\nb.txt", " .txt", "\\..\\evil.txt"])
def test_a_file_of_the_users_names_no_file_outside(project: Path, name: str) -> None:
    folder = project / "own"
    folder.mkdir()
    (folder / f"{name}.txt").write_text("the text")
    (folder / "sub.txt").mkdir()
    collect_corpus(["own"], project / "data" / "corpus", INPUTS)
    (copied,) = (project / "data" / "corpus").iterdir()
    assert copied.read_text() == "the text"
    assert_untouched_beside(project)


def test_a_link_where_a_stage_writes_is_not_followed(project: Path) -> None:
    (project / "own.txt").write_text("the text")
    (project / "data").mkdir()
    (project / "data" / "corpus").symlink_to("../../outside")
    collect_corpus(["own.txt"], Path("data/corpus"), INPUTS)
    assert not Path("data/corpus").is_symlink() and len(list(Path("data/corpus").iterdir())) == 1
    assert_untouched_beside(project)


def test_a_hostile_zip_writes_nothing(project: Path) -> None:
    with zipfile.ZipFile(project / "own.zip", "w") as archive:
        for name in ("../outside/evil", "/etc/evil", "SMSSpamCollection/../../evil", "SMSSpamCollection/"):
            archive.writestr(name, "ham\thello\nspam\twin\n")
    with pytest.raises(InputError, match="member SMSSpamCollection: not there"):
        collect_messages("own.zip", INPUTS)
    assert_untouched_beside(project)


@pytest.mark.parametrize(
    "change",
    [
        {"weights": {"bases": ["../../outside"]}},
        {"finetune_classifier": {"base": "../../outside"}},
        {"finetune_instructions": {"base": "/outside"}},
    ],
)
def test_no_parameter_names_a_model_folder(change: dict[str, dict[str, Any]]) -> None:
    params = YAML(typ="safe", pure=True).load(REPOSITORY / "profiles" / "sample.yaml")
    (section,) = change
    params[section] |= change[section]
    with pytest.raises(InputError, match=r"allowed: 'pretrained', '124M', .* or 'smollm2-135M-base'"):
        check_params(params)
