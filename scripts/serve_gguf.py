"""Serve a language model to judge_responses by llama.cpp, on 127.0.0.1: python scripts/serve_gguf.py MODEL [--port N]

MODEL is a GGUF file of yours, or smollm2-135M, which is downloaded. It needs the package xllamacpp, which
scripts/setup.sh installs where it can; llama.cpp's own `llama-server` serves as well.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import signal
import sys
import tempfile
from pathlib import Path
from typing import Any

from scratchlm.download.fetch import fetch
from scratchlm.download.sources import SMOLLM2_GGUF
from scratchlm.errors import InputError

SMOLLM2 = "smollm2-135M"
PORT, LAST_PORT = 8080, 65535
OTHER = "or serve the file by llama.cpp's own `llama-server --model FILE`"
CONTEXT = 2048  # tokens, of prompt and answer: judge.num_ctx of the profiles
AT_ONCE = 4  # questions, as many as judge_responses asks


def serve(model: Path, name: str, context: int, n_at_once: int, port: int, n_threads: int) -> Any:
    """Load a GGUF file and answer under `name`, with `context` tokens for each of `n_at_once` questions.

    Port 0 takes a free one. Returns the server, which runs until it is collected; `listening_address` is its URL.
    """
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path, params.model_alias = str(model), {name}
    params.hostnames, params.port = ["127.0.0.1"], port
    params.n_ctx, params.n_parallel = context * n_at_once, n_at_once  # the context is shared out among them
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = n_threads
    params.n_gpu_layers, params.warmup = 0, False
    return xllamacpp.Server(params)


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("model", metavar="MODEL")
    arguments.add_argument("--port", type=int, default=PORT)
    asked = arguments.parse_args()
    if not 0 <= asked.port <= LAST_PORT:
        sys.exit(f"serve_gguf: error: no port {asked.port}, wanted 0 to {LAST_PORT} (0 is any free one)")
    if importlib.util.find_spec("xllamacpp") is None:  # before the download
        sys.exit(f"serve_gguf: error: xllamacpp is not installed: `{sys.executable} -m pip install xllamacpp`, {OTHER}")
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: sys.exit())
    with tempfile.TemporaryDirectory() as folder:
        try:
            path = Path(asked.model)
            if asked.model == SMOLLM2:
                path = fetch(SMOLLM2_GGUF, Path(folder) / SMOLLM2_GGUF.name)
            elif not path.is_file():
                raise InputError(f"no file {path}: name a GGUF file, or {SMOLLM2}")
            name = path.stem if asked.model != SMOLLM2 else SMOLLM2
            server = serve(path, name, CONTEXT, AT_ONCE, asked.port, os.cpu_count() or 1)
        except InputError as error:
            sys.exit(f"serve_gguf: error: {error}")
        except ImportError as error:
            sys.exit(f"serve_gguf: error: xllamacpp cannot be loaded ({error}): {OTHER}")
        except RuntimeError:  # whose text names neither
            problem = f"llama.cpp cannot serve {path} on port {asked.port}"
            sys.exit(f"serve_gguf: error: {problem}: is it a GGUF file, is the port free?")
        print(f"{name} answers until Ctrl-C. To have it judge, in another terminal:", flush=True)
        print(f"export OPENAI_BASE_URL={server.listening_address}/v1", flush=True)
        print(f"dvc exp run -S 'judge.judges=[openai:{name},overlap]' -S judge.min_coverage=0", flush=True)
        signal.pause()


if __name__ == "__main__":
    main()
