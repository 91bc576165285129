"""What README.md shows is what there is: the graph of the stages, and commands that exist."""

import re
import shlex
import shutil
import tempfile
from pathlib import Path

import pytest
import typer
from dvc.cli import DvcParserError
from dvc.cli.parser import get_main_parser
from dvc.utils.hydra import apply_overrides
from dvc_deps import ROOT, leaf_keys, read_yaml
from project import copy_project

from scratchlm.cli import cli
from scratchlm.errors import InputError
from scratchlm.params.file import load_params

README = ROOT / "README.md"
UsageError = typer.BadParameter.__bases__[0]  # click's own, or that of typer's copy of click
COMMAND_BLOCKS = ("sh", "bash", "console")
SEPARATORS = {"&&", "||", ";", "|", "&", ">", ">>", "<", "(", ")"}
LEAVES = leaf_keys(read_yaml(ROOT / "params.yaml"))
TARGETS = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)

# What a reader must find.
SHOWN = [
    "make repro",
    "make test",
    "make profile",
    "dvc repro",
    "dvc exp run",
    "dvc queue start",
    "dvc metrics diff",
    "dvc params diff",
    "dvc plots diff",
    "scratchlm complete",
    "scratchlm classify",
    "scratchlm ask",
]


def code_blocks(languages: tuple[str, ...]) -> list[str]:
    text = README.read_text(encoding="utf-8") if README.is_file() else ""
    found = re.findall(r"^```(\w*)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    return [block for language, block in found if language in languages]


def commands() -> list[list[str]]:
    """List the dvc, make and scratchlm commands of the shell blocks, as words without variables before them.

    In a block with prompts (`$ `) the other lines are output.
    """
    found = []
    for block in code_blocks(COMMAND_BLOCKS):
        lines = block.replace("\\\n", " ").splitlines()
        prompted = [line.removeprefix("$ ") for line in lines if line.startswith("$ ")]
        for line in prompted or lines:
            lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
            lexer.whitespace_split = True
            command: list[str] = []
            for word in [*lexer, ";"]:
                if word in SEPARATORS:
                    if command and Path(command[0]).name in ("dvc", "make", "scratchlm"):
                        found.append([Path(command[0]).name, *command[1:]])
                    command = []
                elif command or not re.match(r"\w+=", word):
                    command.append(word)
    return found


COMMANDS = commands()


def edges(mermaid: str) -> set[tuple[str, str]]:
    names = dict(re.findall(r"(\w+)\[\"?([^\"\]]+)\"?\]", mermaid))
    arrows = re.findall(r"(\w+)(?:\[[^\]]*\])?\s*-->\s*(\w+)", mermaid)
    return {(names.get(start, start), names.get(end, end)) for start, end in arrows}


def test_the_graph_is_dvcs(tmp_path: Path) -> None:
    graph = copy_project(tmp_path / "project").dvc("dag", "--mermaid").stdout
    assert len(edges(graph)) >= 10
    drawn = [edges(block) for block in code_blocks(("mermaid",))]
    assert drawn == [edges(graph)], f"README.md should hold this block:\n```mermaid\n{graph.strip()}\n```"


@pytest.mark.parametrize("beginning", SHOWN)
def test_the_readme_shows_how(beginning: str) -> None:
    assert any(shlex.join(command).startswith(beginning) for command in COMMANDS)


@pytest.mark.parametrize("command", COMMANDS, ids=shlex.join)
def test_a_command_in_the_readme_exists(command: list[str]) -> None:
    assert mistake_in(command) == ""


@pytest.mark.parametrize(
    ("command", "mistake"),
    [
        ("make rebuild", "no target rebuild"),
        ("make profile P=huge", "no profile huge"),
        ("dvc exp rnu", "DVC does not know it"),
        ("dvc metrics diff --no-such-option", "DVC does not know it"),
        ("dvc exp run -S pretrain.learning_rat=1", "params.yaml has no pretrain.learning_rat"),
        ("dvc exp run -S judge.judges=[llama3]", "has 1 problem:\n  - judge.judges: got ['llama3']"),
        ("scratchlm chat Hello", "No such command 'chat'."),
        ("scratchlm ask Hello --temprature 1", "No such option: --temprature"),
    ],
)
def test_a_mistake_in_a_command_is_found(command: str, mistake: str) -> None:
    assert mistake_in(command.split()).startswith(mistake)


def mistake_in(command: list[str]) -> str:
    """Say what is wrong with a command, "" if nothing is; it is read, not run."""
    name, *arguments = command
    if name == "make":
        return mistake_in_make(arguments)
    return mistake_in_dvc(arguments) if name == "dvc" else mistake_in_scratchlm(arguments)


def mistake_in_make(arguments: list[str]) -> str:
    for word in arguments:
        if word.startswith("P=") and not (ROOT / "profiles" / f"{word[2:]}.yaml").is_file():
            return f"no profile {word[2:]}"
        if "=" not in word and word not in TARGETS:
            return f"no target {word}"
    return ""


def mistake_in_dvc(arguments: list[str]) -> str:
    try:
        parsed = vars(get_main_parser().parse_args(arguments))
    except DvcParserError:
        return "DVC does not know it"
    for change in parsed.get("set_param") or []:
        key = change.split("=")[0].lstrip("+~")
        if key not in LEAVES:
            return f"params.yaml has no {key}"
    return mistake_in_values(parsed.get("set_param") or [])


def mistake_in_values(changes: list[str]) -> str:
    """Make the changes in a copy of params.yaml as `dvc exp run -S` does, and have it checked."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(shutil.copy(ROOT / "params.yaml", folder))
        apply_overrides(path, changes)
        try:
            load_params(path)
        except InputError as error:
            return str(error).removeprefix(str(path)).strip()
    return ""


def mistake_in_scratchlm(arguments: list[str]) -> str:
    group = typer.main.get_command(cli)
    try:
        with group.make_context("scratchlm", list(arguments)) as context:
            name, command, rest = group.resolve_command(context, list(arguments))
            command.make_context(name, rest, parent=context)
    except UsageError as error:
        return error.format_message()
    return ""
