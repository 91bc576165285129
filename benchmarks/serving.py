"""Time `scratchlm serve` and llama.cpp's server side by side, with the same models and one client or several.

    python benchmarks/serving.py        about a minute on 2 idle cores, after `make repro`

Each server is a process of its own and is warmed up. Every client asks one question after the other, and they share
out the test instructions; answers are streamed and greedy, of at most 64 tokens, and end where the model ends them. The
assistant's answers are short, so that reading prompts is most of the work; the pretrained model writes on. llama.cpp
gets the model as `scratchlm export` writes it, in float32, answers as many at once, and keeps what prompts have in
common, which scratchlm computes anew. The servers take turns, and the table shows medians over the rounds.

"first token" is the time from the request to the first text, the median and the 95th percentile. "speedup" compares
with one client, "ours is" with llama.cpp, both by tokens per second. "same" counts the texts that equal ours; tokens
are counted in ours, as llama.cpp's count includes the end of text.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import socket
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from threading import Thread
from time import perf_counter
from typing import Any, NamedTuple

from scratchlm.assistant.instructions import format_prompt
from scratchlm.checkpoint.config_json import CONFIG
from scratchlm.export.folder import export_model
from scratchlm.params.file import load_params

MODELS = ("assistant", "pretrained")
OURS, THEIRS = "scratchlm", "llama.cpp"
N_CLIENTS = (1, 8)
NEW_TOKENS = 64
SCRIPTS = Path(__file__).parents[1] / "scripts"
TEXT = re.compile(rb'"text": ?"[^"]')  # the first text that is not empty
EVENT = re.compile(rb"^data: (\{.*\})\r?$", re.MULTILINE)
LLAMA_CPP = """
import sys
from pathlib import Path
from serve_gguf import serve
path, name, context, n_at_once, n_threads = sys.argv[1:]
server = serve(Path(path), name, int(context), int(n_at_once), 0, int(n_threads))
print(server.listening_address, flush=True)
sys.stdin.read()
"""


class Answered(NamedTuple):
    """An answer as a client sees it."""

    first_s: float  # from the request to the first text; of an empty answer, to its end
    n_tokens: int
    text: str


def main() -> None:
    arguments = parse_arguments()
    rows = [row for name in arguments.models for row in measure(Path(), name, arguments.rounds, arguments.threads)]
    if arguments.json:
        print(json.dumps(rows, indent=2))
        return
    titles = f"{'clients':>8}{'tokens/s':>10}{'speedup':>9}{'ours is':>9}{'first token':>18}{'same':>12}"
    print(f"{'model':12}{'server':11}{titles}")
    for row in rows:
        speedup, ours_is = (f"{row[key]:.2f} x" if row[key] else "" for key in ("speedup", "ours_is"))
        first = f"{row['first_ms']:.1f}, {row['first_p95_ms']:.1f} ms"
        same = f"{row['same']} of {row['prompts']}"
        print(
            f"{row['model']:12}{row['server']:11}{row['clients']:8}{row['tokens_per_s']:10,.0f}{speedup:>9}"
            f"{ours_is:>9}{first:>18}{same:>12}"
        )


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=str(__doc__).split("\n\n")[0], formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("--models", nargs="+", default=MODELS, help="folders of models/")
    parser.add_argument("--rounds", type=int, default=3, help="rounds of each server and number of clients")
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="threads of llama.cpp")
    parser.add_argument("--json", action="store_true", help="print the rows as JSON")
    return parser.parse_args()


def measure(root: Path, name: str, n_rounds: int, n_threads: int) -> list[dict[str, Any]]:
    """Let both servers answer with a model of the project in `root`, in turn; return the table's rows."""
    folder = root / "models" / name
    entries = json.loads((root / "data/instructions/test.json").read_text(encoding="utf-8"))
    style = load_params(root / "params.yaml").instructions.prompt_style
    prompts = [format_prompt(entry, style) for entry in entries]
    context = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    context = context.get("n_positions") or context["max_position_embeddings"]
    found: dict[tuple[str, int], list[tuple[float, list[Answered]]]] = {}
    with tempfile.TemporaryDirectory() as temporary:
        exported = Path(temporary) / "exported"
        gguf = exported / export_model(folder, exported, "f32").gguf_name
        ours = ["-m", "scratchlm.cli", "serve", "--port", "0"]
        theirs = ["-c", LLAMA_CPP, str(gguf), name, str(context), str(max(N_CLIENTS)), str(n_threads)]
        with serve(ours, root) as first, serve(theirs, root) as second:
            ports = {OURS: first, THEIRS: second}
            for port in ports.values():
                ask_all(port, name, prompts[: 2 * max(N_CLIENTS)], max(N_CLIENTS))
            for round_number in range(n_rounds):
                for side in [(server, n) for server in ports for n in N_CLIENTS]:
                    print(f"{name}, round {round_number + 1}: {side} ...", file=sys.stderr, flush=True)
                    found.setdefault(side, []).append(ask_all(ports[side[0]], name, prompts, side[1]))
    return [make_row(name, side, found) for side in found]


def make_row(
    name: str, side: tuple[str, int], found: dict[tuple[str, int], list[tuple[float, list[Answered]]]]
) -> dict[str, Any]:
    """Summarise the rounds of a server and a number of clients."""

    server, n_clients = side
    ours = found[OURS, 1][0][1]
    n_tokens = sum(one.n_tokens for one in ours)

    def tokens_per_s(side: tuple[str, int]) -> float:
        return n_tokens / statistics.median(seconds for seconds, _ in found[side])

    first_ms = [1000 * one.first_s for _, answers in found[side] for one in answers]
    return {
        "model": name,
        "server": server,
        "clients": n_clients,
        "prompts": len(ours),
        "tokens": n_tokens,
        "tokens_per_s": tokens_per_s(side),
        "speedup": tokens_per_s(side) / tokens_per_s((server, 1)) if n_clients > 1 else None,
        "ours_is": tokens_per_s((OURS, n_clients)) / tokens_per_s(side) if server != OURS else None,
        "first_ms": statistics.median(first_ms),
        "first_p95_ms": statistics.quantiles(first_ms, n=20)[-1],
        "same": sum(one.text == wanted.text for one, wanted in zip(found[side][0][1], ours, strict=True)),
    }


@contextmanager
def serve(arguments: Sequence[str], root: Path) -> Iterator[int]:
    """Run a server in a process of its own until the block ends; yield its port."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([*sys.path, str(SCRIPTS)])}
    command = [sys.executable, *arguments]
    process = subprocess.Popen(
        command, cwd=root, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    try:
        assert process.stdout is not None
        announced = re.search(rb"http://127\.0\.0\.1:(\d+)", process.stdout.readline())
        assert announced is not None, f"{command} does not start"
        yield int(announced[1])
    finally:
        process.kill()
        process.communicate()


def ask_all(port: int, model: str, prompts: Sequence[str], n_clients: int) -> tuple[float, list[Answered]]:
    """Let clients share out the prompts; return the seconds from the first request to the last end, and the answers."""
    answers: dict[int, Callable[[], Answered]] = {}
    numbers = count()

    def ask_on() -> None:
        while (number := next(numbers)) < len(prompts):
            answers[number] = ask(port, model, prompts[number])

    clients = [Thread(target=ask_on) for _ in range(n_clients)]
    started = perf_counter()
    for client in clients:
        client.start()
    for client in clients:
        client.join()
    seconds = perf_counter() - started
    return seconds, [answers[number]() for number in range(len(prompts))]


def ask(port: int, model: str, prompt: str) -> Callable[[], Answered]:
    """Ask for an answer, and wait for its end. What came is read later, so that it costs the servers no time."""
    wanted = {"stream": True, "stream_options": {"include_usage": True}, "temperature": 0, "max_tokens": NEW_TOKENS}
    body = json.dumps({"model": model, "prompt": prompt, **wanted}).encode()
    head = f"POST /v1/completions HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Type: application/json\r\n"
    head += f"Connection: close\r\nContent-Length: {len(body)}\r\n\r\n"
    came: list[tuple[float, bytes]] = []
    started = perf_counter()
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.sendall(head.encode() + body)
        while part := connection.recv(1 << 16):
            came.append((perf_counter() - started, part))
    return lambda: read(came)


def read(came: Sequence[tuple[float, bytes]]) -> Answered:
    """Read an answer from what came, and when."""
    whole = b"".join(part for _, part in came)
    events = [json.loads(event) for event in EVENT.findall(whole)]
    usage = [event["usage"] for event in events if event.get("usage")]
    assert usage, whole.decode()
    text = "".join(choice["text"] for event in events for choice in event["choices"])
    first_s, so_far = came[-1][0], b""
    for seconds, part in came:
        so_far += part
        if TEXT.search(so_far):
            first_s = seconds
            break
    return Answered(first_s, usage[-1]["completion_tokens"], text)


if __name__ == "__main__":
    main()
