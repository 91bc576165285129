"""dvc.yaml lists exactly the stages' dependencies, and follows the design."""

import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from functools import reduce
from operator import getitem
from pathlib import Path

import pytest
from dvc.repo import Repo
from dvc.schema import COMPILED_MULTI_STAGE_SCHEMA
from dvc_deps import (
    DVC_YAML,
    ROOT,
    deps_lines,
    expand,
    leaf_keys,
    params_read,
    read_yaml,
    wanted_deps,
    with_code_dependencies,
)
from project import Project, copy_project
from ruamel.yaml import YAML

STAGES = (
    "download_corpus",
    "build_tokenizer",
    "tokenize_corpus",
    "pretrain",
    "visualize_model",
    "download_weights",
    "prepare_sms",
    "finetune_classifier",
    "prepare_instructions",
    "finetune_instructions",
    "prepare_preferences",
    "tune_preferences",
    "generate_responses",
    "judge_responses",
    "benchmark_models",
)
# The folders of a user's own files, by stage.
INPUTS = {
    "download_corpus": "inputs/corpus",
    "pretrain": "inputs/models",
    "prepare_sms": "inputs/messages",
    "prepare_instructions": "inputs/instructions",
    "prepare_preferences": "inputs/preferences",
    "benchmark_models": "inputs/benchmarks",
}
CODE = ("src/", "stages/")
PIPELINE = read_yaml(DVC_YAML)
PARAMS = read_yaml(ROOT / "params.yaml")
LEAVES = leaf_keys(PARAMS)
WRITE = "or run: python scripts/dvc_deps.py --write"


def outs(stage: str) -> list[str]:
    return PIPELINE["stages"][stage].get("outs", [])


def metrics(stage: str) -> list[dict]:
    return PIPELINE["stages"][stage].get("metrics", [])


ALL_OUTS = [path for stage in PIPELINE["stages"] for path in outs(stage)]


def test_dvc_accepts_the_file() -> None:
    COMPILED_MULTI_STAGE_SCHEMA(PIPELINE)


def test_the_stages_and_their_scripts_are_those_of_the_design() -> None:
    assert tuple(PIPELINE["stages"]) == STAGES
    assert sorted(path.stem for path in (ROOT / "stages").glob("*.py")) == sorted(STAGES)


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_runs_its_script_and_has_a_description(stage: str) -> None:
    assert PIPELINE["stages"][stage]["cmd"] == f"PYTHONPATH=src python -m scratchlm.stage stages/{stage}.py"
    assert PIPELINE["stages"][stage]["desc"]


@pytest.mark.parametrize("stage", STAGES)
def test_code_deps_are_exactly_what_the_script_imports(stage: str) -> None:
    deps = PIPELINE["stages"][stage]["deps"]
    wanted = wanted_deps(stage, deps)
    paste = "\n".join(deps_lines(wanted))
    assert deps == wanted, f"the deps of {stage} in dvc.yaml should be\n{paste}\n{WRITE}"


@pytest.mark.parametrize("stage", STAGES)
def test_a_missing_and_a_superfluous_dep_would_both_be_noticed(stage: str) -> None:
    deps = PIPELINE["stages"][stage]["deps"]
    for path in (path for path in deps if path.startswith(CODE)):
        assert wanted_deps(stage, [other for other in deps if other != path]) == deps
    assert wanted_deps(stage, [*deps, "src/scratchlm/cli.py"]) == deps


def test_the_program_that_writes_the_deps_changes_only_them() -> None:
    text = DVC_YAML.read_text(encoding="utf-8")
    stale = re.sub(r"src/scratchlm/errors\.py,\s+", "", text).replace("stages/pretrain.py, ", "src/scratchlm/cli.py, ")
    assert [stage["deps"] for stage in YAML(typ="safe").load(stale)["stages"].values()] != [
        stage["deps"] for stage in PIPELINE["stages"].values()
    ]
    assert with_code_dependencies(stale) == text


@pytest.mark.parametrize("stage", STAGES)
def test_data_deps_are_outs_of_earlier_stages_and_inputs(stage: str) -> None:
    earlier = [path for other in STAGES[: STAGES.index(stage)] for path in outs(other)]
    data = {path for path in PIPELINE["stages"][stage]["deps"] if not path.startswith(CODE)}
    own = {INPUTS[stage]} if stage in INPUTS else set()
    assert own <= data <= {*earlier, *own}


@pytest.mark.parametrize("stage", STAGES)
def test_the_paths_that_a_script_names_are_its_deps_outs_and_metrics(stage: str) -> None:
    script = (ROOT / "stages" / f"{stage}.py").read_text(encoding="utf-8")
    declared = [path for path in PIPELINE["stages"][stage]["deps"] if not path.startswith(CODE)]
    declared += outs(stage)
    declared += [path for item in metrics(stage) for path in item]
    named = [part.split('"')[0] for part in script.split('Path("')[1:]]
    unnamed = [path for path in declared if not any(Path(name).is_relative_to(path) for name in named)]
    undeclared = [name for name in named if not any(Path(name).is_relative_to(path) for path in declared)]
    assert (unnamed, undeclared) == ([], [])


@pytest.mark.parametrize("stage", STAGES)
def test_params_are_exactly_the_keys_that_the_script_reads(stage: str) -> None:
    declared = PIPELINE["stages"][stage]["params"]
    assert expand(set(declared), LEAVES) == params_read(stage, LEAVES)
    assert all(expand({name}, LEAVES) for name in declared), "a key that params.yaml does not have"


def test_every_key_of_params_yaml_is_used() -> None:
    used = set().union(*(params_read(stage, LEAVES) for stage in STAGES))
    assert set(LEAVES) - used == set()


def test_the_lock_is_of_this_code_and_the_default_profile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if read_yaml(ROOT / "profiles" / "sample.yaml") != PARAMS:
        pytest.skip("params.yaml is not the default profile, which the committed dvc.lock is of")
    with opened(copy_project(tmp_path / "project"), monkeypatch) as repo:
        changed = [(stage.name, path) for stage in repo.index.stages for dep in stage.deps for path in dep.status()]
        locked = read_yaml(Path(repo.root_dir, "dvc.lock"))["stages"]
    assert set(locked) == set(STAGES)  # DVC keeps stages that are no more
    # What stages write is not in the copy.
    wrong = [f"{stage}: {path}" for stage, path in changed if not path.startswith(("data/", "models/"))]
    assert not wrong, "run `make repro` and commit dvc.lock and metrics/: " + ", ".join(wrong)


def test_outs_are_cached_kept_out_of_git_and_written_once(tmp_path: Path) -> None:
    for stage in STAGES:
        # An out with options would be a mapping; none of them (persist, cache: false, remote) is wanted.
        assert all(isinstance(path, str) for path in outs(stage)), stage
        assert "frozen" not in PIPELINE["stages"][stage]
        assert "plots" not in PIPELINE["stages"][stage]
    assert len(set(ALL_OUTS)) == len(ALL_OUTS)
    # In a repository of its own, so that only the root .gitignore counts.
    project = Project(tmp_path)
    project.git("init", "--quiet")
    (tmp_path / ".gitignore").write_bytes((ROOT / ".gitignore").read_bytes())
    assert project.git("check-ignore", *ALL_OUTS).split() == ALL_OUTS


def test_a_clone_shows_where_data_models_and_own_files_lie(tmp_path: Path) -> None:
    project = copy_project(tmp_path / "project")
    project.run("git", "clone", "--quiet", ".", str(tmp_path / "clone"))
    for folder in ("data", "models", "inputs"):
        assert (tmp_path / "clone" / folder / "README.md").is_file()
    for folder in INPUTS.values():
        # Not a text file: a corpus that names the whole folder would include it.
        assert [path.name for path in (tmp_path / "clone" / folder).iterdir()] == [".gitkeep"]


@pytest.mark.parametrize("folder", INPUTS.values())
def test_git_takes_nothing_of_an_own_file_but_dvcs_notes(tmp_path: Path, folder: str) -> None:
    project = copy_project(tmp_path / "project")
    for name in ("own.txt", "README.md", "books/own.txt", "books/deep/own.csv"):
        (project.folder / folder / name).parent.mkdir(parents=True, exist_ok=True)
        (project.folder / folder / name).write_text("own", encoding="utf-8")
    project.dvc("add", f"{folder}/own.txt", f"{folder}/books")
    project.git("add", "--all")
    staged = project.git("diff", "--cached", "--name-only").split()
    assert staged == [f"{folder}/{name}" for name in (".gitignore", "books.dvc", "own.txt.dvc")]


def test_metrics_are_one_uncached_file_per_stage_that_git_takes(tmp_path: Path) -> None:
    for stage in STAGES:
        assert metrics(stage) == [{f"metrics/{stage}.json": {"cache": False}}]
    project = Project(tmp_path)
    project.git("init", "--quiet")
    (tmp_path / ".gitignore").write_bytes((ROOT / ".gitignore").read_bytes())
    files = [path for stage in STAGES for item in metrics(stage) for path in item]
    assert project.run("git", "check-ignore", *files, fails=True).stdout == ""


@pytest.mark.parametrize("plot", PIPELINE["plots"], ids=lambda plot: next(iter(plot)))
def test_a_plot_is_an_outs_picture_or_has_title_and_axes_and_shows_an_outs_table(plot: dict) -> None:
    ((name, settings),) = plot.items()
    if settings is None:
        assert name.endswith(".png") and name in ALL_OUTS
        return
    assert {"title", "x", "x_label", "y_label"} <= settings.keys()
    for path in settings["y"]:
        assert path.endswith(".csv") and path in ALL_OUTS


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Repo]:
    """A repository that DVC finds up to date; the content of the outs does not matter here."""
    project = copy_project(tmp_path_factory.mktemp("dummy") / "project")
    for path in [*ALL_OUTS, *(path for stage in STAGES for item in metrics(stage) for path in item)]:
        (project.folder / path).parent.mkdir(parents=True, exist_ok=True)
        (project.folder / path).write_text("{}", encoding="utf-8")
    project.dvc("commit", "--force", "--quiet")
    with pytest.MonkeyPatch.context() as patch, opened(project, patch) as repo:
        yield repo


@contextmanager
def opened(project: Project, patch: pytest.MonkeyPatch) -> Iterator[Repo]:
    """Open a project in this process, so that dvc.yaml is read only once for many questions."""
    for name, value in project.environment.items():
        patch.setenv(name, value)
    with Repo(str(project.folder)) as repo, repo.lock:
        yield repo


def stale_stages(repo: Repo) -> set[str]:
    return {stage.name for stage in repo.index.stages if stage.status()}


def test_nothing_is_stale_where_no_key_changed(finished: Repo) -> None:
    assert {stage.name for stage in finished.index.stages} == set(STAGES)
    assert stale_stages(finished) == set()


@pytest.mark.parametrize("key", LEAVES)
def test_changing_a_key_makes_exactly_the_stages_stale_that_use_it(finished: Repo, key: str) -> None:
    params_yaml = Path(finished.root_dir, "params.yaml")
    unchanged = params_yaml.read_bytes()
    Project(params_yaml.parent).set_params({key: another(value_of(key))})
    try:
        # Files are as above, so that only params are compared: to compare all takes ten times as long.
        params = [(stage.name, dep) for stage in finished.index.stages for dep in stage.params]
        stale = {name for name, dep in params if dep.status()}
        assert stale == {stage for stage in STAGES if key in params_read(stage, LEAVES)}
    finally:
        params_yaml.write_bytes(unchanged)


@pytest.mark.parametrize("stage", INPUTS)
def test_an_own_file_makes_exactly_the_stage_stale_that_reads_it(finished: Repo, stage: str) -> None:
    folder = Path(finished.root_dir, INPUTS[stage])
    for number, name in enumerate(("own.txt", "own.txt", "books/deep/own.txt")):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(f"text {number}", encoding="utf-8")
        assert stale_stages(finished) == {stage}
    shutil.rmtree(folder / "books")
    (folder / "own.txt").unlink()
    assert stale_stages(finished) == set()


@pytest.mark.parametrize("name", ["a.txt~", "a.txt.orig", ".ipynb_checkpoints/a.txt", "__pycache__/a.pyc", ".DS_Store"])
def test_what_editors_leave_behind_makes_nothing_stale(finished: Repo, name: str) -> None:
    for folder in ("inputs/corpus", "src/scratchlm/files"):
        path = Path(finished.root_dir, folder, name)
        path.parent.mkdir(exist_ok=True)
        path.touch()
    assert stale_stages(finished) == set()


def value_of(key: str) -> object:
    return reduce(getitem, key.split("."), PARAMS)


def another(value: object) -> object:
    """Return some other value; whether the library would accept it does not matter to DVC."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, (int, float)):
        return value + 1
    if isinstance(value, str):
        return f"{value}x"
    return [*value, "x"] if isinstance(value, list) else 1
