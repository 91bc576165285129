"""The command line as a user meets it: its output and its errors; where the process matters, a real one."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import replace
from io import StringIO
from pathlib import Path
from typing import NamedTuple

import pytest
import torch

import scratchlm
from scratchlm.anatomy.memory import TrainingStep, describe_memory
from scratchlm.anatomy.shapes import EXAMPLES, GPT2_EXAMPLE_IDS, describe_shapes
from scratchlm.assistant.folder import load_assistant, save_assistant
from scratchlm.assistant.instructions import Entry, format_prompt
from scratchlm.bases.gpt2 import gpt2_config
from scratchlm.checkpoint.folder import save_checkpoint
from scratchlm.classifier.classifier import Classifier
from scratchlm.classifier.folder import Description, save_classifier
from scratchlm.cli import cli, main
from scratchlm.errors import InputError
from scratchlm.generation.decode import Sampling, generate, generate_text
from scratchlm.generation.next_token import describe_expected, expect_token
from scratchlm.model.config import GPTConfig
from scratchlm.model.init import new_model
from scratchlm.params.file import load_params
from scratchlm.tokenizer.bpe import train_bpe
from scratchlm.tokenizer.folder import read_tokenizer, write_tokenizer
from scratchlm.tokenizer.pieces import describe_pieces
from scratchlm.tokenizer.words import build_vocabulary, write_vocabulary

SOURCE = Path(__file__).parents[2] / "src"
TEXT = "Below is an instruction. ### Response:\nthe cat sat on the mat, and the dog ran away."


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with small models where `make repro` puts them."""
    folder = tmp_path_factory.mktemp("project")
    tokenizer = folder / "data" / "tokenizer"
    write_tokenizer(tokenizer, *train_bpe([TEXT] * 3, 300))
    size = read_tokenizer(tokenizer).n_vocab
    torch.manual_seed(0)
    gpt = new_model(GPTConfig(size, 200, 16, 2, 1, 0.0, qkv_bias=False, tie_embeddings=False), "book")
    save_checkpoint(folder / "models" / "pretrained", gpt, tokenizer)
    save_assistant(folder / "models" / "assistant", gpt, tokenizer, "phi3")
    description = Description(["ham", "spam"], max_length=20, temperature=1.0)
    save_classifier(folder / "models" / "classifier", Classifier(gpt), tokenizer, description)
    return folder


class Done(NamedTuple):
    """How a command ended."""

    returncode: int
    stdout: str
    stderr: str


def in_own_process(folder: Path, *words: str, stdin: str = "") -> Done:
    """Run a command as a user does, in a process of its own, which takes more than a second to load torch."""
    done = subprocess.run(
        [sys.executable, "-m", "scratchlm.cli", *words],
        cwd=folder,
        input=stdin,
        capture_output=True,
        text=True,
        env={
            **os.environ,
            "PYTHONPATH": str(SOURCE),
            "OMP_NUM_THREADS": "1",
            "PYTHONUTF8": "1",
            "SCRATCHLM_DEVICE": "cpu",
        },
    )
    return Done(done.returncode, done.stdout, done.stderr)


def here(folder: Path, *words: str, stdin: str = "") -> Done:
    """Run a command in this process."""
    stdout, stderr, code = StringIO(), StringIO(), 0
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(stdout), redirect_stderr(stderr):
        patch.chdir(folder)
        patch.setattr(sys, "argv", ["scratchlm", *words])
        patch.setattr(sys, "stdin", StringIO(stdin))
        patch.setenv("OMP_WAIT_POLICY", "PASSIVE")  # so that `main` sets nothing for the tests that follow
        patch.setenv("SCRATCHLM_DEVICE", "cpu")
        try:
            main()
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else 1
            if isinstance(end.code, str):  # which Python prints
                print(end.code, file=sys.stderr)
    return Done(code, stdout.getvalue(), stderr.getvalue())


def test_complete_continues_the_text_as_the_library_does(project: Path) -> None:
    done = in_own_process(
        project, "complete", "the cat", "--tokens", "9", "--temperature", "0.9", "--top-k", "5", "--seed", "4"
    )
    model, tokenizer = scratchlm.load(project / "models" / "pretrained")
    assert done.returncode == 0, done.stderr
    assert done.stdout == generate_text(model, tokenizer, "the cat", 9, Sampling(0.9, 5, 4)) + "\n"


def test_export_writes_a_folder_and_prints_what_to_do_with_it(project: Path) -> None:
    done = here(project, "export", "--dtype", "q8_0", "--license", "mit")
    assert done.returncode == 0, done.stderr
    assert "  llama-server -m exports/assistant/assistant-Q8_0.gguf" in done.stdout.splitlines()
    assert (project / "exports" / "assistant" / "assistant-Q8_0.gguf").exists()
    assert "license: mit\n" in (project / "exports" / "assistant" / "README.md").read_text(encoding="utf-8")


def test_export_tells_a_mistake_in_one_line(project: Path) -> None:
    done = here(project, "export", "--model", "models/classifier")
    assert done.returncode == 1
    assert done.stderr == (
        "scratchlm: error: models/classifier holds a classifier, which llama.cpp cannot run: name a folder of a "
        "language model\n"
    )


def test_classify_reads_an_argument_or_lines(project: Path) -> None:
    one = in_own_process(project, "classify", "the cat")
    many = in_own_process(project, "classify", "-", stdin="the cat\nthe dog\n\nan é\n")
    assert one.returncode == many.returncode == 0, one.stderr + many.stderr
    label, probability, text = one.stdout.rstrip("\n").split("\t")
    assert label in ("ham", "spam")
    assert 0.5 <= float(probability) <= 1
    assert text == "the cat"
    lines = many.stdout.splitlines()
    assert [line.split("\t")[2] for line in lines] == ["the cat", "the dog", "", "an é"]
    assert lines[0] == one.stdout.rstrip("\n")


@pytest.mark.parametrize(
    ("logits", "labels", "temperature", "said"),
    [
        ((0.0, 5.0), ["ham", "spam"], 1.0, "spam\t0.993"),
        ((3.0, 1.0), ["ham", "spam"], 1.0, "ham\t0.881"),
        ((0.0, 5.0), ["ham", "spam"], 2.5, "spam\t0.881"),
        ((0.0, 1.0, 4.0), ["big cats", "dogs", "löwen"], 2.0, "löwen\t0.736"),
    ],
)
def test_classify_says_the_likeliest_label_with_its_calibrated_probability(
    project: Path, tmp_path: Path, logits: tuple[float, ...], labels: list[str], temperature: float, said: str
) -> None:
    classifier = Classifier(scratchlm.load(project / "models" / "pretrained")[0], len(labels))
    with torch.no_grad():  # the same answer to every message
        classifier.head.weight.zero_()
        classifier.head.bias.copy_(torch.tensor(logits))
    description = Description(labels, max_length=20, temperature=temperature)
    save_classifier(tmp_path / "models" / "classifier", classifier, project / "data" / "tokenizer", description)
    assert here(tmp_path, "classify", "the cat").stdout == f"{said}\tthe cat\n"


@pytest.mark.parametrize("given_input", ["", "cat"])
def test_ask_formats_the_prompt_as_in_training(project: Path, given_input: str) -> None:
    done = in_own_process(project, "ask", "Name it.", "--input", given_input, "--tokens", "8")
    model, tokenizer, style = load_assistant(project / "models" / "assistant")
    prompt = format_prompt(Entry(instruction="Name it.", input=given_input, output=""), style)
    ids = generate(model, [tokenizer.encode_ordinary(prompt)], 8, tokenizer.stop_ids, Sampling(), 1)[0].ids
    assert style == "phi3"
    assert done.stdout == tokenizer.decode(ids) + "\n"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("complete", "a", "--model", "nowhere"), "nowhere holds no model .*; run `make repro` to build it again$"),
        (("classify", "a", "--model", "models/pretrained"), "holds no classifier .*; run `make repro`"),
        (("ask", "a", "--model", "models/pretrained"), "holds no assistant .*; run `make repro`"),
        (("complete", ""), "the prompt has 0 tokens"),
        (("complete", "x " * 400), "this model takes 1 to 199"),
        (
            ("shapes", "--model", "models/assistant", "the", "the cat"),
            r"different numbers of tokens: \d+ \(\"the\"\), \d+ \(\"the cat\"\)",
        ),
        (("shapes", "--size", "125M"), "--size: got 125M, wanted one of 124M, 355M, 774M, 1558M"),
        (("shapes", "--size", "124M", "the cat"), "--size needs GPT-2's tokenizer .* run `make repro`"),
        (("shapes", "--size", "124M", "--model", "models/assistant"), "both --size and --model"),
        (("shapes", "--memory", "--size", "774M", "--tokens", "1025"), "1025 tokens, this model takes 1 to 1024"),
        (("shapes",), "params.yaml is missing: copy a profile"),
        (("next", "a", "--model", "nowhere"), "nowhere holds no model .*; run `make repro` to build it again$"),
        (("next", ""), "the prompt has 0 tokens"),
        (("next", "x " * 400), "this model takes 1 to 199"),
        (("tokenize", ""), "the text '' has no tokens: give a text with words in it"),
        (("tokenize", "a", "--model", "nowhere"), r"nowhere/tokenizer\.json is missing.*; run `make repro`"),
    ],
)
def test_a_users_mistake_ends_in_one_line(project: Path, words: tuple[str, ...], message: str) -> None:
    done = here(project, *words)
    assert done.returncode == 1
    assert done.stdout == ""
    assert len(done.stderr.splitlines()) == 1
    assert done.stderr.startswith("scratchlm: error: ")
    assert re.search(message, done.stderr)


def test_a_mistake_ends_a_process_without_a_traceback(project: Path) -> None:
    words = ("complete", "a", "--model", "nowhere")
    done = in_own_process(project, *words)
    assert done == here(project, *words) and done.returncode == 1


@pytest.mark.parametrize("command", ["complete", "classify", "ask", "next"])
def test_the_models_run_on_the_device_that_is_found(
    project: Path, command: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(project)
    monkeypatch.setenv("SCRATCHLM_DEVICE", "tpu")
    with pytest.raises(InputError, match="SCRATCHLM_DEVICE is 'tpu', which cannot be used here"):
        cli([command, "the cat"], standalone_mode=False)
    # Every machine has the meta device; its tensors have no values, so the answer fails if it is used.
    monkeypatch.setattr("scratchlm.stage.device.find_device", lambda: (torch.device("meta"), "a test"))
    with pytest.raises(RuntimeError, match=r"(?i)meta"):
        cli([command, "the cat"], standalone_mode=False)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--rows", "8", "--bfloat16"), "^--rows, --bfloat16: only --memory takes them; add it, or leave them out$"),
        (
            ("--memory", "the cat"),
            "^got a text, 'the cat', but --memory takes none: give --rows and --tokens, or leave out --memory$",
        ),
    ],
)
def test_shapes_and_the_memory_of_a_step_are_asked_for_apart(words: tuple[str, ...], message: str) -> None:
    with pytest.raises(InputError, match=message):
        cli(["shapes", "--size", "124M", *words], standalone_mode=False)


def test_shapes_come_from_a_released_size_a_folder_or_params_yaml(project: Path, tmp_path: Path) -> None:
    released = here(tmp_path, "shapes", "--size", "1558M")
    assert released.stdout == describe_shapes(gpt2_config("1558M"), EXAMPLES, GPT2_EXAMPLE_IDS)
    folder = here(tmp_path, "shapes", "--model", str(project / "models" / "pretrained"), "the cat sat")
    model, tokenizer = scratchlm.load(project / "models" / "pretrained")
    ids = tokenizer.encode_ordinary("the cat sat")
    assert folder.stdout == describe_shapes(model.config, ["the cat sat"], [ids])
    missing = here(tmp_path, "shapes")
    assert missing.returncode == 1 and "data/tokenizer is missing; run `make repro`" in missing.stderr
    shutil.copytree(project / "data", tmp_path / "data")
    shutil.copyfile(SOURCE.parent / "profiles" / "sample.yaml", tmp_path / "params.yaml")
    own = here(tmp_path, "shapes").stdout
    assert f"= [2, {len(tokenizer.encode_ordinary('Every day holds a'))}, {tokenizer.n_vocab}]" in own
    assert "h.1 " in own and "h.2" not in own  # the profile has two blocks


def test_the_memory_of_a_step_is_computed_as_the_options_say(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SCRATCHLM_DEVICE", "cpu")

    def memory(options: str = "") -> str:
        cli(["shapes", "--memory", *options.split()], standalone_mode=False)
        return capsys.readouterr().out

    large = replace(gpt2_config("1558M"), drop_rate=0.0)
    assert memory("--size 1558M") == describe_memory(large, TrainingStep(8, 1024))
    assert memory(
        "--size 1558M --rows 4 --tokens 256 --micro-batch 1 --bfloat16 --processes 2 --lora-rank 3"
    ) == describe_memory(large, TrainingStep(4, 256, "bfloat16", micro_batch=1, processes=2, lora_rank=3))
    folder = project / "models" / "pretrained"
    shape = scratchlm.load(folder)[0].config
    step = TrainingStep(8, 200, upper_blocks=1)
    assert memory(f"--model {folder} --upper-blocks 1") == describe_memory(shape, step)
    shutil.copytree(project / "data", tmp_path / "data")
    profile = (SOURCE.parent / "profiles" / "sample.yaml").read_text(encoding="utf-8")
    profile = profile.replace("attention: sdpa", "attention: manual").replace("drop_rate: 0.0", "drop_rate: 0.1", 1)
    (tmp_path / "params.yaml").write_text(profile, encoding="utf-8")
    config = load_params(tmp_path / "params.yaml").model.config(shape.vocab_size)
    assert config.drop_rate == 0.1
    assert memory() == describe_memory(config, TrainingStep(8, 160, attention="manual"))
    with pytest.raises(InputError, match="3 rows for 2 processes"):
        memory("--size 774M --rows 3 --processes 2")
    with pytest.raises(InputError, match="both upper blocks and LoRA are given"):
        memory("--size 774M --upper-blocks 1 --lora-rank 8")


def test_tokenize_shows_the_tokens_of_the_built_tokenizer_or_of_a_models(project: Path, tmp_path: Path) -> None:
    text = "the cat<|endoftext|>\n"
    built = here(project, "tokenize", text)
    assert built.returncode == 0, built.stderr
    _, tokenizer = scratchlm.load(project / "models" / "pretrained")
    ids = tokenizer.encode(text, allowed_special="all")
    assert [line.split()[0] for line in built.stdout.splitlines()[1:-2]] == [str(token) for token in ids]
    assert built.stdout == describe_pieces(tokenizer, text, ids)
    elsewhere = here(tmp_path, "tokenize", text, "--model", str(project / "models" / "assistant"))
    assert elsewhere.stdout == built.stdout
    missing = here(tmp_path, "tokenize", text)
    assert missing.returncode == 1
    assert "data/tokenizer is missing; run `make repro` to build it again, or give --model FOLDER" in missing.stderr


def test_next_shows_the_likeliest_tokens_of_a_model(project: Path) -> None:
    done = here(project, "next", "the cat", "--temperature", "0.5", "--top-k", "7", "--tokens", "4")
    assert done.returncode == 0, done.stderr
    model, tokenizer = scratchlm.load(project / "models" / "pretrained")
    expected = expect_token(model, tokenizer.encode_ordinary("the cat"), Sampling(0.5, 7))
    assert done.stdout == describe_expected(tokenizer, expected, 4)
    likeliest = [int(line.split()[0]) for line in done.stdout.splitlines()[1:5]]
    assert likeliest == expected.topk(4).indices.tolist()
    greedy = here(project, "next", "the cat", "--temperature", "0").stdout.splitlines()
    assert len(greedy) == 2 and f"{likeliest[0]}     100.00 %" in greedy[1]


def test_words_are_printed_with_blanks_and_glued_marks_as_they_come(project: Path, tmp_path: Path) -> None:
    tokenizer_folder = tmp_path / "tokenizer"
    write_vocabulary(tokenizer_folder, build_vocabulary(["the cat sat on -- . , ; ! ? '"], 100))
    torch.manual_seed(1)
    gpt = new_model(
        GPTConfig(read_tokenizer(tokenizer_folder).n_vocab, 80, 16, 2, 1, qkv_bias=False, tie_embeddings=False),
        "book",
    )
    save_assistant(tmp_path / "model", gpt, tokenizer_folder, "alpaca")
    model, tokenizer = scratchlm.load(tmp_path / "model")
    words = ("--model", str(tmp_path / "model"), "--tokens", "20", "--temperature", "2", "--seed", "3")
    completed = here(tmp_path, "complete", "the zebra sat,\non", *words)
    assert completed.returncode == 0, completed.stderr
    assert completed.stdout == generate_text(model, tokenizer, "the zebra sat, on", 20, Sampling(2.0, None, 3)) + "\n"
    assert completed.stdout.startswith("the <|unk|> sat, on")
    continued = completed.stdout.removeprefix("the <|unk|> sat, on")
    assert re.search(r"\w[.,;!?']", continued) and not re.search(r"\s[.,;!?']", continued)
    asked = here(tmp_path, "ask", "Sat?", *words)
    assert asked.returncode == 0, asked.stderr
    prompt = format_prompt(Entry(instruction="Sat?", input="", output=""), "alpaca")
    ids = generate(model, [tokenizer.encode_ordinary(prompt)], 20, tokenizer.stop_ids, Sampling(2.0, None, 3), 1)[0].ids
    assert asked.stdout == tokenizer.decode(ids) + "\n"
