"""Update what README.md and docs/ show of a real run: the output in their console blocks, and the pictures.

`make docs` does this after `make repro`; `python scripts/pages.py FILE...` updates single pages. Pages are Markdown. In
a console block with this comment above it, the commands (`$ ...`) are run one by one and get their output:

    <!-- printed by `make docs`, after
    COMMANDS THAT THE PAGE DOES NOT SHOW
    -->

", after ..." is optional; "`make docs`, fails" marks a block whose last command must end with an error. Each page gets
its own copy of the project, with the results of the last run committed on the branch main. A mermaid block gets DVC's
graph of the stages.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

from chromium import missing_programs
from dvc_deps import ROOT, read_yaml, working_tree
from pictures import SOURCES, draw_results
from screenshots import SERVED, take_screenshots

PROFILE = "profiles/sample.yaml"
RESULTS = "docs/results.png"
ATTENTION = {"data/plots/attention.png": "docs/attention.png"}
COLUMNS = "80"

BLOCK = re.compile(
    r"^<!-- printed by `make docs`(?P<fails>, fails)?(?:, after\n(?P<before>.*?))? ?-->\n"
    r"```console\n(?P<shown>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)
# Of the long output of a command that begins like this, only matching lines are shown; "..." replaces the others.
KEPT = {
    "dvc repro --force --single-item benchmark_models": r"^Running stage|accuracy in|\d\.\d",
    "dvc exp run -": r"^Running stage|is cached|^test accuracy|^Queue|^Ran experiment|^Experiment results",
    "dvc repro": r"^Running stage|^[\d,]+ messages|up to date",
}
GRAPH = re.compile(r"(?<=^```mermaid\n).*?(?=^```$)", re.MULTILINE | re.DOTALL)
# Differs from run to run although nothing changed: hashes of experiments, and the time of a queued one.
NUMBER = re.compile(r"\b[0-9a-f]{7}(?=  (?P<task>\S+) +\d\d:\d\d [AP]M| \[(?P<experiment>\S+)\])")
TIME = re.compile(r"\b\d\d:\d\d [AP]M\b")
MAKES_OWN = re.compile(
    r"^make: \*\*\* .*\n", re.MULTILINE
)  # the last line of every error; it has a line number of the Makefile
# These variables must not reach the commands, or they change the output.
LEFT_OUT = ("DVC", "GIT_", "SCRATCHLM_", "OMP_NUM_THREADS", "PYTHONPATH", "MAKE", "MFLAGS")


def rewritten(page: str, project: Path, environment: Mapping[str, str]) -> str:
    """Return a page whose marked console blocks show what their commands print in a project.

    Raises RuntimeError if a command fails and should not, or should fail and does not.
    """

    def block(match: re.Match[str]) -> str:
        if match["before"]:
            run(match["before"], project, environment)
        commands = [line.removeprefix("$ ") for line in match["shown"].splitlines() if line.startswith("$ ")]
        shown = []
        for command in commands:
            fails = bool(match["fails"]) and command == commands[-1]
            output = run(command, project, environment, fails)
            shown.append(f"$ {command}\n{shortened(command, settled(output, project))}")
        head = match[0].partition("```console\n")[0]
        return f"{head}```console\n{''.join(shown)}```"

    return BLOCK.sub(block, page)


def run(command: str, project: Path, environment: Mapping[str, str], fails: bool = False) -> str:
    """Run shell commands in a project and return what they print; raise RuntimeError unless they end as expected."""
    # The environment exists already: make must not set one up.
    script = f'make() {{ command make --old-file=setup --no-print-directory "$@"; }}\n{command}'
    with tempfile.TemporaryFile() as output:  # not a pipe: DVC's queue worker would keep it open
        done = subprocess.run(
            ["bash", "-e", "-c", script],
            cwd=project,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
        output.seek(0)
        printed = output.read().decode()
    if (done.returncode != 0) != fails:
        wanted = "a failure" if fails else "0"
        raise RuntimeError(f"$ {command}\n{printed}pages: error: exit code {done.returncode}, expected {wanted}")
    return printed


def settled(output: str, project: Path) -> str:
    """Replace what differs from run to run: the temporary folder, hashes of experiments, times."""
    output = MAKES_OWN.sub("", output.replace(str(project), "/..."))
    return TIME.sub("10:30 AM", NUMBER.sub(lambda match: number_of(match["task"] or match["experiment"]), output))


def number_of(name: str) -> str:
    """Return seven hexadecimal digits that depend only on the name of an experiment."""
    return hashlib.md5(name.encode()).hexdigest()[:7]


def shortened(command: str, output: str) -> str:
    """Keep the lines that `KEPT` names for a command, with one line "..." for those between; else keep all."""
    kept = next((pattern for beginning, pattern in KEPT.items() if command.startswith(beginning)), "")
    lines: list[str] = []
    for line in output.splitlines():
        if re.search(kept, line):
            lines.append(line.rstrip())
        elif lines[-1:] != ["..."]:
            lines.append("...")
    return "".join(f"{line}\n" for line in lines)


def finished_project(folder: Path, environment: Mapping[str, str]) -> None:
    """Copy the working tree and the results of its last run to a new project, all committed on the branch main."""
    for path in working_tree(ROOT):
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / path, folder / path)
    cache = run("dvc cache dir", ROOT, environment).strip()
    (folder / ".venv").mkdir()
    (folder / ".venv/activate-here").touch()  # make's recipes source it
    commands = f"""
        git init --quiet --initial-branch=main
        git config user.name Docs
        git config user.email docs@localhost
        dvc remote add --local --default last-run '{cache}'
        dvc pull
        dvc remote remove --local last-run
    """
    try:
        run(commands, folder, environment)
    except RuntimeError as error:
        sys.exit(f"{error}\npages: error: DVC's cache lacks results of the last run: run `make repro` first")
    status = run("dvc status", folder, environment)
    if "up to date" not in status:
        sys.exit(f"{status}pages: error: the last run is not of this code, data or params: run `make repro` first")
    # DVC's run cache must know the results too, so that going back to them is free, as it is for a user.
    run("dvc commit --force\ngit add --all\ngit commit --quiet --message 'My baseline'", folder, environment)


def environment_in(folder: Path) -> dict[str, str]:
    """Return the variables for commands in the projects of a folder: this Python first, no settings of the user."""
    inherited = {key: value for key, value in os.environ.items() if not key.startswith(LEFT_OUT)}
    return {
        **inherited,
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": "src",
        "COLUMNS": COLUMNS,
        "TQDM_DISABLE": "1",
        "SCRATCHLM_DEVICE": "cpu",
        "SCRATCHLM_CACHE": str(folder / "cache"),
        "GIT_CONFIG_GLOBAL": os.devnull,
        "DVC_GLOBAL_CONFIG_DIR": str(folder / "dvc-global"),
        "DVC_SYSTEM_CONFIG_DIR": str(folder / "dvc-system"),
        "DVC_SITE_CACHE_DIR": str(folder / "dvc-site"),
    }


def hashes(paths: tuple[str, ...]) -> str:
    """Return a line "hash path" from dvc.lock for each out: the sources of a picture."""
    stages = read_yaml(ROOT / "dvc.lock")["stages"].values()
    known = {out["path"]: out["md5"] for stage in stages for out in stage.get("outs", [])}
    return "\n".join(f"{known[path]} {path}" for path in paths)


def main() -> None:
    """Rewrite the given pages, or all pages and the pictures."""
    if (ROOT / "params.yaml").read_bytes() != (ROOT / PROFILE).read_bytes():
        sys.exit(f"pages: error: params.yaml is not {PROFILE}, whose results the docs show: `make profile P=sample`")
    named = [Path(name).resolve() for name in sys.argv[1:]]
    with tempfile.TemporaryDirectory(prefix="scratchlm-docs-") as temporary:
        folder = Path(temporary)
        environment = environment_in(folder)
        finished = folder / "finished"
        finished_project(finished, environment)
        for page in named or [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]:
            print(f"pages: {page.name}", flush=True)
            project = shutil.copytree(finished, folder / page.stem / "scratchlm", symlinks=True)
            text = page.read_text(encoding="utf-8")
            text = GRAPH.sub(lambda _: run("dvc dag --mermaid", finished, environment).expandtabs(4), text)
            page.write_text(rewritten(text, project, environment), encoding="utf-8")
        if not named:
            print("pages: pictures", flush=True)
            draw_results(ROOT / RESULTS, finished, hashes(SOURCES))
            for source, picture in ATTENTION.items():
                shutil.copyfile(finished / source, ROOT / picture)
            if reason := missing_programs():
                print(f"pages: {reason}: the pictures of the page stay as they are", flush=True)
            else:
                take_screenshots(ROOT, finished, hashes(SERVED))


if __name__ == "__main__":
    try:
        main()
    except RuntimeError as error:
        sys.exit(str(error))
