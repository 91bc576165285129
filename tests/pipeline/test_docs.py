"""What the pages show is true: the graph, commands, keys, files, links, output, figures and pictures."""

import hashlib
import json
import re
import shlex
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from dvc.cli import DvcParserError
from dvc.cli.parser import get_main_parser
from dvc.utils.hydra import apply_overrides
from dvc_deps import ROOT, leaf_keys, read_yaml, working_tree
from pages import ATTENTION, BLOCK, RESULTS, hashes
from pictures import SOURCES
from PIL import Image
from project import Project, copy_project
from screenshots import SCREENSHOTS, SERVED

from scratchlm.classifier.baseline import COMPARED
from scratchlm.cli import cli
from scratchlm.errors import InputError
from scratchlm.experiments.results import Result
from scratchlm.experiments.sets import load_set, set_names
from scratchlm.experiments.table import as_markdown
from scratchlm.params.file import load_params

PAGES = [path for path in working_tree(ROOT) if path.suffix == ".md"]
TEXTS = {str(page): (ROOT / page).read_text(encoding="utf-8") for page in PAGES}
README = TEXTS["README.md"]
UsageError = typer.BadParameter.__bases__[0]  # click's own, or that of typer's copy of click
COMMAND_BLOCKS = ("sh", "console")
PROGRAMS = ("dvc", "make", "scratchlm", "python")
SEPARATORS = {"&&", "||", ";", "|", "&", ">", ">>", "<", "(", ")"}
PARAMS = read_yaml(ROOT / "params.yaml")
LEAVES = leaf_keys(PARAMS)
STAGES = read_yaml(ROOT / "dvc.yaml")["stages"]
TARGETS = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
METRICS: dict[str, dict[str, Any]] = {
    path.stem: json.loads(path.read_text(encoding="utf-8")) for path in (ROOT / "metrics").glob("*.json")
}

# Commands that the pages must show.
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
    "scratchlm shapes",
    "scratchlm tokenize",
    "scratchlm next",
    "scratchlm compare",
    "scratchlm table",
    "scratchlm report",
    "scratchlm serve",
    "make sweep",
]


def code_blocks(text: str) -> list[tuple[str, str]]:
    """List a page's fenced blocks: language and content."""
    return re.findall(r"^```(\w*)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def code_spans(text: str) -> list[str]:
    """List what stands between backquotes in a page's prose and tables."""
    prose = re.sub(r"^```.*?^```$|<!--.*?-->", "", text, flags=re.MULTILINE | re.DOTALL)
    return [" ".join(span.split()) for span in re.findall(r"`([^`]+)`", prose)]


def commands_in(line: str) -> Iterator[list[str]]:
    """Yield a shell line's commands of the project, as words without variables before them."""
    lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
    lexer.whitespace_split = True
    command: list[str] = []
    for word in [*lexer, ";"]:
        if word in SEPARATORS:
            if command and Path(command[0]).name in PROGRAMS:
                yield [Path(command[0]).name, *command[1:]]
            command = []
        elif command or not re.match(r"\w+=", word):
            command.append(word)


def commands() -> list[tuple[str, list[str]]]:
    """List page and command for all shell blocks and for commands in the prose.

    In a block with prompts (`$ `) the other lines are output.
    """
    found = []
    for page, text in TEXTS.items():
        lines = [span for span in code_spans(text) if span.split()[0] in PROGRAMS and " " in span]
        for language, block in code_blocks(text):
            if language in COMMAND_BLOCKS:
                shell = block.replace("\\\n", " ").splitlines()
                lines += [line.removeprefix("$ ") for line in shell if line.startswith("$ ")] or shell
        found += [(page, command) for line in lines for command in commands_in(line)]
    return found


COMMANDS = commands()


def edges(mermaid: str) -> set[tuple[str, str]]:
    names = dict(re.findall(r"(\w+)\[\"?([^\"\]]+)\"?\]", mermaid))
    arrows = re.findall(r"(\w+)(?:\[[^\]]*\])?\s*-->\s*(\w+)", mermaid)
    return {(names.get(start, start), names.get(end, end)) for start, end in arrows}


def test_the_graph_is_dvcs(tmp_path: Path) -> None:
    graph = copy_project(tmp_path / "project").dvc("dag", "--mermaid").stdout
    assert len(edges(graph)) >= 10
    drawn = [edges(block) for language, block in code_blocks(TEXTS["docs/experiments.md"]) if language == "mermaid"]
    assert drawn == [edges(graph)], f"run `make docs`, or put this into the page:\n```mermaid\n{graph.strip()}\n```"


# --- commands -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("beginning", SHOWN)
def test_the_pages_show_how(beginning: str) -> None:
    assert any(shlex.join(command).startswith(beginning) for _, command in COMMANDS)


@pytest.mark.parametrize(
    ("page", "command"), COMMANDS, ids=[f"{page}-{shlex.join(command)}" for page, command in COMMANDS]
)
def test_a_command_in_a_page_exists(page: str, command: list[str]) -> None:
    # Prose may name a command without its arguments.
    left_out = range(3) if " ".join(command) in code_spans(TEXTS[page]) else range(1)
    if command[0] == "python" and f"cat > {command[1]} <<" in TEXTS[page]:
        return  # the page writes that program itself
    assert "" in [mistake_in([*command, *["NAME"] * n]) for n in left_out], mistake_in(command)


@pytest.mark.parametrize(
    ("command", "mistake"),
    [
        ("make rebuild", "no target rebuild"),
        ("make profile P=huge", "no profile huge"),
        ("make sweep E=sedes", "no set sedes"),
        ("dvc exp rnu", "DVC does not know it"),
        ("dvc metrics diff --no-such-option", "DVC does not know it"),
        ("dvc exp run -S pretrain.learning_rat=1", "params.yaml has no pretrain.learning_rat"),
        ("dvc exp run -S judge.judges=[llama3]", "has 1 problem:\n  - judge.judges: got ['llama3']"),
        ("dvc repro download_gpt2", "no stage download_gpt2"),
        ("scratchlm chat Hello", "No such command 'chat'."),
        ("scratchlm ask Hello --temprature 1", "No such option: --temprature"),
        ("python scripts/missing.py", "no file scripts/missing.py"),
    ],
)
def test_a_mistake_in_a_command_is_found(command: str, mistake: str) -> None:
    assert mistake_in(command.split()).startswith(mistake)


def mistake_in(command: list[str]) -> str:
    """Return what is wrong with a command, "" if nothing is; the command is not run."""
    name, *arguments = command
    if name == "make":
        return mistake_in_make(arguments)
    if name == "python":
        missing = [word for word in arguments if word.endswith(".py") and not (ROOT / word).is_file()]
        return f"no file {missing[0]}" if missing else ""
    return mistake_in_dvc(arguments) if name == "dvc" else mistake_in_scratchlm(arguments)


def mistake_in_make(arguments: list[str]) -> str:
    for word in arguments:
        if word.startswith("P=") and not (ROOT / "profiles" / f"{word[2:]}.yaml").is_file():
            return f"no profile {word[2:]}"
        if word.startswith("E=") and word[2:] not in (*set_names(ROOT), "NAME"):
            return f"no set {word[2:]}"
        if "=" not in word and word not in TARGETS:
            return f"no target {word}"
    return ""


def mistake_in_dvc(arguments: list[str]) -> str:
    try:
        parsed = vars(get_main_parser().parse_args(arguments))
    except DvcParserError:
        return "DVC does not know it"
    if parsed["cmd"] == "repro" and (unknown := set(parsed["targets"] or []) - {*STAGES, "STAGE"}):
        return f"no stage {unknown.pop()}"
    changes = [change for change in parsed.get("set_param") or [] if change != "KEY=VALUE"]
    for change in changes:
        key = change.split("=")[0].lstrip("+~")
        if key not in LEAVES:
            return f"params.yaml has no {key}"
    return mistake_in_values(changes)


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


# --- names: keys of params.yaml, files, variables, links ----------------------------------------------------


FILES = ("model.safetensors", "benchmark.json", "tokenizer.json")  # which look like keys


@pytest.mark.parametrize("page", TEXTS)
def test_a_key_in_a_page_is_one_of_params_yaml(page: str) -> None:
    unknown = []
    for span in code_spans(TEXTS[page]):
        if match := re.fullmatch(r"(\w+|\*)\.(\w+|\*)(: .*)?", span):
            section, key = match[1], match[2]
            if isinstance(PARAMS.get(section), dict) and f"{section}.{key}" not in FILES:
                known = key == "*" or f"{section}.{key}" in LEAVES
            else:
                known = section != "*" or any(leaf.endswith(f".{key}") for leaf in LEAVES)
            unknown += [] if known else [span]
    # The changelog has old names too.
    assert set(unknown) <= ({"gpt2.sizes"} if page == "CHANGELOG.md" else set())


# Names in pages that no clone has: files of tools or users, and downloads.
NOT_IN_A_CLONE = {
    "logs/",
    *(".checkpoints/", ".dvc/config.local", "~/.cache/scratchlm", "~/.netrc", ".git/index.lock", "models/gpt2/"),
    *("stages/NAME.py", "inputs/messages/mine.csv", "inputs/benchmarks/mine.jsonl", "data/votes.jsonl"),
}
PATH = re.compile(r"[\w.~*-]*(/[\w.*-]*)+|[\w-]+\.(py|md|yaml|toml|lock)")


def outs() -> set[Path]:
    """List what the stages write, as dvc.yaml has it."""
    listed = [out for stage in STAGES.values() for out in [*stage.get("outs", []), *stage.get("metrics", [])]]
    return {Path(out if isinstance(out, str) else next(iter(out))) for out in listed}


def is_known(span: str, page: str) -> bool:
    """Return whether a path in a page is an existing file, folder or pattern of files, or an out of a stage."""
    places = (ROOT, (ROOT / page).parent, ROOT / "src/scratchlm")
    if span in NOT_IN_A_CLONE or any(True for place in places for _ in place.glob(span.rstrip("/"))):
        return True
    written = outs()
    above = {folder for out in written for folder in out.parents} - {Path()}
    return any(
        written.intersection((path, *path.parents)) or path in above or any(out.match(str(path)) for out in written)
        for path in (Path(span), Path(page).parent / span)
    )


@pytest.mark.parametrize("page", TEXTS)
def test_a_file_in_a_page_exists(page: str) -> None:
    named = [span for span in code_spans(TEXTS[page]) if PATH.fullmatch(span) and span.strip("./*")]
    assert [span for span in named if not is_known(span, page)] == []


@pytest.mark.parametrize("span", ["src/scratchlm/gpt.py", "tests/unit/test_training.py", "data/answers.json", "gpt.py"])
def test_a_missing_file_is_noticed(span: str) -> None:
    assert PATH.fullmatch(span)
    assert not is_known(span, "README.md")


def test_a_variable_in_a_page_is_read_by_the_project() -> None:
    programs = [path for path in working_tree(ROOT, "src", "stages", "tests") if path.suffix == ".py"]
    known = set(re.findall(r"SCRATCHLM_\w+", "".join((ROOT / path).read_text(encoding="utf-8") for path in programs)))
    named = set(re.findall(r"SCRATCHLM_\w+", "".join(TEXTS.values())))
    assert len(named) >= 5
    assert named <= known


def anchor(heading: str) -> str:
    """Return the anchor that a heading gets on GitHub."""
    return re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")


@pytest.mark.parametrize("page", TEXTS)
def test_a_link_leads_somewhere(page: str) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", TEXTS[page]):
        if target.startswith("https://"):
            continue
        path, _, wanted = target.partition("#")
        file = (ROOT / page).parent / path if path else ROOT / page
        assert file.exists(), f"{page}: {target}"
        if wanted:
            headings = re.findall(r"^#+ (.*)$", file.read_text(encoding="utf-8"), re.MULTILINE)
            assert wanted in map(anchor, headings), f"{page}: {target}"


def test_every_page_of_docs_can_be_found_from_the_readme() -> None:
    assert [page for page in TEXTS if page.startswith("docs/") and f"({page})" not in README] == []


def test_the_readme_is_short() -> None:
    assert len(README.splitlines()) <= 250


# --- blocks: every one is run by `make docs` or checked here ------------------------------------------------


@pytest.mark.parametrize("page", TEXTS)
def test_a_block_that_shows_output_is_printed_by_make_docs(page: str) -> None:
    printed = [match["shown"] for match in BLOCK.finditer(TEXTS[page])]
    for language, block in code_blocks(TEXTS[page]):
        assert language in ("sh", "console", "python", "yaml", "json", "mermaid"), block
        if language == "json":
            json.loads(block)
        if language == "console" and block not in printed:
            assert all(line.startswith("$ ") for line in block.splitlines()), f"no comment above:\n{block}"
    commands = [line for shown in printed for line in shown.splitlines() if line.startswith("$ ")]
    if printed:
        assert page == "README.md" or page.startswith("docs/"), "make docs does not read this page"
        assert len(commands) < sum(len(shown.splitlines()) for shown in printed), "run `make docs`"


def test_own_tables_fit_80_columns() -> None:
    blocks = [match["shown"] for text in TEXTS.values() for match in BLOCK.finditer(text)]
    ours = [block for block in blocks if not re.search(r"^\$ dvc (metrics|exp)", block, re.MULTILINE)]
    assert len(ours) >= 4
    long = [line for block in ours for line in block.splitlines() if len(line) > 80 and not line.startswith("$ ")]
    assert [line for line in long if re.search(r"\S   +\S", line)] == []


def test_the_python_of_the_pages_runs(project: Project) -> None:
    programs = [block for text in TEXTS.values() for language, block in code_blocks(text) if language == "python"]
    programs = [program for program in programs if "127.0.0.1" not in program]  # tests/unit/serving has a server
    assert programs
    for program in programs:
        here = "import sys; sys.path.insert(0, 'src')"
        assert project.run(sys.executable, "-c", f"{here}\n{program}").stdout.strip()


def test_the_yaml_of_the_pages_has_keys_of_params_yaml(tmp_path: Path) -> None:
    for text in TEXTS.values():
        for language, block in code_blocks(text):
            if language == "yaml":
                (tmp_path / "block.yaml").write_text(block, encoding="utf-8")
                found = read_yaml(tmp_path / "block.yaml")
                assert "experiments" in found or set(leaf_keys(found)) <= set(LEAVES), block


def test_a_set_of_experiments_in_a_page_is_valid(tmp_path: Path) -> None:
    blocks = [block for text in TEXTS.values() for language, block in code_blocks(text) if language == "yaml"]
    sets = [block for block in blocks if re.search("^experiments:", block, re.MULTILINE)]
    assert sets
    (tmp_path / "experiments").mkdir()
    for name in ("params.yaml", "dvc.yaml"):
        shutil.copy(ROOT / name, tmp_path)
    for number, block in enumerate(sets):
        (tmp_path / f"experiments/set_{number}.yaml").write_text(block, encoding="utf-8")
        _, runs = load_set(f"set_{number}", tmp_path)
        assert [run.problem for run in runs if run.problem] == []


TABLE = re.compile(r"^<!-- table (\w+) -->\n((?:\|.*\n)+)", re.MULTILINE)


@pytest.mark.parametrize("name", ["classifier_variants", "assistant_variants"])
def test_the_published_figures_stand_beside_empty_columns_and_beside_those_of_the_sample(name: str) -> None:
    experiments, _ = load_set(name, ROOT)
    printed = as_markdown(experiments, [Result(one) for one in experiments.experiments], missing="").splitlines()
    wanted = [cells(line) for line in printed if line.startswith("|")]
    empty, measured = (
        [cells(line) for line in table.splitlines()]
        for shown, table in TABLE.findall(TEXTS["docs/variants.md"])
        if shown == name
    )
    assert empty == wanted, f"take it from `scratchlm table {name} --format markdown`"
    known = 2 + len(experiments.published)  # label, params, published
    assert [row[:known] for row in measured] == [row[:known] for row in wanted]
    assert measured[0] == wanted[0]
    assert measured[2][known] != "-", "the baseline was not measured"
    for row in measured[2:]:
        assert all(
            re.fullmatch(r"-|baseline|[\d.,]+|[-+][\d.]+( \([-+][\d.]+, [-+][\d.]+\))?", cell) for cell in row[known:]
        )


@pytest.mark.parametrize("page", TEXTS)
def test_no_figure_is_left_open(page: str) -> None:
    assert not re.search(r"(?i)to be measured|[^\w.]- s\b", TEXTS[page])


def cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip("|").split("|")]


# --- figures and pictures are those of the last run ---------------------------------------------------------


def figures() -> dict[str, str]:
    """Return the figures of the sample profile in the README's table, by the beginning of the row."""
    tokens, pretrain = METRICS["tokenize_corpus"], METRICS["pretrain"]
    sms, classifier = METRICS["prepare_sms"], METRICS["finetune_classifier"]
    instructions, judged = METRICS["prepare_instructions"], METRICS["judge_responses"]
    answers = METRICS["generate_responses"]
    scores = {
        variant: "{mean:.2f} ({ci95_low:.2f} to {ci95_high:.2f})".format(**judged[variant])
        for variant in ("base", "assistant", "preferred")
    }
    return {
        "corpus": "{documents:,}, {characters:,}, {tokens:,}".format(**tokens),
        "`pretrain`": "{initial_validation_loss:.3f} → {validation_loss:.3f}".format(**pretrain),
        "the same loss of a bigram": "{bigram_validation_loss:.3f}".format(**pretrain),
        "messages": "{rows:,}, {kept:,}, {train:,}/{validation}/{test}".format(**sms),
        "classifier": "{test_accuracy:.2f} %".format(**classifier),
        "always the more frequent": "{majority_test_accuracy:.2f} %".format(**classifier),
        "the base model, asked": "{prompted_test_accuracy:.2f} %".format(**classifier),
        "TF-IDF": "{baseline_test_accuracy:.2f} %".format(**classifier),
        "instructions": "{train}/{validation}/{test}".format(**instructions),
        "base model": scores["base"],
        "assistant, mean": scores["assistant"],
        "preferred, mean": scores["preferred"],
        "answers that read like": "{preference_share:.1f} %, {preferred_preference_share:.1f} %".format(**answers),
        "the same where the answer is in train": "{mean:.2f}, {n} prompts".format(**judged["known_answers"]),
        "the same where it is not": "{mean:.2f}, {n} prompts".format(**judged["new_answers"]),
    }


@pytest.mark.parametrize("row", figures())
def test_a_figure_in_the_readme_is_that_of_the_last_run(row: str) -> None:
    table = README.partition("## What to expect")[2]
    cells = [line.split("|")[2].strip() for line in table.splitlines() if line.startswith(f"| {row}")]
    assert cells == [figures()[row]]


def test_the_prose_has_the_last_runs_figures_too() -> None:
    found = METRICS["prepare_instructions"]
    text = " ".join(README.split())
    assert "{test_answers_in_train} of the {test} test prompts".format(**found) in text


BASELINES = {name: key for key, name in COMPARED.items() if key != "test_accuracy"}  # what no experiment changes


def shown_figures() -> Iterator[tuple[str, str, float]]:
    """Yield metrics file, key and value for each figure of the committed run in a printed block."""
    for text in TEXTS.values():
        for match in BLOCK.finditer(text):
            for line in match["shown"].splitlines():
                if found := re.match(r"metrics/(\w+)\.json +(\S+) +(\S+) +\S+ +\S+$", line):
                    yield found[1], found[2], float(found[3])
                if found := re.match(r"(assistant|preferred), judged by ", line):
                    variant = found[1]
                if found := re.match(r"main +(\S+) +(\S+) to (\S+) +(\d+)$", line):
                    for key, value in zip(("mean", "ci95_low", "ci95_high", "n"), found.groups(), strict=True):
                        yield "judge_responses", f"{variant}.{key}", float(value)
                if found := re.match(rf"test accuracy of ({'|'.join(BASELINES)}) +(\S+) %", line):
                    yield "finetune_classifier", BASELINES[found[1]], float(found[2])


def test_the_figures_in_printed_blocks_are_those_of_the_last_run() -> None:
    shown = list(shown_figures())
    assert len(shown) >= 10
    for stage, key, value in shown:
        measured: Any = METRICS[stage]
        for part in key.split("."):
            measured = measured[part]
        assert value == measured or abs(value - measured) <= 0.005, f"{stage}: {key}: run `make docs`"


def test_the_pictures_are_those_of_the_last_run() -> None:
    for source, picture in ATTENTION.items():
        digest = hashlib.md5((ROOT / picture).read_bytes()).hexdigest()
        assert hashes((source,)) == f"{digest} {source}", "run `make docs`"
    described = {RESULTS: hashes(SOURCES)} | dict.fromkeys(SCREENSHOTS, hashes(SERVED))
    for picture, sources in described.items():
        assert Image.open(ROOT / picture).info["Description"] == sources, f"{picture}: run `make docs`"


def test_the_pictures_are_small() -> None:
    pictures = [path for path in working_tree(ROOT) if path.suffix == ".png"]
    assert {str(path) for path in pictures} == {RESULTS, *ATTENTION.values(), *SCREENSHOTS}
    assert sum((ROOT / path).stat().st_size for path in pictures) < 500_000
