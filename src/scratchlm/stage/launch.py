"""Starting a stage again as several processes: torchrun does it, as SCRATCHLM_LAUNCH says."""

from __future__ import annotations

import logging
import os
import shlex
import signal
import time
from argparse import Namespace
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from types import FrameType

import psutil
import torch
from filelock import FileLock
from torch.distributed import run as torchrun
from torch.distributed.elastic.multiprocessing.api import SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError, ProcessFailure
from torch.distributed.elastic.rendezvous import RendezvousError

from scratchlm.errors import InputError
from scratchlm.stage.ending import Cause, Ending, end, read_ending
from scratchlm.stage.environment import LAUNCH, LAUNCHER, THREADS, read_count
from scratchlm.stage.rendezvous import BACKEND, HOST, stay_on_one_machine
from scratchlm.stage.snapshots import checkpoints, remove_unless_in_use

EXAMPLE = "torchrun --standalone --nproc-per-node 2"
MODULE = "scratchlm.stage"
# For the last step and its snapshot; by default torchrun would kill it after 30 s. Torch 2.11 reads no other setting.
SHUTDOWN_TIMEOUT = "TORCH_ELASTIC_SHUTDOWN_TIMEOUT"
SHUTDOWN_TIMEOUT_S, LONGEST_SHUTDOWN_S = 600, 24 * 60 * 60
# torchrun's options that the stage needs as they are by default, also where a variable such as PET_TEE sets them.
FIXED: Mapping[str, object] = {
    "no_python": False,
    "run_path": False,
    "log_dir": None,
    "max_restarts": 0,
    "redirects": "0",
    "tee": "0",
    "local_ranks_filter": "",
    "duplicate_stdout_filters": [],
    "duplicate_stderr_filters": [],
    "logs_specs": None,
    "event_log_handler": "null",
    "start_method": "spawn",
    "signals_to_handle": "SIGTERM,SIGINT,SIGHUP,SIGQUIT",
}


def launch(script: Path) -> None:
    """Run a stage script as the processes of the command in SCRATCHLM_LAUNCH; return when all have succeeded.

    If one fails, the others end too, and this process with the message of the first. A request to stop is passed on.
    Raises InputError if the command cannot be used here.
    """
    name = script.stem
    arguments = read_command(os.environ[LAUNCH], script)
    share_threads(count_local(arguments))
    os.environ[LAUNCHER] = str(os.getpid())
    if is_one_machine(arguments):
        arguments.standalone, arguments.rdzv_backend, arguments.rdzv_endpoint = False, BACKEND, HOST
        stay_on_one_machine()
    logging.disable()  # torchrun's lines about processes: what matters comes in one message at the end
    with folder_for_endings() as folder, passing_on_requests():
        arguments.log_dir = str(folder)
        failures: Mapping[int, ProcessFailure] = {}
        try:
            torchrun.run(arguments)  # type: ignore[no-untyped-call]
        except ChildFailedError as error:
            failures = error.failures
        except SignalException:
            pass
        except (RendezvousError, torch.distributed.DistError, ValueError, OSError) as error:
            raise InputError(f"{LAUNCH}: torchrun cannot start the processes: {error}") from None
        else:
            return
        ending = min(endings(name, folder, failures))
    end(ending.cause, ending.message)


@contextmanager
def folder_for_endings() -> Iterator[Path]:
    """Make a folder for the time of a launch; remove those that killed launchers have left."""
    root = checkpoints().absolute() / "launches"
    root.mkdir(parents=True, exist_ok=True)
    for left in filter(Path.is_dir, root.iterdir()):
        remove_unless_in_use(left)
    with TemporaryDirectory(dir=root) as name, FileLock(Path(name) / "lock"):
        yield Path(name)


def read_command(text: str, script: Path) -> Namespace:
    """Return torchrun's arguments for a stage script; raise InputError for what cannot be run here."""

    def refuse(problem: object) -> InputError:
        return InputError(f"{LAUNCH} is {text!r}: {problem}; set it as in {LAUNCH}={EXAMPLE!r}, or unset it")

    def stop(*problem: object) -> None:
        raise refuse(problem[-1] if problem else "it asks for help, not for processes")

    try:
        program, *options = shlex.split(text)
    except ValueError as error:
        raise refuse(str(error).lower()) from None
    if program != "torchrun":
        raise refuse(f"{program!r} cannot start a stage, only torchrun can")
    parser = torchrun.get_args_parser()
    parser.error = parser.exit = stop  # type: ignore[method-assign, assignment]
    arguments: Namespace = parser.parse_args([*options, "-m", MODULE, str(script)])
    if arguments.training_script != MODULE:
        raise refuse(f"{arguments.training_script!r} is too much, as the script is the stage's")
    for option, value in FIXED.items():
        if getattr(arguments, option) != value:
            given = "--" + option.replace("_", "-")
            raise refuse(f"{given} is too much, as it may say where the processes run, but not how or where they write")
    try:
        n_local = count_local(arguments)
        is_alone = is_one_machine(arguments)
    except (ValueError, RuntimeError) as error:
        raise refuse(error) from None
    if arguments.standalone and not is_alone:
        raise refuse(f"--standalone is for one machine, and --nnodes {arguments.nnodes} for several")
    if n_local < 1:
        raise refuse(f"{n_local} processes are too few")
    if uses_gpus() and n_local > torch.cuda.device_count():
        raise refuse(f"{n_local} processes need a GPU each, and here are {torch.cuda.device_count()}")
    # Ours are installed already: a second request must not end torchrun before its processes.
    arguments.signals_to_handle = ""
    os.environ[SHUTDOWN_TIMEOUT] = str(read_count(SHUTDOWN_TIMEOUT, SHUTDOWN_TIMEOUT_S, LONGEST_SHUTDOWN_S))
    return arguments


def count_local(arguments: Namespace) -> int:
    """Return how many processes run on this machine."""
    return int(torchrun.determine_local_world_size(arguments.nproc_per_node))


def is_one_machine(arguments: Namespace) -> bool:
    """True if the processes do not run on several machines."""
    return bool(torchrun.parse_min_max_nnodes(arguments.nnodes)[1] == 1)


def uses_gpus() -> bool:
    """True if the processes will compute on GPUs; without touching one, as that takes memory of it."""
    asked = os.environ.get("SCRATCHLM_DEVICE")
    return asked.startswith("cuda") if asked else torch.cuda.is_available()


def share_threads(n_local: int) -> None:
    """Give each process its part of the threads that one process would have, at least one."""
    os.environ[THREADS] = str(torch.get_num_threads())
    os.environ["OMP_NUM_THREADS"] = str(max(1, torch.get_num_threads() // n_local))


@contextmanager
def passing_on_requests() -> Iterator[None]:
    """Pass the first SIGTERM or Ctrl-C on to the processes through torchrun, and a second Ctrl-C by itself.

    A third one kills them, in case they no longer listen.
    """
    n_asked = 0

    def stop(number: int, frame: FrameType | None) -> None:
        nonlocal n_asked
        if n_asked and number == signal.SIGTERM:
            return
        n_asked += 1
        if n_asked == 1:
            # torchrun sends it to its processes and waits for them. SIGTERM in both cases: to a process that is still
            # starting, Ctrl-C would be a traceback.
            raise SignalException("a request to stop", signal.SIGTERM)
        for process in psutil.Process().children():
            with suppress(psutil.NoSuchProcess):
                process.send_signal(signal.SIGINT if n_asked == 2 else signal.SIGKILL)

    before = [signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)]
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before[0])
        signal.signal(signal.SIGTERM, before[1])


def endings(name: str, folder: Path, failures: Mapping[int, ProcessFailure]) -> Iterator[Ending]:
    """Yield how the processes ended, as they have said in `folder`, and as torchrun saw it."""
    for path in folder.glob("*/attempt_*/*/error.json"):  # there is one attempt
        yield read_ending(path)
    for rank, failure in failures.items():
        if failure.exitcode < 0 and -failure.exitcode not in (signal.SIGTERM, signal.SIGINT):
            message = f"process {rank} was ended by {failure.signal_name()}, which the system sends if memory is short"
            again = "run `make repro` to go on from the last snapshot"
            yield Ending(Cause.KILLED, time.time(), f"{name}: error: {message}; {again}")
    yield Ending(Cause.DESERTED, time.time(), f"{name}: interrupted; run `make repro` to go on")
