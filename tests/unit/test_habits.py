"""The files that other tools read (CI, pre-commit, editors, containers), the changelog, the drawing of the floors."""

from __future__ import annotations

import configparser
import json
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
CI = ".github/workflows/ci.yml"
PRE_COMMIT = ".pre-commit-config.yaml"
CONTAINER = ".devcontainer/devcontainer.json"
EDITOR = ".editorconfig"
SECTIONS = ("Added", "Changed", "Deprecated", "Removed", "Fixed", "Security")


def read_yaml(path: str) -> Any:
    return YAML(typ="safe", pure=True).load(ROOT / path)


def commands(job: dict[str, Any]) -> list[str]:
    return [step["run"] for step in job["steps"] if "run" in step]


def test_ci_runs_what_a_change_must_pass() -> None:
    (job,) = (job for job in read_yaml(CI)["jobs"].values() if "strategy" not in job)
    assert commands(job) == ["bash .ci/run"]
    assert (ROOT / ".ci/run").is_file()


def test_ci_tests_every_python_from_the_oldest_that_is_allowed() -> None:
    (job,) = (job for job in read_yaml(CI)["jobs"].values() if "strategy" in job)
    assert commands(job) == ["make test"]
    versions = [tuple(map(int, version.split("."))) for version in job["strategy"]["matrix"]["python"]]
    oldest = PROJECT["project"]["requires-python"].removeprefix(">=")
    assert versions == [(3, minor) for minor in range(int(oldest.split(".")[1]), 14)]
    setups = [step["with"]["python-version"] for step in job["steps"] if "setup-python" in step.get("uses", "")]
    assert setups == ["${{ matrix.python }}"]


def test_pre_commit_runs_the_linters_of_make_lint() -> None:
    (repository,) = read_yaml(PRE_COMMIT)["repos"]
    assert repository["repo"] == "local"
    recipe = (ROOT / "Makefile").read_text(encoding="utf-8")
    entries = [hook["entry"].removeprefix(".venv/bin/") for hook in repository["hooks"]]
    assert [hook["id"] for hook in repository["hooks"]] == ["ruff-check", "ruff-format", "import-linter"]
    assert [entry for entry in entries if entry not in recipe] == []


def test_the_container_makes_the_environment_and_has_it_on_path() -> None:
    container = json.loads((ROOT / CONTAINER).read_text(encoding="utf-8"))
    assert container["postCreateCommand"] == "make setup"
    assert ".venv/bin:" in container["remoteEnv"]["PATH"]


def test_editors_get_the_line_length_of_ruff() -> None:
    parser = configparser.ConfigParser()
    parser.read_string("[top]\n" + (ROOT / EDITOR).read_text(encoding="utf-8"))
    assert parser["top"]["root"] == "true"
    assert parser["*"]["max_line_length"] == str(PROJECT["tool"]["ruff"]["line-length"])


@pytest.mark.parametrize("path", [CI, PRE_COMMIT, CONTAINER, EDITOR, "constraints.txt", "pyproject.toml", ".ci/run"])
def test_no_file_names_a_host_of_packages(path: str) -> None:
    text = (ROOT / path).read_text(encoding="utf-8")
    assert re.findall(r"https?://|index-url\s|pypi|\bmcr\.", text) == []


def test_the_changelog_has_the_version_of_pyproject_and_known_sections() -> None:
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    releases = re.findall(r"^## \[(.+?)\](.*)$", text, re.MULTILINE)
    assert releases[0] == ("Unreleased", "")
    assert releases[1][0] == PROJECT["project"]["version"]
    assert all(re.fullmatch(r" - \d{4}-\d\d-\d\d", date) for _, date in releases[1:])
    assert set(re.findall(r"^### (.*)$", text, re.MULTILINE)) <= set(SECTIONS)


def test_contributing_draws_the_floors_that_the_linter_checks() -> None:
    (contract,) = (one for one in PROJECT["tool"]["importlinter"]["contracts"] if one["type"] == "layers")
    floors = [sorted(layer.split(" | ")) for layer in contract["layers"]]
    drawn: dict[int, list[str]] = {}
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    for number, packages in re.findall(r"^\| (\d+) \| (.*?) \|", text, re.MULTILINE):
        drawn.setdefault(int(number), []).extend(re.findall(r"`(\w+)", packages))
    assert [sorted(drawn[number]) for number in sorted(drawn, reverse=True)] == floors
