"""Temporary copies of this project in which the real DVC runs."""

import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from dvc_deps import ROOT, working_tree
from ruamel.yaml import YAML

# Variables on which a run must not depend, or that would lead out of the copy.
LEFT_OUT = ("DVC", "GIT_", "SCRATCHLM_", "OMP_NUM_THREADS", "PYTHONPATH", "MAKE", "MFLAGS")


@dataclass(frozen=True)
class Project:
    """A copy of the project, under a folder of its own."""

    folder: Path

    @property
    def environment(self) -> dict[str, str]:
        inherited = {key: value for key, value in os.environ.items() if not key.startswith(LEFT_OUT)}
        return {
            **inherited,
            # The environment of this test run on PATH, as `make repro` has its own.
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "GIT_CONFIG_GLOBAL": os.devnull,
            "DVC_GLOBAL_CONFIG_DIR": str(self.folder.parent / "dvc-global"),
            "DVC_SYSTEM_CONFIG_DIR": str(self.folder.parent / "dvc-system"),
            "DVC_SITE_CACHE_DIR": str(self.folder.parent / "dvc-site"),
            "OMP_NUM_THREADS": "1",
            "SCRATCHLM_DEVICE": "cpu",
            "TQDM_DISABLE": "1",
        }

    def copy(self, folder: Path) -> "Project":
        """Copy everything, results and DVC's cache included."""
        shutil.copytree(self.folder, folder, symlinks=True)
        return Project(folder)

    def run(self, *command: str, fails: bool = False) -> subprocess.CompletedProcess[str]:
        """Run a command in the folder; assert that it succeeds, or that it fails where that is expected."""
        done = subprocess.run(command, cwd=self.folder, env=self.environment, capture_output=True, text=True)
        assert (done.returncode != 0) == fails, f"{' '.join(command)}: {done.returncode}\n{done.stdout}{done.stderr}"
        return done

    def start(self, *command: str, **environment: str) -> subprocess.Popen[str]:
        """Start a command in a process group of its own, with a snapshot after every step and one stream of output."""
        return subprocess.Popen(
            command,
            cwd=self.folder,
            env={**self.environment, "SCRATCHLM_CHECKPOINT_EVERY_S": "0", **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def git(self, *arguments: str) -> str:
        return self.run("git", *arguments).stdout

    def dvc(self, *arguments: str, fails: bool = False) -> subprocess.CompletedProcess[str]:
        return self.run(sys.executable, "-m", "dvc", *arguments, fails=fails)

    @property
    def repro_command(self) -> list[str]:
        """Return what `make repro` runs in its environment: the checks before DVC, and DVC."""
        (recipe,) = re.findall(r"^repro:.*\n\t@\$\(RUN\) (.*)$", self.read("Makefile"), re.MULTILINE)
        return ["sh", "-c", recipe]

    def commit(self, message: str) -> None:
        self.git("add", "--all")
        self.git("commit", "--quiet", "--message", message)

    def read(self, path: str) -> str:
        return (self.folder / path).read_text(encoding="utf-8")

    def set_params(self, changes: dict[str, object]) -> None:
        """Change keys such as `model.emb_dim` in params.yaml."""
        yaml = YAML()
        params = yaml.load(self.folder / "params.yaml")
        for key, value in changes.items():
            *sections, name = key.split(".")
            section = params
            for part in sections:
                section = section[part]
            assert name in section, f"params.yaml has no {key}"
            section[name] = value
        yaml.dump(params, self.folder / "params.yaml")


@dataclass(frozen=True)
class TinyRun:
    """A project in which every stage has run, with DVC's output and Git's status before all was committed."""

    project: Project
    output: str
    git_status: str


def copy_project(folder: Path) -> Project:
    """Copy the working tree, uncommitted work included, into `folder` as a new Git repository."""
    for path in working_tree(ROOT):
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / path, folder / path)
    project = Project(folder)
    project.git("init", "--quiet")
    project.git("config", "user.name", "Test")
    project.git("config", "user.email", "test@localhost")
    project.commit("The working tree")
    return project
