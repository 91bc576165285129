"""Stopping between two steps: real processes, real signals."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest

STEP = """
import time
from scratchlm.stage.interruption import Interrupted, deferred, listen, requested

listen()
try:
    with deferred():
        print("the step begins", flush=True)
        end_s = time.monotonic() + 3
        while time.monotonic() < end_s:
            time.sleep(0.05)
        print("the step ends", flush=True)
        if requested():
            raise Interrupted()
except Interrupted:
    print("kept")
except KeyboardInterrupt:
    print("lost")
"""
# Plays DVC: a process above the stage that waits for it. The first argument appears in its command line.
ABOVE = "import subprocess, sys; sys.exit(subprocess.call(sys.argv[2:]))"


@pytest.mark.parametrize("whole_group", [True, False])
def test_a_request_to_dvc_and_to_the_stage_waits_for_the_step(whole_group: bool) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", ABOVE, "dvc", sys.executable, "-c", STEP],
        env={**os.environ, "DVC_STAGE": "teach"},
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "the step begins\n"
    if whole_group:
        os.killpg(process.pid, signal.SIGTERM)
    else:
        process.terminate()  # the stage notices that the process above is gone
    assert process.stdout.read() == "the step ends\nkept\n"
    process.wait(timeout=10)


@pytest.mark.parametrize(
    ("first", "second", "end"),
    [
        (signal.SIGINT, signal.SIGINT, "lost\n"),  # a second Ctrl-C does not wait
        (signal.SIGTERM, signal.SIGINT, "lost\n"),
        (signal.SIGTERM, signal.SIGTERM, "the step ends\nkept\n"),  # schedulers send two
        (signal.SIGINT, signal.SIGTERM, "the step ends\nkept\n"),
    ],
)
def test_a_second_ctrl_c_does_not_wait_for_the_step_and_a_second_sigterm_does(
    first: signal.Signals, second: signal.Signals, end: str
) -> None:
    process = subprocess.Popen([sys.executable, "-c", STEP], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "the step begins\n"
    process.send_signal(first)
    time.sleep(0.2)  # two pending signals arrive in the order of their numbers
    process.send_signal(second)
    assert process.stdout.read() == end
    process.wait(timeout=10)


def test_a_request_after_the_last_check_is_not_lost() -> None:
    script = """
import os, signal
from scratchlm.stage.interruption import deferred, listen
listen()
try:
    with deferred():
        os.kill(os.getpid(), signal.SIGINT)
        print("goes on")
    print("swallowed")
except KeyboardInterrupt:
    print("stops")
"""
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    assert (ended.stdout, ended.stderr) == ("goes on\nstops\n", "")


def test_a_third_signal_does_not_interrupt_the_clean_up() -> None:
    script = """
import os, signal
from scratchlm.stage.interruption import deferred, listen
listen()
try:
    with deferred():
        try:
            os.kill(os.getpid(), signal.SIGINT)
            os.kill(os.getpid(), signal.SIGINT)
            print("not reached")
        finally:
            os.kill(os.getpid(), signal.SIGINT)
            print("cleaned up")
except KeyboardInterrupt:
    print("stops")
"""
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    assert (ended.stdout, ended.stderr) == ("cleaned up\nstops\n", "")
