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
from hypothesis import given
from hypothesis import strategies as st
from llama_cpp_server import LlamaCppServer
from transformers import AutoModelForCausalLM, AutoTokenizer

from scratchlm.bases.smollm2 import CONFIG, convert_gguf
from scratchlm.checkpoint.folder import load
from scratchlm.download.sources import SMOLLM2_TOKENIZER
from scratchlm.files.checksum import measure
from scratchlm.generation.decode import Sampling, generate
from scratchlm.model.language_model import LanguageModel
from scratchlm.model.likelihood import log_likelihoods
from scratchlm.tokenizer.protocol import Tokenizer

pytestmark = pytest.mark.slow

TOLERANCE = 1e-3  # of logits up to 39, in float32, over 30 layers; 6e-4 was seen
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
PARALLEL = 4
CONTEXT = 640  # of each question
CHARACTERS = 10_000  # that llama.cpp's server gets at once
WINDOWS = 4
PIECES = st.sampled_from(
    [
        *(
            "the",
            " cat",
            "don't",
            " We'LL",
            "1999",
            " 12",
            "3.14",
            "½",
            "٣",
            "naïve",
            "e\u0301",
            "über",
            "中文",
            "Привет",
        ),
        *(
            "\U0001f600",
            "\U0001f468\u200d\U0001f469",
            " ",
            "  ",
            "\n",
            "\r\n",
            "\t",
            "\u00a0",
            "\u3000",
            "...",
            "=>",
            "_",
        ),
        *("\x01", "\x04", "\x1d", "\x7f", "\x85", "\u200b", "\ufeff"),
    ]
)
LETTERS = st.text(st.characters(codec="latin-1", exclude_characters="\0"), max_size=12)
MIXED = st.lists(PIECES | LETTERS, min_size=1, max_size=12).map("".join)


@pytest.fixture(scope="module")
def folder(smollm2_gguf: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("smollm2")
    convert_gguf(smollm2_gguf, folder)
    return folder


@pytest.fixture(scope="module")
def ours(folder: Path) -> tuple[LanguageModel, Tokenizer]:
    return load(folder)


@pytest.fixture(scope="module")
def server(smollm2_gguf: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of llama.cpp's own server of the file as it came."""
    pytest.importorskip("xllamacpp", reason="xllamacpp is not installed (scripts/setup.sh installs it where it can)")
    log = tmp_path_factory.mktemp("llama_cpp") / "log"
    with LlamaCppServer(smollm2_gguf, "smollm2", log, CONTEXT, PARALLEL) as running:
        yield running.host


def post(url: str, request: dict[str, Any]) -> dict[str, Any]:
    with requests.Session() as session:
        session.trust_env = False  # no proxy stands before this machine itself
        answered: dict[str, Any] = session.post(url, json=request, timeout=600).json()
    return answered


# --- the tokenizer ------------------------------------------------------------------------------------------


def test_the_tokenizer_is_the_published_one_byte_for_byte(folder: Path) -> None:
    assert measure(folder / "tokenizer.json") == (SMOLLM2_TOKENIZER.size_bytes, SMOLLM2_TOKENIZER.sha256)


@pytest.mark.mirror
def test_transformers_gives_the_same_ids_for_a_real_file(
    ours: tuple[LanguageModel, Tokenizer], folder: Path, mirror: Path
) -> None:
    """From the folder: its reading of the GGUF file itself does not cut out digits."""
    tokenizer, text = ours[1], (mirror / "instruction-data.json").read_text(encoding="utf-8")
    ids = AutoTokenizer.from_pretrained(folder)(text).input_ids
    assert tokenizer.encode(text, allowed_special="all") == ids
    assert tokenizer.decode(ids) == text


def llama_cpp_ids(server: str, text: str) -> list[int]:
    request = {"content": text, "add_special": False, "parse_special": False}
    ids: list[int] = post(f"{server}/tokenize", request)["tokens"]
    return ids


@pytest.mark.mirror
def test_llama_cpp_gives_the_same_ids_for_all_real_data(
    ours: tuple[LanguageModel, Tokenizer], server: str, real_texts: list[str]
) -> None:
    for text in real_texts:
        for start in range(0, len(text), CHARACTERS):
            piece = text[start : start + CHARACTERS]
            assert llama_cpp_ids(server, piece) == ours[1].encode_ordinary(piece)


@given(text=MIXED)
def test_llama_cpp_gives_the_same_ids_for_any_mixture(
    ours: tuple[LanguageModel, Tokenizer], server: str, text: str
) -> None:
    assert llama_cpp_ids(server, text) == ours[1].encode_ordinary(text)


# --- the weights --------------------------------------------------------------------------------------------


def test_the_shape_is_the_published_one(ours: tuple[LanguageModel, Tokenizer]) -> None:
    assert ours[0].config == CONFIG


def test_transformers_reads_the_same_weights_from_the_file(
    ours: tuple[LanguageModel, Tokenizer], folder: Path, smollm2_gguf: Path
) -> None:
    theirs = AutoModelForCausalLM.from_pretrained(smollm2_gguf.parent, gguf_file=smollm2_gguf.name, dtype=torch.float32)
    written = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).state_dict()
    read = theirs.state_dict()
    assert len(read) > 0 and written.keys() == read.keys()
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
    """Of every token but the first of four windows of 512, after those before it in its window."""
    model, tokenizer = ours
    ids = tokenizer.encode_ordinary((mirror / "the-verdict.txt").read_text(encoding="utf-8"))
    windows = [ids[start : start + WINDOW] for start in range(0, WINDOWS * WINDOW, WINDOW)]
    assert len(ids) >= WINDOWS * WINDOW
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
        assert len(theirs) > 0
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


def test_a_checkpoint_is_written_within_1_6_gb(smollm2_gguf: Path, tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from scratchlm.bases.smollm2 import convert_gguf; "
        "convert_gguf(Path(sys.argv[1]), Path(sys.argv[2])); print(Path('/proc/self/status').read_text())"
    )
    command = [sys.executable, "-c", code, str(smollm2_gguf), str(tmp_path)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    peak = re.search(r"VmHWM:\s+(\d+) kB", done.stdout)  # rusage would begin with this process's own peak
    assert peak is not None and int(peak[1]) * 1024 < 1.6e9
