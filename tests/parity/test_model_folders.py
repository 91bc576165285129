"""Our model folders in transformers as they stand: its chats, its pipeline and its batches, with every tokenizer."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, pipeline

from scratchlm.assistant.folder import load_assistant, save_assistant
from scratchlm.assistant.instructions import Entry, format_prompt
from scratchlm.checkpoint.folder import load, save_checkpoint, write_descriptions
from scratchlm.generation.decode import Sampling, generate
from scratchlm.model.config import GPTConfig, LlamaConfig, ModelConfig
from scratchlm.model.init import new_model
from scratchlm.model.language_model import LanguageModel
from scratchlm.params.choices import PromptStyle
from scratchlm.tokenizer.bpe import train_bpe
from scratchlm.tokenizer.byte_level import describe_byte_level, write_byte_level
from scratchlm.tokenizer.folder import read_hugging_face_tokenizer, write_hugging_face_tokenizer
from scratchlm.tokenizer.protocol import END_OF_TEXT, Tokenizer
from scratchlm.tokenizer.words import build_vocabulary, write_vocabulary

CONTEXT = 96
TEXT = "the cat sat on a mat, and the dog did not. Below is an instruction that describes a task."
QUESTIONS = ["the cat sat", "a dog", "on a mat, and the cat did not sit on it.", "is the dog a cat?", "12"]
STYLE: PromptStyle = "phi3"
SPECIAL = [END_OF_TEXT, "<|im_start|>", "<|im_end|>"]
KINDS = ["bpe", "word", "byte-level", pytest.param("gpt2", marks=pytest.mark.mirror)]


class Folder(NamedTuple):
    """An assistant's folder, and what we read from it."""

    path: Path
    model: LanguageModel
    tokenizer: Tokenizer

    def continue_text(self, text: str) -> str:
        """Return our continuation up to the end of the answer or of the context."""
        ids = [self.tokenizer.encode_ordinary(text)]
        (new,) = generate(self.model, ids, CONTEXT, self.tokenizer.stop_ids, Sampling(), batch_size=1)
        return self.tokenizer.decode(new.ids)

    def answer(self, question: str) -> str:
        return self.continue_text(prompt(question))


def prompt(question: str) -> str:
    return format_prompt(Entry(instruction=question, input="", output=""), STYLE)


def user(question: str) -> dict[str, str]:
    return {"role": "user", "content": question}


def answered(pipe: Any, *messages: dict[str, str]) -> str:
    """Return the answer of a chat pipeline."""
    (given,) = pipe(list(messages))
    text: str = given["generated_text"][-1]["content"]
    return without_glue(pipe, text)


def without_glue(pipe: Any, text: str) -> str:
    """Cut off the blank between a prompt and its continuation, which only a tokenizer of words adds."""
    return text.removeprefix(" ") if pipe.tokenizer.unk_token else text


@torch.no_grad()
def random_model(config: ModelConfig) -> LanguageModel:
    """Return a model whose texts differ from prompt to prompt."""
    torch.manual_seed(3)
    model = new_model(config, "gpt2").eval()
    for parameter in model.parameters():
        parameter.add_(torch.randn_like(parameter) * 0.15)
    return model


def llama(n_tokens: int) -> LlamaConfig:
    return LlamaConfig(
        n_tokens, CONTEXT, 32, 4, 2, n_kv_heads=2, hidden_dim=48, rope_base=10_000.0, tie_embeddings=False
    )


def smollm2_like() -> dict[str, Any]:
    """A tokenizer.json like SmolLM2's: special tokens first, digits cut out."""
    encoder, merges = train_bpe([TEXT], 300)
    tokens = [*SPECIAL, *(token for token in encoder if token != END_OF_TEXT)]
    return describe_byte_level(tokens, merges, SPECIAL, cut_digits=True)


@pytest.fixture(scope="module", params=KINDS)
def folder(request: pytest.FixtureRequest, tokenizer_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Folder:
    """A random assistant with a tokenizer of each kind; the one with SmolLM2's kind is a Llama."""
    written = tmp_path_factory.mktemp("tokenizer")
    if request.param == "word":
        write_vocabulary(written, build_vocabulary([TEXT], 60))
    elif request.param == "byte-level":
        write_byte_level(written, smollm2_like())
    else:
        written = tokenizer_folder if request.param == "bpe" else request.getfixturevalue("mirror")
    read = tmp_path_factory.mktemp("read")
    write_hugging_face_tokenizer(written, read)
    n_tokens = read_hugging_face_tokenizer(read).n_vocab
    config: ModelConfig = GPTConfig(n_tokens, CONTEXT, 32, 2, 2, qkv_bias=True)
    if request.param == "byte-level":
        config = llama(n_tokens)
    path = tmp_path_factory.mktemp("models") / "assistant"
    save_assistant(path, random_model(config), written, STYLE)
    model, tokenizer, _ = load_assistant(path)
    return Folder(path, model, tokenizer)


@pytest.fixture(scope="module")
def pipe(folder: Folder) -> Any:
    return pipeline("text-generation", model=str(folder.path))


def test_the_texts_to_compare_differ(folder: Folder) -> None:
    assert len({folder.answer(question) for question in QUESTIONS}) > 2


def test_the_chat_pipeline_gives_our_answers(folder: Folder, pipe: Any) -> None:
    for question in QUESTIONS:
        assert answered(pipe, user(question)) == folder.answer(question)


def test_a_second_turn_is_answered_like_a_first(folder: Folder, pipe: Any) -> None:
    first, second = QUESTIONS[:2]
    chat = (user(first), {"role": "assistant", "content": "a mat"}, user(second))
    assert answered(pipe, *chat) == folder.answer(second) != folder.answer(first)


def test_the_pipeline_continues_a_text_as_we_do_and_ends_at_the_context(folder: Folder, pipe: Any) -> None:
    (given,) = pipe(TEXT, return_full_text=False)
    assert without_glue(pipe, given["generated_text"]) == folder.continue_text(TEXT)
    (given,) = pipe(TEXT, return_tensors=True, eos_token_id=-1)  # nothing but the context ends it
    assert len(given["generated_token_ids"]) == CONTEXT


def test_a_padded_batch_gives_our_texts(folder: Folder) -> None:
    theirs, tokenizer = (kind.from_pretrained(folder.path) for kind in (AutoModelForCausalLM, AutoTokenizer))
    texts = [prompt(question) for question in QUESTIONS]
    batch = tokenizer(texts, padding=True, return_tensors="pt")
    assert not batch.attention_mask[:, 0].all() and batch.attention_mask[:, -1].all()  # padded, and on the left
    written = theirs.generate(**batch)
    for text, ids, length in zip(texts, written.tolist(), batch.attention_mask.sum(dim=1).tolist(), strict=True):
        prompt_ids = folder.tokenizer.encode_ordinary(text)
        start = batch.input_ids.shape[1]
        assert ids[start - length : start] == prompt_ids
        n_new = CONTEXT - start
        (new,) = generate(folder.model, [prompt_ids], n_new, folder.tokenizer.stop_ids, Sampling(), batch_size=1)
        assert ids[start : start + len(new.ids)] == new.ids
        assert set(ids[start + len(new.ids) :]) <= {folder.tokenizer.eot_token, *folder.tokenizer.stop_ids}


def test_the_files_say_what_the_model_and_its_tokenizer_need(folder: Folder) -> None:
    files = {path.name: path.read_text(encoding="utf-8") for path in folder.path.glob("*.j*")}
    assert files.keys() == {
        *("assistant.json", "chat_template.jinja", "config.json"),
        *("generation_config.json", "tokenizer.json", "tokenizer_config.json"),
    }
    end, stops = folder.tokenizer.eot_token, sorted(folder.tokenizer.stop_ids)
    assert json.loads(files["generation_config.json"]) == {
        "bos_token_id": end,
        "eos_token_id": stops if len(stops) > 1 else end,
        "pad_token_id": end,
        "max_length": CONTEXT,
        "do_sample": False,
    }
    settings = json.loads(files["tokenizer_config.json"])
    assert (settings["model_max_length"], settings["padding_side"], settings["pad_token"]) == (
        *(CONTEXT, "left"),
        END_OF_TEXT,
    )
    config = json.loads(files["config.json"])
    length = "max_position_embeddings" if config["model_type"] == "llama" else "n_ctx"
    assert config[length] == CONTEXT


# --- several tokens that end an answer, and folders from elsewhere ------------------------------------------


@pytest.fixture
def base(tmp_path: Path) -> Path:
    """A base as the hub has SmolLM2: its own chat template, settings and more files beside its tokenizer.json."""
    path = tmp_path / "base"
    path.mkdir()
    write_byte_level(path, smollm2_like())
    config = llama(read_hugging_face_tokenizer(path).n_vocab)
    save_checkpoint(tmp_path / "saved", random_model(config), path)
    (path / "model.safetensors").write_bytes((tmp_path / "saved/model.safetensors").read_bytes())
    write_descriptions(path, config)
    settings = json.loads((path / "tokenizer_config.json").read_text())
    settings |= {"chat_template": "THEIRS", "padding_side": "right", "eos_token": "<|im_end|>"}
    (path / "tokenizer_config.json").write_text(json.dumps(settings))
    (path / "chat_template.jinja").write_text("THEIRS")
    (path / "special_tokens_map.json").write_text("{}")
    return path


def test_an_assistant_gets_our_chat_template_and_not_its_base_s(base: Path, tmp_path: Path) -> None:
    assert AutoTokenizer.from_pretrained(base).apply_chat_template([user("a")], tokenize=False) == "THEIRS"
    model, _ = load(base)
    for source, target in ((base, tmp_path / "assistant"), (tmp_path / "assistant", tmp_path / "preferred")):
        save_assistant(target, model, source, STYLE)
        theirs = AutoTokenizer.from_pretrained(target)
        assert theirs.apply_chat_template([user("a")], tokenize=False) == prompt("a")
        assert (theirs.padding_side, theirs.eos_token, theirs.pad_token) == ("left", END_OF_TEXT, END_OF_TEXT)


@torch.no_grad()
def test_each_special_token_ends_an_answer_in_transformers_too(base: Path, tmp_path: Path) -> None:
    model, tokenizer = load(base)
    ids = tokenizer.encode_ordinary(prompt("a dog"))
    (before,) = generate(model, [ids], 8, tokenizer.stop_ids, Sampling(), batch_size=1)
    likeliest = before.ids[3]  # instead of which the model now says <|im_end|>
    model.lm_head.weight[2] = model.lm_head.weight[likeliest]
    model.lm_head.weight[likeliest] = 0
    save_assistant(tmp_path / "assistant", model, base, STYLE)
    pipe = pipeline("text-generation", model=str(tmp_path / "assistant"))
    assert answered(pipe, user("a dog")) == tokenizer.decode(before.ids[: before.ids.index(likeliest)])
