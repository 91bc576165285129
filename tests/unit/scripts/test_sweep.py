"""What a sweep reads out of an experiment's log: the stage that runs, and why it failed."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from sweep import lives, reason_in, running_stage, worker_lives

LOG = """Reproducing experiment 'seeds-default-seed-1'
Stage 'download_corpus' didn't change, skipping
Running stage 'prepare_sms':
> PYTHONPATH=src python -m scratchlm.stage stages/prepare_sms.py
1,400 messages
"""
ENDED = "ERROR: failed to reproduce 'prepare_sms': failed to run: python\n"


@pytest.mark.parametrize(
    ("log", "stage"),
    [
        ("", None),
        (LOG, "prepare_sms"),
        (LOG + "Updating lock file 'dvc.lock'\n", None),
        (LOG + "Stage 'pretrain' is cached - skipping run, checking out outputs\n", None),
        (LOG + "Running stage 'pretrain':\n", "pretrain"),
    ],
)
def test_the_last_line_of_dvc_tells_the_stage(log: str, stage: str | None) -> None:
    assert running_stage(log) == stage


def test_the_reason_is_the_stage_s_message_without_what_dvc_adds() -> None:
    message = "prepare_sms: error: two problems:\n  - the first\n  - the second\n"
    assert reason_in(LOG + message + ENDED + ENDED) == message.splitlines()


def test_without_a_message_the_reason_is_the_end_of_the_log() -> None:
    lines = [f"line {number}" for number in range(9)]
    assert reason_in("\n\n".join(lines)) == lines[-5:]
    assert reason_in("") == ["the queue's worker ended before it began"]


def test_a_process_of_another_program_is_no_worker(tmp_path: Path) -> None:
    assert not lives(os.getpid())
    assert not worker_lives(str(tmp_path))
    (tmp_path / "dvc-exp-worker-1.json").write_text('{"pid": 1}')
    assert not worker_lives(str(tmp_path))
    (tmp_path / "dvc-exp-worker-1.json").write_text('{"pi')
    assert not worker_lives(str(tmp_path))
