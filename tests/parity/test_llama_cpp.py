"""llama.cpp with our weights: the same text, the same tokens, and its own server as a judge.

A small, hardly trained GPT is written as a GGUF file and served over HTTP by llama.cpp. As a judge its scores are
noise; the test is that every answer gets its row.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import requests
import torch
from answered import answered
from llama_cpp_server import LlamaCppServer
from torch.nn import functional as F

from scratchlm.assistant.instructions import COMPARED, VARIANTS
from scratchlm.checkpoint.folder import save_checkpoint
from scratchlm.export.gguf_file import write_gguf
from scratchlm.export.vocabulary import read_vocabulary
from scratchlm.generation.decode import Sampling, generate
from scratchlm.judging.answer_cache import AnswerCache
from scratchlm.judging.judges import open_judge
from scratchlm.judging.pairwise import summarise_pairs
from scratchlm.judging.verdicts import judge_responses
from scratchlm.model.config import GPTConfig, LlamaConfig
from scratchlm.model.gpt import GPT
from scratchlm.model.init import new_model
from scratchlm.model.language_model import LanguageModel
from scratchlm.params.schema import JudgeParams
from scratchlm.tokenizer.folder import read_tokenizer

REASON = "xllamacpp is not installed (scripts/setup.sh installs it where it can)"
pytest.importorskip("xllamacpp", reason=REASON)

CONTEXT = 2048  # the judge's prompts take up to 1,500 of so small a tokenizer's tokens
MAX_ANSWER_TOKENS = 64
ROUNDING = 0.003  # of logits whose standard deviation is about 1: llama.cpp keeps keys and values in float16
NUMBERS = [str(number) for number in range(10, 100)]  # what the judge of answers says
FIRST_ONE = ['{"reason": "", "verdict": "A"}']  # what the judge of pairs says
N_STEPS, N_BEFORE = 120, 40  # of the judge's training: steps, and random tokens before its turn
MY_TURN = "<|im_end|>\n<|im_start|>assistant\n"  # how llama.cpp ends a prompt for a model without a format of its own


@pytest.fixture(scope="module")
def model() -> GPT:
    torch.manual_seed(5)
    gpt = new_model(GPTConfig(280, CONTEXT, 64, 4, 3), "gpt2").eval()
    with torch.no_grad():  # large weights, so that texts differ, and nontrivial biases and norms
        for parameter in gpt.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.05)
    return gpt


@pytest.fixture(scope="module")
def server(model: GPT, tokenizer_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with serve(model, tokenizer_folder, tmp_path_factory.mktemp("llama_cpp")) as url:
        yield url


@pytest.fixture(scope="module")
def judges_server(tokenizer_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with serve(train_judge(tokenizer_folder, NUMBERS), tokenizer_folder, tmp_path_factory.mktemp("judge")) as url:
        yield url


@pytest.fixture(scope="module")
def pair_judges_server(tokenizer_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with serve(train_judge(tokenizer_folder, FIRST_ONE), tokenizer_folder, tmp_path_factory.mktemp("pairs")) as url:
        yield url


def train_judge(tokenizer_folder: Path, sayings: list[str]) -> GPT:
    """Train a GPT to answer with one of the sayings and end of text when its turn comes; all are equally long."""
    torch.manual_seed(5)
    gpt = new_model(GPTConfig(280, CONTEXT, 64, 4, 2), "gpt2", init_std=0.1)
    tokenizer = read_tokenizer(tokenizer_folder)
    turn = tokenizer.encode_ordinary(MY_TURN)
    optimizer = torch.optim.AdamW(gpt.parameters(), lr=0.003)
    said_NT = torch.tensor([[*turn, *tokenizer.encode_ordinary(text), tokenizer.eot_token] for text in sayings])
    n_answer = said_NT.shape[1] - len(turn)
    for _ in range(N_STEPS):
        spoken_BT = said_NT[torch.randint(len(sayings), (16,))]
        ids_BT = torch.cat([torch.randint(279, (16, N_BEFORE)), spoken_BT], dim=1)
        # Anywhere in the context, as prompts differ in length.
        positions_BT = torch.randint(CONTEXT - ids_BT.shape[1], (16, 1)) + torch.arange(ids_BT.shape[1])
        logits_BTV = gpt.head(gpt.features(ids_BT, positions_BT))
        optimizer.zero_grad()
        F.cross_entropy(logits_BTV[:, -n_answer - 1 : -1].flatten(0, 1), ids_BT[:, -n_answer:].flatten()).backward()
        optimizer.step()
    return gpt.eval()


@contextmanager
def serve(model: LanguageModel, tokenizer_folder: Path, folder: Path) -> Iterator[str]:
    """Serve a model by llama.cpp until the block ends, and yield the server's address."""
    path, checkpoint = folder / "tiny.gguf", folder / "checkpoint"
    save_checkpoint(checkpoint, model, tokenizer_folder)
    write_gguf(path, checkpoint, read_vocabulary(checkpoint), "f32", "tiny", None)
    with LlamaCppServer(path, "tiny", folder / "log", CONTEXT) as server:
        yield server.host


def post(url: str, request: dict[str, Any]) -> dict[str, Any]:
    with requests.Session() as session:
        session.trust_env = False  # no proxy stands before this machine itself
        answer: dict[str, Any] = session.post(url, json=request, timeout=60).json()
    return answer


def test_llama_cpp_continues_texts_as_we_do(model: GPT, server: str) -> None:
    assert_continued_as_ours(model, server)


def test_llama_cpp_continues_texts_of_a_llama_as_we_do(tokenizer_folder: Path, tmp_path: Path) -> None:
    torch.manual_seed(5)
    config = LlamaConfig(280, CONTEXT, 64, 4, 3, n_kv_heads=2, hidden_dim=96, rope_base=500.0, norm_epsilon=1e-3)
    llama = new_model(config, "gpt2", 0.15).eval()
    with torch.no_grad():
        for parameter in llama.parameters():
            if parameter.ndim == 1:
                parameter.uniform_(0.5, 1.5)
    with serve(llama, tokenizer_folder, tmp_path) as url:
        assert_continued_as_ours(llama, url)


def assert_continued_as_ours(model: LanguageModel, server: str) -> None:
    torch.manual_seed(6)
    prompts = [torch.randint(279, (length,)).tolist() for length in (1, 40, 7, 200, 3, 19)]
    ours = generate(model, prompts, 60, (), Sampling(), batch_size=len(prompts))
    n_equal = 0
    for prompt, continuation in zip(prompts, ours, strict=True):
        request = {"prompt": prompt, "n_predict": 60, "temperature": 0, "ignore_eos": True, "return_tokens": True}
        answer = post(f"{server}/completion", request)
        # Ignoring the end of text forbids it; ours never says it here, so the two are the same.
        assert 279 not in continuation.ids
        parted = [place for place in range(60) if answer["tokens"][place] != continuation.ids[place]][:1]
        for place in parted:  # only where our model finds both tokens equally likely, up to rounding
            with torch.no_grad():
                logits_V = model(torch.tensor([prompt + continuation.ids[:place]]))[0, -1]
            assert logits_V[continuation.ids[place]] - logits_V[answer["tokens"][place]] < ROUNDING
        n_equal += not parted
    assert n_equal >= len(prompts) - 1
    assert len({tuple(continuation.ids) for continuation in ours}) == len(prompts)


@pytest.mark.parametrize("text", ["the cat sat on a mat", "  Two  spaces\n\nand lines ", "Ünïcödé 🙂 don't 1234"])
def test_llama_cpp_tokenizes_as_we_do(text: str, server: str, tokenizer_folder: Path) -> None:
    ids = read_tokenizer(tokenizer_folder).encode_ordinary(text)
    assert post(f"{server}/tokenize", {"content": text})["tokens"] == ids
    assert post(f"{server}/detokenize", {"tokens": ids})["content"] == text


@pytest.mark.parametrize("prompt", ["book", "rubric"])
def test_llama_cpp_judges_and_every_answer_gets_its_row(
    prompt: Any, judges_server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", f"{judges_server}/v1")
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    settings = judge_params(prompt=prompt)
    entries = [entry(number) for number in range(4)]
    entries[1]["base"]["text"] = ""
    entries[3]["assistant"]["text"] = "an answer far too long " * 800  # llama.cpp refuses what does not fit
    with AnswerCache(tmp_path / "answers.sqlite") as cache:
        judge = open_judge("openai:tiny", settings, 123, cache)
        rows = judge_responses(entries, judge, concurrency=4)
        refused = 10
        # The refused answer is asked for again, the rest comes from the cache.
        again = judge_responses(entries, judge, concurrency=1)
        assert [*again[:refused], *again[refused + 1 :]] == [*rows[:refused], *rows[refused + 1 :]]
    assert [(row["id"], row["variant"]) for row in rows] == [
        (number, variant) for number in range(4) for variant in VARIANTS
    ]
    statuses = [row["status"] for row in rows]
    assert statuses[3] == "empty"
    assert statuses[refused] == "http_error" and "context size" in rows[refused]["reason"]
    judged = [row for row in rows if row["status"] not in ("empty", "http_error")]
    assert len(judged) == 10 and all(row["raw"] for row in judged)
    if prompt == "book":
        assert {row["status"] for row in judged} == {"ok"} and {row["reason"] for row in judged} == {""}
        assert all(0 <= row["score"] < 100 and float(row["raw"]) == row["score"] for row in judged)
    else:  # the server forces JSON, which the model has not learned
        assert {row["status"] for row in judged} <= {"ok", "truncated", "parse_error", "out_of_range"}
        assert all((row["score"] is None) == bool(row["reason"]) for row in judged if row["status"] != "ok")


def test_llama_cpp_compares_and_every_pair_gets_a_row_in_each_order(
    pair_judges_server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", f"{pair_judges_server}/v1")
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    entries = [entry(number) for number in range(4)]
    entries[1]["base"] = entries[1]["assistant"]
    entries[2]["preferred"] = entries[2]["assistant"]
    entries[3]["assistant"]["text"] = "an answer far too long " * 800
    with AnswerCache(tmp_path / "answers.sqlite") as cache:
        judge = open_judge("openai:tiny", judge_params(prompt="rubric"), 123, cache)
        rows = judge_responses(entries, judge, concurrency=4, pairwise=True)[len(VARIANTS) * len(entries) :]
    assert [(row["id"], row["variant"]) for row in rows] == [
        (number, variant) for pair in COMPARED.values() for number in range(4) for variant in pair
    ]
    # The server keeps the model to the schema; the model says that the first one is better, whatever stands there.
    assert [(row["status"], row["winner"]) for row in rows] == [
        ("ok", "base"), ("ok", "assistant"), ("equal", "tie"), ("equal", "tie"),
        ("ok", "base"), ("ok", "assistant"), ("http_error", None), ("http_error", None),
        ("ok", "assistant"), ("ok", "preferred"), ("ok", "assistant"), ("ok", "preferred"),
        ("equal", "tie"), ("equal", "tie"), ("http_error", None), ("http_error", None),
    ]  # fmt: skip
    assert {json.loads(row["raw"])["verdict"] for row in rows if row["status"] == "ok"} == {"A"}
    assert "context size" in rows[6]["reason"]
    for compared in COMPARED.values():
        found = summarise_pairs(rows, compared, 123)
        assert (found["ties"], found["n_judged"], found["n"], found["equal"]) == (3, 3, 4, 1)
        assert (found["win_rate"], found["first_preferred"]) == (50, 100)


def judge_params(prompt: Any) -> JudgeParams:
    return JudgeParams(
        judges=["openai:tiny"],
        prompt=prompt,
        pairwise=True,
        temperature=0.0,
        num_ctx=CONTEXT,
        max_answer_tokens=MAX_ANSWER_TOKENS,
        probes=0,
        min_coverage=0.0,
    )


def entry(number: int) -> dict[str, Any]:
    answers = (f"the dog {number}", f"a cat {number}", f"gladly, a cat {number}")
    return answered(number, *answers, instruction=f"Name animal {number}.", output="the cat")
