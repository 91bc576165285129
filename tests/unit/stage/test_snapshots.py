"""Snapshots of a running stage: complete, of this very run, few, and with one writer at a time."""

from __future__ import annotations

import math
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from ruamel.yaml import YAML

from scratchlm.errors import InputError
from scratchlm.stage.run_key import run_key
from scratchlm.stage.snapshots import (
    KEPT_RUNS,
    KEPT_SNAPSHOTS,
    Snapshots,
    age_s,
    open_snapshots,
    read_every_s,
    remove_unless_in_use,
)

CPU = torch.device("cpu")
SOURCE = Path(__file__).parents[3] / "src"


def save_numbers(snapshots: Snapshots, *numbers: int) -> None:
    for number in numbers:
        snapshots.save({"weights": torch.full((1000,), float(number))}, {"step": number})


def loaded_step(snapshots: Snapshots) -> int | None:
    saved = snapshots.load()
    if saved is None:
        return None
    assert torch.equal(saved[0]["weights"], torch.full((1000,), float(saved[1]["step"])))
    return int(saved[1]["step"])


@pytest.fixture
def snapshots(tmp_path: Path) -> Snapshots:
    return Snapshots(tmp_path / "stage" / "key")


def test_nothing_is_loaded_before_anything_was_saved(snapshots: Snapshots) -> None:
    assert snapshots.load() is None


def test_the_last_snapshot_is_loaded_and_only_two_are_kept(snapshots: Snapshots) -> None:
    save_numbers(snapshots, 1, 2, 3, 4)
    assert loaded_step(snapshots) == 4
    assert len(snapshots.paths()) == KEPT_SNAPSHOTS == 2


@pytest.mark.parametrize("damage", ["truncated", "empty", "one bit"])
def test_if_a_snapshot_is_damaged_the_one_before_is_used(
    damage: str, snapshots: Snapshots, capsys: pytest.CaptureFixture[str]
) -> None:
    save_numbers(snapshots, 1, 2)
    path = snapshots.paths()[0]
    content = bytearray(path.read_bytes())
    if damage == "one bit":
        content[-100] ^= 1
    path.write_bytes(content[: {"truncated": 500, "empty": 0, "one bit": None}[damage]])
    assert loaded_step(snapshots) == 1
    assert f"{path} is damaged and was removed: resuming from the one before it" in capsys.readouterr().err
    save_numbers(snapshots, 3)
    assert loaded_step(snapshots) == 3


def test_if_every_snapshot_is_damaged_the_stage_starts_again(snapshots: Snapshots) -> None:
    save_numbers(snapshots, 1, 2)
    for path in snapshots.paths():
        path.write_bytes(b"rot")
    assert snapshots.load() is None
    assert snapshots.paths() == []


def test_what_is_computed_once_is_saved_for_the_resumed_run(tmp_path: Path) -> None:
    computed = []

    def compute() -> list[float]:
        computed.append(1)
        return [0.1, 1 / 3]

    first = Snapshots(tmp_path / "key")
    assert first.once("initial", compute) == [0.1, 1 / 3]
    first.lock.release()
    second = Snapshots(tmp_path / "key")
    assert second.once("initial", compute) == [0.1, 1 / 3]
    assert len(computed) == 1
    meanwhile = Snapshots(tmp_path / "key")  # another process: it neither reads nor writes
    assert meanwhile.once("initial", compute) == [0.1, 1 / 3]
    assert len(computed) == 2


def test_a_half_written_snapshot_is_ignored(snapshots: Snapshots) -> None:
    save_numbers(snapshots, 1)
    (snapshots.folder / ".00000002-0123456789abcdef.12345678.safetensors").write_bytes(b"half")
    assert loaded_step(snapshots) == 1


def test_the_last_snapshot_of_a_finished_run_stays_because_dvc_has_not_stored_its_results(
    snapshots: Snapshots,
) -> None:
    save_numbers(snapshots, 1, 2, 3)
    snapshots.finish()
    again = Snapshots(snapshots.folder)
    assert loaded_step(again) == 3 and len(again.paths()) == 1


def test_the_half_written_file_of_a_killed_process_is_removed_with_the_next_snapshot(snapshots: Snapshots) -> None:
    half = snapshots.folder / ".new.12345678.safetensors"
    half.write_bytes(b"half")
    save_numbers(snapshots, 1)
    assert not half.exists()
    assert loaded_step(snapshots) == 1


def test_a_snapshot_is_due_before_one_more_step_could_lose_too_much_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now_s = 1000.0
    monkeypatch.setattr("scratchlm.stage.snapshots.time.monotonic", lambda: now_s)
    snapshots = Snapshots(tmp_path, every_s=60)
    due = []
    for step_s in (10, 10, 10, 10, 10, 10, 25, 25, 61, 1):
        now_s += step_s
        due.append(snapshots.is_due())
        if due[-1]:
            now_s += 100  # writing a snapshot takes long, but is not a step
            save_numbers(snapshots, 1)
    assert due == [False, False, False, False, True, False, True, False, True, False]


def test_if_no_work_may_be_lost_a_snapshot_is_always_due(tmp_path: Path) -> None:
    assert Snapshots(tmp_path, every_s=0).is_due()


def test_the_latest_snapshot_is_the_one_written_or_resumed_from(snapshots: Snapshots) -> None:
    assert snapshots.latest is None
    save_numbers(snapshots, 1, 2)
    assert snapshots.latest == snapshots.paths()[0]
    assert Snapshots(snapshots.folder).latest == snapshots.latest  # also if another process has written it
    snapshots.latest.write_bytes(b"rot")
    snapshots.load()
    assert [snapshots.latest] == snapshots.paths()


HOLDER = """
import sys
from pathlib import Path
from scratchlm.stage.snapshots import Snapshots
snapshots = Snapshots(Path(sys.argv[1]), every_s=0)
print(snapshots.is_due(), flush=True)
sys.stdin.read()
"""


def test_a_second_process_saves_no_snapshots_and_touches_none(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "key"
    environment = {**os.environ, "PYTHONPATH": str(SOURCE)}
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(folder)], env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as first:
        assert first.stdout and first.stdin
        assert first.stdout.readline() == b"True\n"
        second = Snapshots(folder, every_s=0)
        assert "another process computes the same" in capsys.readouterr().err
        assert not second.is_due()
        save_numbers(second, 1)
        second.finish()
        assert folder.exists() and second.paths() == []
        first.kill()
    third = Snapshots(folder)
    save_numbers(third, 1)
    assert loaded_step(third) == 1


# --- the key of a run -----------------------------------------------------------------------------------------


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DVC_ROOT", raising=False)
    (tmp_path / "data/tokens").mkdir(parents=True)
    (tmp_path / "data/tokens/train.bin").write_bytes(b"tokens")
    (tmp_path / "stage.py").write_text("source")
    (tmp_path / "params.yaml").write_text("seed: 1\nmodel:\n  width: 2\n  depth: 3\nother: 4\n")
    described = {"deps": ["data/tokens", "stage.py"], "params": ["seed", "model.width"]}
    YAML().dump({"stages": {"pretrain": described}}, tmp_path / "dvc.yaml")
    return tmp_path


@pytest.mark.parametrize(
    ("file", "content", "changes"),
    [
        ("params.yaml", "seed: 2\nmodel:\n  width: 2\n  depth: 3\nother: 4\n", True),
        ("params.yaml", "seed: 1\nmodel:\n  width: 3\n  depth: 3\nother: 4\n", True),
        ("params.yaml", "seed: 1\nmodel:\n  width: 2\n  depth: 9\nother: 9\n", False),
        ("data/tokens/train.bin", "Tokens", True),
        ("data/tokens/more.bin", "", True),
        ("stage.py", "Source", True),
        ("notes.txt", "anything", False),
    ],
)
def test_the_key_changes_only_with_what_decides_the_result(
    project: Path, file: str, content: str, changes: bool
) -> None:
    before = run_key("pretrain", CPU)
    assert run_key("pretrain", CPU) == before
    (project / file).write_text(content)
    assert (run_key("pretrain", CPU) != before) == changes


@pytest.mark.parametrize("versions", ["torch.__version__", "platform.python_version"])
def test_the_versions_that_compute_are_part_of_the_key(
    versions: str, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = run_key("pretrain", CPU)
    monkeypatch.setattr(versions, "0.1" if versions.startswith("torch") else lambda: "0.1")
    assert run_key("pretrain", CPU) != before


def test_the_key_is_the_same_in_another_folder(project: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    before = run_key("pretrain", CPU)
    elsewhere = shutil.copytree(project, tmp_path_factory.mktemp("elsewhere") / "project")
    os.chdir(elsewhere)  # the fixture goes back
    assert run_key("pretrain", CPU) == before


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("dvc.yaml", None, "{}/dvc.yaml is missing: it says what decides the result of pretrain, so run that in .*"),
        ("dvc.yaml", "", "{}/dvc.yaml describes no stage pretrain: it says .* in the project's folder .*"),
        ("dvc.yaml", "stages:\n", "{}/dvc.yaml describes no stage pretrain: .*"),
        ("dvc.yaml", "stages:\n  train: {cmd: x, deps: []}\n", "{}/dvc.yaml describes no stage pretrain: .*"),
        ("dvc.yaml", "stages: [\n", "{}/dvc.yaml describes no stage pretrain: .*"),
        ("params.yaml", "seed: 1\n", "params.yaml has no model.width, which dvc.yaml lists for pretrain: give it .*"),
        ("params.yaml", "seed: 1\nmodel: 2\n", "params.yaml has no model.width, which .*"),
        ("params.yaml", "", "params.yaml has no seed, which .*"),
        ("stage.py", None, "{}/stage.py is missing, which dvc.yaml lists for pretrain: run pretrain in the .*"),
    ],
)
def test_a_stage_run_by_hand_elsewhere_ends_in_one_message(
    project: Path, file: str, content: str | None, message: str
) -> None:
    (project / file).unlink()
    if content is not None:
        (project / file).write_text(content)
    with pytest.raises(InputError) as raised:
        open_snapshots("pretrain", CPU)
    assert re.fullmatch(message.format(re.escape(str(project))), str(raised.value))
    assert not (project / ".checkpoints").exists()


def test_files_that_dvc_ignores_do_not_change_the_key(project: Path) -> None:
    (project / ".dvcignore").write_text("__pycache__\n*~\n/.checkpoints/\n")
    (project / "package").mkdir()
    (project / "package/model.py").write_text("width = 2")
    described = {"deps": ["data/tokens", "package"], "params": ["seed"]}
    YAML().dump({"stages": {"pretrain": described}}, project / "dvc.yaml")
    before = run_key("pretrain", CPU)
    (project / "package/inner/__pycache__").mkdir(parents=True)
    (project / "package/inner/__pycache__/model.cpython-311.pyc").write_bytes(b"compiled")
    (project / "package/model.py~").write_text("an editor's copy")
    assert run_key("pretrain", CPU) == before
    (project / "package/inner/linear.py").write_text("")
    assert run_key("pretrain", CPU) != before


def test_the_key_does_not_tell_how_many_processes_share_the_work(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    alone, threads = run_key("pretrain", CPU), torch.get_num_threads()
    monkeypatch.setenv("SCRATCHLM_THREADS", str(threads))  # as the launcher does, and gives each process a share
    try:
        torch.set_num_threads(threads + 1)
        assert run_key("pretrain", CPU) == alone
        monkeypatch.setenv("SCRATCHLM_THREADS", str(threads + 2))
        assert run_key("pretrain", CPU) != alone
        gpu = run_key("pretrain", torch.device("cuda"))
        torch.set_num_threads(threads)
        monkeypatch.delenv("SCRATCHLM_THREADS")
        assert run_key("pretrain", torch.device("cuda", 1)) == gpu
    finally:
        torch.set_num_threads(threads)


def test_device_and_threads_are_part_of_the_key(project: Path) -> None:
    before, threads = run_key("pretrain", CPU), torch.get_num_threads()
    assert run_key("pretrain", torch.device("cuda")) != before
    try:
        torch.set_num_threads(threads + 1)
        assert run_key("pretrain", CPU) != before
    finally:
        torch.set_num_threads(threads)


def test_what_auto_becomes_is_part_of_the_key(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    keys = []
    for fast in (False, True, False):
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda fast=fast: {"avx512_bf16": fast})
        keys.append(run_key("pretrain", CPU))
    assert keys[0] == keys[2] != keys[1]


def test_only_a_few_other_runs_keep_snapshots_and_none_in_use_is_removed(project: Path) -> None:
    running = None
    for seed in range(6):
        (project / "params.yaml").write_text(f"seed: {seed}\nmodel:\n  width: 2\n")
        snapshots = open_snapshots("pretrain", CPU)
        save_numbers(snapshots, seed)
        os.utime(snapshots.folder, (seed, seed))
        if running is None:
            running = snapshots  # the oldest of all, still running
        else:
            snapshots.lock.release()
    folders = list((project / ".checkpoints/pretrain").iterdir())
    assert running is not None and running.folder.resolve() in folders
    assert len(folders) <= KEPT_RUNS + 2


def test_the_next_stage_removes_only_the_snapshots_of_finished_stages(project: Path) -> None:
    described = {"deps": ["data/tokens", "stage.py"], "params": ["seed", "model.width"]}
    YAML().dump({"stages": dict.fromkeys(("pretrain", "tune", "answer"), described)}, project / "dvc.yaml")
    finished, killed = (open_snapshots(stage, CPU) for stage in ("pretrain", "tune"))
    for snapshots in (finished, killed):
        save_numbers(snapshots, 1)
    finished.finish()
    killed.lock.release()
    open_snapshots("answer", CPU)
    assert not finished.folder.exists() and killed.folder.exists()


def test_a_folder_that_another_process_removes_meanwhile_counts_as_the_oldest(project: Path) -> None:
    assert age_s(project / "gone") == math.inf
    remove_unless_in_use(project / "gone")
    assert not (project / "gone").exists()


def test_an_experiment_keeps_its_snapshots_in_the_project(
    project: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path_factory.mktemp("root")
    monkeypatch.setenv("DVC_ROOT", str(root))
    assert open_snapshots("pretrain", CPU).folder.is_relative_to(root / ".checkpoints" / "pretrain")


@pytest.mark.parametrize("given", ["soon", "-1", "nan"])
def test_seconds_that_are_not_a_number_are_refused(given: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SCRATCHLM_CHECKPOINT_EVERY_S", given)
    with pytest.raises(InputError, match="expected a number of seconds, such as 60"):
        read_every_s()
