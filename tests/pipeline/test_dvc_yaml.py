"""dvc.yaml says exactly what the stages' code depends on, and keeps to what the design promises."""

import hashlib
from collections.abc import Iterator
from functools import reduce
from operator import getitem
from pathlib import Path

import pytest
from dvc.repo import Repo
from dvc.schema import COMPILED_MULTI_STAGE_SCHEMA
from dvc_deps import (
    DVC_YAML,
    ROOT,
    expand,
    leaf_keys,
    params_read,
    read_yaml,
    wanted_deps,
    with_code_dependencies,
)
from project import Project, copy_project

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
    "generate_responses",
    "judge_responses",
)
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


def test_stages_and_their_scripts_are_the_designs() -> None:
    assert tuple(PIPELINE["stages"]) == STAGES
    assert sorted(path.stem for path in (ROOT / "stages").glob("*.py")) == sorted(STAGES)


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_runs_its_script_and_says_what_it_is_for(stage: str) -> None:
    assert PIPELINE["stages"][stage]["cmd"] == f"PYTHONPATH=src python stages/{stage}.py"
    assert PIPELINE["stages"][stage]["desc"]


@pytest.mark.parametrize("stage", STAGES)
def test_code_deps_are_exactly_what_the_script_imports(stage: str) -> None:
    deps = PIPELINE["stages"][stage]["deps"]
    wanted = wanted_deps(stage, deps)
    paste = "\n".join(["    deps:", *(f"      - {path}" for path in wanted)])
    assert deps == wanted, f"the deps of {stage} in dvc.yaml should be\n{paste}\n{WRITE}"


def test_the_program_that_writes_the_deps_changes_only_them() -> None:
    stale = DVC_YAML.read_text(encoding="utf-8").replace("      - src/scratchlm/errors.py\n", "")
    assert with_code_dependencies(stale) == DVC_YAML.read_text(encoding="utf-8")


@pytest.mark.parametrize("stage", STAGES)
def test_data_deps_are_outs_of_earlier_stages(stage: str) -> None:
    earlier = [path for other in STAGES[: STAGES.index(stage)] for path in outs(other)]
    data = {path for path in PIPELINE["stages"][stage]["deps"] if not path.startswith(("src/", "stages/"))}
    assert data <= set(earlier)


@pytest.mark.parametrize("stage", STAGES)
def test_the_paths_that_a_script_names_are_its_deps_outs_and_metrics(stage: str) -> None:
    script = (ROOT / "stages" / f"{stage}.py").read_text(encoding="utf-8")
    declared = [path for path in PIPELINE["stages"][stage]["deps"] if path.startswith(("data/", "models/"))]
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


def test_the_lock_is_of_this_code_and_the_default_profile() -> None:
    if read_yaml(ROOT / "profiles" / "sample.yaml") != PARAMS:
        pytest.skip("params.yaml is not the default profile, which the committed dvc.lock is of")
    locked = read_yaml(ROOT / "dvc.lock")["stages"]
    wrong = [
        f"{stage}: {dep['path']}"
        for stage, lock in locked.items()
        for dep in lock["deps"]
        if dep["path"].startswith(("src/", "stages/"))
        and hashlib.md5((ROOT / dep["path"]).read_bytes()).hexdigest() != dep["md5"]
    ]
    assert not wrong, "run `make repro` and commit dvc.lock and metrics/: " + ", ".join(wrong)
    for stage, keys in ((name, locked[name].get("params", {}).get("params.yaml", {})) for name in STAGES):
        assert set(keys) == set(PIPELINE["stages"][stage]["params"])
        for key, value in keys.items():
            assert value_of(key) == value, f"{stage}: {key}"


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


def test_metrics_are_one_uncached_file_per_stage_that_git_takes(tmp_path: Path) -> None:
    for stage in STAGES:
        assert metrics(stage) in ([], [{f"metrics/{stage}.json": {"cache": False}}])
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
    """A repository that DVC finds up to date: what stands in the outs does not matter here."""
    project = copy_project(tmp_path_factory.mktemp("dummy") / "project")
    for path in [*ALL_OUTS, *(path for stage in STAGES for item in metrics(stage) for path in item)]:
        (project.folder / path).parent.mkdir(parents=True, exist_ok=True)
        (project.folder / path).write_text("{}", encoding="utf-8")
    project.dvc("commit", "--force", "--quiet")
    with pytest.MonkeyPatch.context() as patch:
        for name, value in project.environment.items():
            patch.setenv(name, value)
        # Held open, because only params.yaml changes and reading dvc.yaml anew takes most of the time.
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
        assert stale_stages(finished) == {stage for stage in STAGES if key in params_read(stage, LEAVES)}
    finally:
        params_yaml.write_bytes(unchanged)


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
