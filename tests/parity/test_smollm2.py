"""SmolLM2-135M from its package: the tokens and the numbers that transformers and llama.cpp get from the same file."""

from __future__ import annotations

import math
import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import requests
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from scratchlm.bases.smollm2 import CONFIG, convert_gguf
from scratchlm.checkpoint.folder import load
from scratchlm.download.fetch import fetch
from scratchlm.download.sources import SMOLLM2_GGUF, SMOLLM2_TOKENIZER
from scratchlm.errors import InputError
from scratchlm.files.checksum import measure
from scratchlm.generation.decode import Sampling, generate
from scratchlm.model.language_model import LanguageModel
from scratchlm.model.likelihood import log_likelihoods
from scratchlm.tokenizer.protocol import Tokenizer

pytestmark = pytest.mark.slow

TOLERANCE = 5e-4  # of logits up to 39, in float32, over 30 layers
WINDOW = 512
NEW_TOKENS = 40
# llama.cpp rounds what goes into each layer to 8 bits: of two tokens that are nearly as likely it may choose the other.
CLOSE = 0.5  # in logits
PROMPTS = [
    *(
        "Every effort moves you",
        "The capital of France is",
        "Once upon a time there was a",
        "1 + 1 = 2, 2 + 2 =",
        "def",
    ),
    *(
        "The three primary colours are",
        "Water boils at 100 degrees",
        "Dear Sir or Madam,",
        "To be, or not to be,",
        "In",
    ),
    *("The largest planet of the solar system is", "A recipe for pancakes:\n\n1.", "She opened the door and", "Berlin"),
    *("The opposite of hot is", "import numpy as np\n", "My favourite book is", "It was a dark and stormy night;"),
    *("<|im_start|>user\nWhat is the capital of Italy?<|im_end|>\n<|im_start|>assistant\n", "Q: Who wrote Hamlet?\nA:"),
]
SERVER = """
import sys
import xllamacpp
params = xllamacpp.CommonParams()
params.model.path, params.model_alias = sys.argv[1], {"smollm2"}
params.n_parallel = int(sys.argv[2])
params.n_ctx = params.n_parallel * 640
params.cpuparams.n_threads = params.cpuparams_batch.n_threads = 1
params.n_gpu_layers, params.warmup = 0, False
server = xllamacpp.Server(params)
print(server.listening_address, flush=True)
sys.stdin.read()  # until the tests are over
"""
PARALLEL = 4
SUFFIXES = ("", ".txt", ".json", ".bpe")
CHARACTERS = 10_000  # that llama.cpp's server gets at once


@pytest.fixture(scope="module")
def gguf_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    try:
        return fetch(SMOLLM2_GGUF, tmp_path_factory.mktemp("gguf") / SMOLLM2_GGUF.name)
    except InputError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def folder(gguf_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("smollm2")
    convert_gguf(gguf_file, folder)
    return folder


@pytest.fixture(scope="module")
def ours(folder: Path) -> tuple[LanguageModel, Tokenizer]:
    return load(folder)


@pytest.fixture(scope="module")
def server(gguf_file: Path) -> Iterator[str]:
    """llama.cpp's own server of the file as it came, in a process of its own."""
    pytest.importorskip("xllamacpp", reason="xllamacpp is not installed (scripts/setup.sh installs it where it can)")
    command = [sys.executable, "-c", SERVER, str(gguf_file), str(PARALLEL)]
    log = gguf_file.with_suffix(".log")
    with (
        log.open("w") as errors,
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, text=True) as process,
    ):
        assert process.stdout is not None and process.stdin is not None
        url = process.stdout.readline().strip()
        assert url.startswith("http://127.0.0.1:"), log.read_text()
        yield url
        process.stdin.close()
        process.kill()


def post(url: str, request: dict[str, Any]) -> dict[str, Any]:
    with requests.Session() as session:
        session.trust_env = False  # no proxy stands before this machine itself
        answered: dict[str, Any] = session.post(url, json=request, timeout=600).json()
    return answered


def real_texts(mirror: Path, lines: bool = True) -> list[str]:
    """Return the text of every file of the real data, as a whole, and line by line too."""
    whole = [path.read_text(encoding="utf-8") for path in sorted(mirror.iterdir()) if path.suffix in SUFFIXES]
    return [*whole, *(line for text in whole for line in text.splitlines() if lines)]


# --- the tokenizer ------------------------------------------------------------------------------------------


def test_the_tokenizer_is_the_published_one_byte_for_byte(folder: Path) -> None:
    assert measure(folder / "tokenizer.json") == (SMOLLM2_TOKENIZER.size_bytes, SMOLLM2_TOKENIZER.sha256)


@pytest.mark.mirror
def test_transformers_gives_the_same_ids_for_all_real_data(
    ours: tuple[LanguageModel, Tokenizer], folder: Path, mirror: Path
) -> None:
    """From the folder: its reading of the GGUF file itself does not cut out digits, and differs in 55 texts."""
    tokenizer, texts = ours[1], real_texts(mirror)
    theirs = AutoTokenizer.from_pretrained(folder)
    for text, ids in zip(texts, theirs(texts).input_ids, strict=True):
        assert tokenizer.encode(text, allowed_special="all") == ids
        assert tokenizer.decode(ids) == text


@pytest.mark.mirror
def test_llama_cpp_gives_the_same_ids_for_all_real_data(
    ours: tuple[LanguageModel, Tokenizer], server: str, mirror: Path
) -> None:
    tokenizer = ours[1]
    for text in real_texts(mirror, lines=False):
        for start in range(0, len(text), CHARACTERS):
            piece = text[start : start + CHARACTERS]
            request = {"content": piece, "add_special": False, "parse_special": False}
            assert post(f"{server}/tokenize", request)["tokens"] == tokenizer.encode_ordinary(piece)


# --- the weights --------------------------------------------------------------------------------------------


def test_the_shape_is_the_published_one(ours: tuple[LanguageModel, Tokenizer]) -> None:
    assert ours[0].config == CONFIG


def test_transformers_reads_the_same_weights_from_the_file(
    ours: tuple[LanguageModel, Tokenizer], folder: Path, gguf_file: Path
) -> None:
    theirs = AutoModelForCausalLM.from_pretrained(gguf_file.parent, gguf_file=gguf_file.name, dtype=torch.float32)
    written = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).state_dict()
    read = theirs.state_dict()
    assert written.keys() == read.keys()
    assert all(torch.equal(written[name], read[name]) for name in read)
    torch.manual_seed(1)
    ids_BT = torch.randint(CONFIG.vocab_size, (2, 300))
    with torch.no_grad():
        logits_BTV, their_logits_BTV = ours[0](ids_BT), theirs.eval()(ids_BT).logits
    assert (logits_BTV - their_logits_BTV).abs().max() < TOLERANCE


@pytest.mark.mirror
def test_the_perplexity_of_the_verdict_is_llama_cpp_s(
    ours: tuple[LanguageModel, Tokenizer], server: str, mirror: Path
) -> None:
    """Of every token but the first of windows of 512, after those before it in its window."""
    model, tokenizer = ours
    ids = tokenizer.encode_ordinary((mirror / "the-verdict.txt").read_text(encoding="utf-8"))
    windows = [ids[start : start + WINDOW] for start in range(0, len(ids) - WINDOW + 1, WINDOW)]
    our_sum = sum(float(log_likelihoods(model, [window], [WINDOW - 1])[0]) for window in windows)
    with ThreadPoolExecutor(PARALLEL) as pool:
        their_sum = sum(pool.map(lambda numbered: llama_cpp_log_likelihood(server, *numbered), enumerate(windows)))
    count = len(windows) * (WINDOW - 1)
    our_perplexity, their_perplexity = (math.exp(-total / count) for total in (our_sum, their_sum))
    print(f"perplexity of {count} tokens: {our_perplexity:.2f}, llama.cpp's {their_perplexity:.2f}")
    assert our_perplexity == pytest.approx(their_perplexity, rel=0.02)


def llama_cpp_log_likelihood(server: str, number: int, window: Sequence[int]) -> float:
    """Return the log-likelihood of a window's tokens after its first, asked token by token.

    llama.cpp says how likely its model finds the token that is sampled; a large bias makes that the text's next one.
    What it has computed for the tokens before is still there at the next request.
    """
    total = 0.0
    for length in range(1, len(window)):
        request = {
            "prompt": window[:length],
            "n_predict": 1,
            "n_probs": 1,
            "temperature": 0,
            "logit_bias": [[window[length], 1e6]],
            "id_slot": number % PARALLEL,
            "return_tokens": True,
        }
        answered = post(f"{server}/completion", request)
        assert answered["tokens"] == [window[length]]
        total += answered["completion_probabilities"][0]["logprob"]
    return total


def test_greedy_texts_are_llama_cpp_s_up_to_rounding(ours: tuple[LanguageModel, Tokenizer], server: str) -> None:
    model, tokenizer = ours
    parted = []
    for number, prompt in enumerate(PROMPTS):
        ids = tokenizer.encode(prompt, allowed_special="all")
        (continuation,) = generate(model, [ids], NEW_TOKENS, (), Sampling(), batch_size=1)
        request = {"prompt": ids, "n_predict": NEW_TOKENS, "temperature": 0, "ignore_eos": False, "return_tokens": True}
        theirs = post(f"{server}/completion", request)["tokens"]
        pairs = enumerate(zip(continuation.ids, theirs, strict=False))
        differing = next((place for place, (our_id, their_id) in pairs if our_id != their_id), None)
        if differing is not None:
            with torch.no_grad():
                logits_V = model(torch.tensor([ids + continuation.ids[:differing]]))[0, -1]
            margin = float(logits_V[continuation.ids[differing]] - logits_V[theirs[differing]])
            parted.append((number, differing, margin))
            print(f"{prompt!r}: parts at token {differing}, where the margin is {margin:.3f}")
            assert 0 <= margin < CLOSE
    assert len(parted) < len(PROMPTS)


def test_a_checkpoint_is_written_within_1_6_gb(gguf_file: Path, tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from scratchlm.bases.smollm2 import convert_gguf; "
        "convert_gguf(Path(sys.argv[1]), Path(sys.argv[2])); print(Path('/proc/self/status').read_text())"
    )
    command = [sys.executable, "-c", code, str(gguf_file), str(tmp_path)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    peak = re.search(r"VmHWM:\s+(\d+) kB", done.stdout)  # rusage would begin with this process's own peak
    assert peak is not None and int(peak[1]) * 1024 < 1.6e9
