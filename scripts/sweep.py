"""Run a named set of experiments with DVC's queue: python scripts/sweep.py NAME, or make sweep E=NAME.

Only what is missing runs: an experiment that finished with the same params, code and inputs is left alone. A failed one
does not stop the rest. Ctrl-C stops the running one as `make repro` is stopped, with its state saved.
"""

from __future__ import annotations

import contextlib
import io
import json
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from itertools import takewhile
from pathlib import Path
from typing import Any

import psutil
from dvc.repo.experiments.queue.base import QueueEntry
from dvc.repo.experiments.queue.exceptions import CannotKillTasksError
from dvc.repo.experiments.queue.remove import remove_tasks
from dvc.repo.experiments.refs import ExpRefInfo
from dvc.repo.experiments.utils import remove_exp_refs
from filelock import FileLock, Timeout
from tqdm import tqdm

from scratchlm.errors import InputError, explain
from scratchlm.experiments.own_files import require_kept
from scratchlm.experiments.record import (
    INTERRUPTED,
    Note,
    find_finished,
    is_current,
    read_notes,
    uncommitted,
    watched_paths,
    write_notes,
)
from scratchlm.experiments.sets import ExperimentSet, Run, hydra_override, load_set, set_names
from scratchlm.files.revisions import open_project
from scratchlm.files.text import one_line
from scratchlm.stage.progress import progress_bar

POLL_S = 0.5
WORKER_EVERY_S = 15.0  # a worker needs a few seconds to start
STAGE = re.compile(r"^(?:(Running stage|Stage) '([^']+)'|Updating lock file)", re.MULTILINE)
ERROR = re.compile(r"^\w+: error: ", re.MULTILINE)  # the line with which a stage ends
LINES_SHOWN = 5  # of a failed experiment
REASON_CHARS = 200
# Git's references to experiments whose replacement is in the queue: DVC keeps no second one of a name for one commit.
ASIDE = "refs/scratchlm/aside"


@dataclass
class Sweep:
    """One sweep over a set in an open DVC project."""

    repo: Any
    experiments: ExperimentSet
    runs: list[Run]
    stop: bool = False  # set by a signal
    notes: dict[str, Note] = field(default_factory=dict)
    failed: dict[str, list[str]] = field(default_factory=dict)  # name -> lines that say why
    told: set[str] = field(default_factory=set)  # revisions in the queue that were interrupted

    @property
    def root(self) -> Path:
        return Path(self.repo.root_dir)

    @property
    def queue(self) -> Any:
        return self.repo.experiments.celery_queue

    def run(self) -> None:
        """Run what is missing; raise InputError for own files that are not kept, if something failed or on a signal."""
        require_kept(self.repo)
        self.notes = read_notes(self.root, self.experiments.name)
        for run in self.runs:
            if run.problem:
                self.fail(run.name, [run.problem])
        possible = [run for run in self.runs if not run.problem]
        self.put_back()
        finished = find_finished(self.repo, possible)
        missing = {run.name: run for run in possible if run.name not in finished}
        self.announce(len(finished), len(missing))
        running = self.take_over(missing)
        try:
            with progress_bar(len(missing), self.experiments.name, "experiment") as bar:
                for name, run in missing.items():
                    if name not in running and not self.stop:
                        bar.set_postfix_str(f"queueing {name}")
                        self.put(run)
                self.follow(missing, running, bar)
        finally:
            self.put_back()
        if self.stop:
            raise InputError(f"interrupted: run `make sweep E={self.experiments.name}` to go on from there")
        self.report()

    def announce(self, n_finished: int, n_missing: int) -> None:
        counts = f"{n_missing} to run, {n_finished} finished before, {len(self.failed)} not possible here"
        print(f"{self.experiments.name}: {len(self.runs)} experiments: {counts}", flush=True)
        if n_missing and (changed := uncommitted(self.root)):
            print(f"Uncommitted changes go into the experiments: {', '.join(changed)}", flush=True)

    def take_over(self, missing: dict[str, Run]) -> set[str]:
        """Return the names of missing runs that a killed sweep left running; clear what else the queue has of them."""
        if not worker_lives(self.queue.wdir):
            self.end_orphans(missing)
        paths = watched_paths(self.root)
        running = set()
        for entry in self.queue.iter_active():
            if entry.name in missing:
                params = missing[entry.name].params
                if params is None or not is_current(self.root, entry.stash_rev, params, paths):
                    raise InputError(
                        f"{entry.name} is running with other params or code: wait for its end (`dvc queue status`), "
                        "or end it with `dvc queue stop --kill`"
                    )
                running.add(entry.name)
        old = [entry for entry in self.waiting_and_done() if entry.name in missing]
        with self.repo.lock:
            remove_tasks(self.queue, old)
        return running

    def waiting_and_done(self) -> Iterator[QueueEntry]:
        yield from self.queue.iter_queued()
        for _, entry in self.queue._iter_done_tasks():  # iter_done() stumbles over killed tasks
            yield entry

    def put(self, run: Run) -> None:
        """Queue a run, and set an experiment of its name with other params or code aside until it has ended."""
        scm = self.repo.scm
        outdated = ExpRefInfo(scm.get_rev(), run.name)
        changes = [hydra_override(key, value) for key, value in run.overrides.items()]
        with contextlib.redirect_stdout(io.StringIO()):
            if revision := scm.get_ref(str(outdated)):
                scm.set_ref(f"{ASIDE}/{outdated.baseline_sha}/{run.name}", revision)
                remove_exp_refs(scm, [outdated])
            self.repo.experiments.run(targets=self.experiments.stages, queue=True, name=run.name, params=changes)

    def put_back(self) -> None:
        """Put back each experiment set aside, by a killed sweep too, whose replacement neither came nor is to come."""
        scm = self.repo.scm
        coming = {entry.name for queued in (self.queue.iter_queued(), self.queue.iter_active()) for entry in queued}
        for reference in list(scm.iter_refs(f"{ASIDE}/")):
            baseline, name = reference.removeprefix(f"{ASIDE}/").split("/")
            if name not in coming:
                if not scm.get_ref(str(ExpRefInfo(baseline, name))):
                    scm.set_ref(str(ExpRefInfo(baseline, name)), scm.get_ref(reference))
                scm.remove_ref(reference)

    def follow(self, missing: dict[str, Run], running: set[str], bar: tqdm[Any]) -> None:
        """Wait until all runs have ended, with a worker for them; on a signal, end them."""
        seconds = dict.fromkeys(missing, 0.0)
        waiting = set(missing)
        looked_s = worker_s = -WORKER_EVERY_S
        while waiting:
            now_s = time.monotonic()
            if not self.stop and now_s - worker_s >= WORKER_EVERY_S:
                self.keep_a_worker(waiting)
                worker_s = time.monotonic()
            for entry in self.queue.iter_active():
                stage = running_stage(self.log_of(entry))
                if entry.name in waiting and stage:
                    seconds[entry.name] += max(0.0, now_s - looked_s)
                    bar.set_postfix_str(f"{entry.name}: {stage}")
            looked_s = now_s
            for _, entry in self.queue._iter_done_tasks():
                if entry.name in waiting:
                    waiting.discard(entry.name)
                    self.finish(missing[entry.name], entry, seconds[entry.name], entry.name in running, bar)
            if self.stop:
                waiting &= self.cancel(waiting)
            if waiting:
                time.sleep(POLL_S)

    def keep_a_worker(self, waiting: Collection[str]) -> None:
        """Start a worker of DVC's queue if none lives; one ends by itself after 10 s without work."""
        if worker_lives(self.queue.wdir):
            return
        self.end_orphans(waiting)
        # Not with pipes: the worker in the background inherits them. It also must not inherit our lock.
        start = [sys.executable, "-m", "dvc", "queue", "start"]
        subprocess.run(start, cwd=self.root, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True)

    def end_orphans(self, names: Collection[str]) -> None:
        """End what a killed worker left running of some runs; nobody collects it, and DVC shows it for ever."""
        while orphans := [entry for entry in self.queue.iter_active() if entry.name in names]:
            for entry in orphans:
                self.interrupt(entry)
            time.sleep(POLL_S)

    def cancel(self, waiting: Collection[str]) -> set[str]:
        """Take waiting runs out of the queue and interrupt the running one; return those whose end is still to come."""
        with self.repo.lock:
            remove_tasks(self.queue, [entry for entry in self.queue.iter_queued() if entry.name in waiting])
        coming = set()
        for entry in self.queue.iter_active():
            if entry.name in waiting:
                self.interrupt(entry)
                coming.add(entry.name)
        return coming | {entry.name for _, entry in self.queue._iter_done_tasks()}

    def interrupt(self, entry: QueueEntry) -> None:
        """Interrupt an experiment once, as Ctrl-C does; if it and the worker are gone, have DVC note that."""
        info = self.queue.proc.get(entry.stash_rev)
        if info is not None and lives(info.pid):
            to_tell = entry.stash_rev not in self.told
        else:
            to_tell = not worker_lives(self.queue.wdir)  # a living worker notes the end itself
        if to_tell:
            with contextlib.redirect_stdout(io.StringIO()), contextlib.suppress(CannotKillTasksError):
                self.queue.kill([entry.name])
            self.told.add(entry.stash_rev)

    def finish(self, run: Run, entry: QueueEntry, seconds: float, taken_over: bool, bar: tqdm[Any]) -> None:
        """Note how a run ended."""
        earlier = self.notes.get(run.name, Note())
        if earlier.problem == INTERRUPTED:
            seconds += earlier.seconds or 0.0
        log = self.log_of(entry)
        revision = find_finished(self.repo, [run]).get(run.name)
        if revision is not None:
            timed = "Running stage" in log and not taken_over
            self.note(run.name, Note(revision, round(seconds, 1) if timed else None))
            why_untimed = "not timed" if taken_over else "from DVC's cache"
            how = f"{seconds:,.0f} s" if timed else why_untimed
            bar.write(f"  {run.name}: done, {how}")
        elif self.stop:
            self.note(run.name, Note(None, round(seconds, 1), INTERRUPTED))
            bar.write(f"  {run.name}: interrupted")
        else:
            self.fail(run.name, reason_in(log))
            bar.write(f"  {run.name}: failed")
        bar.update()

    def log_of(self, entry: QueueEntry) -> str:
        """Return what an experiment has printed; "" before its first process."""
        info = self.queue.proc.get(entry.stash_rev)
        try:
            return Path(info.stdout).read_text(encoding="utf-8", errors="replace") if info else ""
        except FileNotFoundError:
            return ""

    def fail(self, name: str, lines: list[str]) -> None:
        self.failed[name] = lines
        named = next((line for line in lines if ERROR.match(line)), lines[-1])
        self.note(name, Note(problem=one_line(named, REASON_CHARS)))

    def note(self, name: str, note: Note) -> None:
        self.notes[name] = note
        write_notes(self.root, self.experiments.name, self.notes)

    def report(self) -> None:
        """Say what failed and why, and raise InputError if anything did."""
        print(f"`scratchlm table {self.experiments.name}` shows the results", flush=True)
        if self.failed:
            blocks = "".join(f"\n  - {name}: " + "\n      ".join(lines) for name, lines in self.failed.items())
            raise InputError(
                f"{len(self.failed)} of {len(self.runs)} experiments failed (`dvc queue logs NAME` shows all that one "
                f"printed):{blocks}"
            )


def running_stage(log: str) -> str | None:
    """Return the stage that runs at the end of a log, None between stages."""
    found = list(STAGE.finditer(log))
    return found[-1][2] if found and found[-1][1] == "Running stage" else None


def reason_in(log: str) -> list[str]:
    """Return the lines of a log that say why it failed: those of the stage's error, else the last ones."""
    lines = [line.rstrip() for line in log.splitlines() if line.strip()]
    first = next((number for number, line in enumerate(lines) if ERROR.match(line)), None)
    if first is None:
        return lines[-LINES_SHOWN:] or ["the queue's worker ended before it began"]
    return list(takewhile(lambda line: not line.startswith("ERROR: "), lines[first:]))[:LINES_SHOWN]


def worker_lives(folder: str) -> bool:
    """True if the worker of DVC's queue is there; it writes its process into the queue's `folder`."""
    try:
        return lives(json.loads(Path(folder, "dvc-exp-worker-1.json").read_text(encoding="utf-8"))["pid"])
    except (OSError, ValueError, KeyError):
        return False


def lives(pid: int) -> bool:
    """True if a process of DVC's with this number exists and has not ended; numbers are used again."""
    try:
        process = psutil.Process(pid)
        return "exp" in process.cmdline() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


def main() -> None:
    """Sweep over the set that is named; a mistake, a failed experiment or a signal ends in exit code 1."""
    try:
        if len(sys.argv) != 2:
            raise InputError(f"name a set, as in make sweep E=seeds: {', '.join(set_names(Path()))}")
        if shutil.which("dvc") is None:  # the worker looks for it there
            raise InputError("dvc is not on PATH: use make sweep, or activate the environment")
        with open_project(Path()) as repo:
            sweep = Sweep(repo, *load_set(sys.argv[1], Path(repo.root_dir)))
            with FileLock(Path(repo.tmp_dir, "sweep.lock"), timeout=0):
                for number in (signal.SIGINT, signal.SIGTERM):
                    signal.signal(number, lambda *_: setattr(sweep, "stop", True))
                sweep.run()
    except Timeout:
        sys.exit("sweep: error: another sweep is running in this project: wait for its end, or stop it with Ctrl-C")
    except InputError as error:
        sys.exit(f"sweep: error: {explain(error)}")


if __name__ == "__main__":
    main()
