"""Our library against the book's published package: the same weights, seeds and data give the same results."""

from __future__ import annotations

import hashlib
import random
import shutil
from collections.abc import Sequence
from functools import partial
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any, get_args

import numpy as np
import pytest
import tiktoken
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from scratchlm.anatomy.formulas import gelu_tanh, layer_norm
from scratchlm.anatomy.heads import CausalHead, LinearHead, ParameterHead, StackedHeads
from scratchlm.assistant.batches import Example, collate, encode_entries
from scratchlm.assistant.instructions import Entry, format_prompt, format_task, read_entries, split_entries
from scratchlm.classifier.classifier import (
    Classifier,
    Messages,
    encode_messages,
    label_loss,
    measure_labels,
    new_classifier,
)
from scratchlm.classifier.messages import balance, number_labels, split
from scratchlm.classifier.reading import Reading
from scratchlm.classifier.sources import read_messages
from scratchlm.generation.decode import Sampling, generate, generate_uncached
from scratchlm.model.attention import MultiHeadAttention
from scratchlm.model.config import AttentionKind, GPTConfig
from scratchlm.model.gpt import GPT, Block, FeedForward
from scratchlm.model.init import new_model
from scratchlm.params.choices import Padding, Token
from scratchlm.tokenizer.folder import read_tokenizer
from scratchlm.tokenizer.measures import longest_tokens
from scratchlm.tokens.windows import Windows
from scratchlm.training.loaders import loaders
from scratchlm.training.loss import next_token_loss
from scratchlm.training.measuring import mean_loss

pytest.importorskip(
    "llms_from_scratch",
    reason="llms-from-scratch is not installed (scripts/setup.sh installs it without its dependencies)",
)

SINGLE = 1e-6  # one layer in float32, numbers around 1
WHOLE = 1e-5  # a whole GPT
BOOK_FILES = "https://openaipublic.blob.core.windows.net/gpt-2/encodings/main/"
BATCH_SEED = 123


def chapter(number: int) -> ModuleType:
    return import_module(f"llms_from_scratch.ch{number:02d}")


ch02, ch03, ch04, ch05, ch06, ch07 = map(chapter, range(2, 8))


def assert_close(ours: Tensor, theirs: Tensor, tolerance: float = SINGLE) -> None:
    torch.testing.assert_close(ours, theirs, atol=tolerance, rtol=tolerance)


def assert_same_batches(ours: DataLoader[Any], theirs: DataLoader[Any]) -> None:
    """Require the same batches of both loaders in two passes, each from the same seed."""
    found = []
    for loader in (ours, theirs):
        torch.manual_seed(BATCH_SEED)
        found.append([(inputs.tolist(), targets.tolist()) for _ in range(2) for inputs, targets in loader])
    assert found[0] and found[0] == found[1]


def random_text(n_tokens: int, width: int, batch_size: int = 2) -> Tensor:
    return torch.randn(batch_size, n_tokens, width, generator=torch.Generator().manual_seed(1))


# Chapter 2


@pytest.fixture(scope="module")
def gpt2_tokenizer(mirror: Path, tmp_path_factory: pytest.TempPathFactory) -> tiktoken.Encoding:
    """Return the tokenizer that the book's code gets from tiktoken by name, with the files in tiktoken's cache."""
    folder = tmp_path_factory.mktemp("tiktoken")
    for name in ("vocab.bpe", "encoder.json"):
        shutil.copyfile(mirror / name, folder / hashlib.sha1((BOOK_FILES + name).encode()).hexdigest())
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("TIKTOKEN_CACHE_DIR", str(folder))
        return tiktoken.get_encoding("gpt2")


def test_our_tokenizer_is_the_books(mirror: Path, gpt2_tokenizer: tiktoken.Encoding) -> None:
    ours = read_tokenizer(mirror)
    for text in ((mirror / "the-verdict.txt").read_text(encoding="utf-8"), "Akwirw ier", "<|endoftext|> 🙂\n\n  x"):
        ids = gpt2_tokenizer.encode(text, allowed_special="all")
        assert ours.encode(text, allowed_special="all") == ids
        assert ours.decode(ids) == text


@pytest.mark.parametrize(("max_length", "stride"), [(4, 1), (4, 4), (8, 3), (3, 7)])
def test_windows_are_the_books_dataset(tokenizer_folder: Path, max_length: int, stride: int) -> None:
    tokenizer = read_tokenizer(tokenizer_folder)
    text = "the cat sat on the mat<|endoftext|>and the dog ran over the green hill to the sea " * 3
    ids = np.array(tokenizer.encode(text, allowed_special="all"), dtype="<u2")
    theirs = ch02.GPTDatasetV1(text, tokenizer, max_length, stride)
    assert len(theirs) > 5
    assert [(a.tolist(), b.tolist()) for a, b in Windows(ids, max_length, stride)] == [
        (a.tolist(), b.tolist()) for a, b in theirs
    ]


@pytest.mark.parametrize(("batch_size", "max_length", "stride"), [(2, 256, 256), (8, 4, 4), (3, 16, 5)])
def test_pretraining_batches_are_the_books(
    mirror: Path, gpt2_tokenizer: tiktoken.Encoding, batch_size: int, max_length: int, stride: int
) -> None:
    text = (mirror / "the-verdict.txt").read_text(encoding="utf-8")
    border = int(0.9 * len(text))
    parts = text[:border], text[border:]
    ids = [np.array(gpt2_tokenizer.encode_ordinary(part), dtype="<u2") for part in parts]
    ours = loaders(*(Windows(part, max_length, stride) for part in ids), batch_size, collate=lambda batch: batch)
    for part, batches, is_train in zip(parts, ours, (True, False), strict=True):
        theirs = ch02.create_dataloader_v1(
            part, batch_size, max_length, stride, shuffle=is_train, drop_last=is_train, num_workers=0
        )
        assert_same_batches(batches, theirs)


# Chapter 3


def take_projections(ours: LinearHead, theirs: nn.Module) -> None:
    for part in ("query", "key", "value"):
        ours.get_submodule(part).load_state_dict(theirs.get_submodule(f"W_{part}").state_dict())


def test_a_parameter_head_is_the_books_from_the_same_seed() -> None:
    torch.manual_seed(3)
    ours = ParameterHead(6, 4)
    torch.manual_seed(3)
    theirs = ch03.SelfAttention_v1(6, 4)
    assert torch.equal(ours.value, theirs.W_value)
    assert_close(ours(random_text(7, 6)[0]), theirs(random_text(7, 6)[0]))


@pytest.mark.parametrize("qkv_bias", [False, True])
def test_a_linear_head_is_the_books(qkv_bias: bool) -> None:
    theirs = ch03.SelfAttention_v2(6, 4, qkv_bias)
    ours = LinearHead(6, 4, qkv_bias)
    take_projections(ours, theirs)
    assert_close(ours(random_text(7, 6)[0]), theirs(random_text(7, 6)[0]))


@pytest.mark.parametrize("qkv_bias", [False, True])
def test_a_causal_head_is_the_books_dropout_included(qkv_bias: bool) -> None:
    theirs = ch03.CausalAttention(6, 4, context_length=9, dropout=0.4, qkv_bias=qkv_bias)
    ours = CausalHead(6, 4, drop_rate=0.4, qkv_bias=qkv_bias)
    take_projections(ours, theirs)
    outputs = []
    for head in (ours, theirs):
        torch.manual_seed(5)
        outputs.append(torch.stack([head.train()(random_text(7, 6)), head.eval()(random_text(7, 6))]))
    assert_close(*outputs)
    assert not torch.allclose(outputs[0][0], outputs[0][1], atol=1e-3)


def test_stacked_heads_are_the_books_from_the_same_seed() -> None:
    outputs = []
    for build in (
        lambda: StackedHeads(CausalHead(6, 2, drop_rate=0.4) for _ in range(3)),
        lambda: ch03.MultiHeadAttentionWrapper(6, 2, context_length=9, dropout=0.4, num_heads=3),
    ):
        torch.manual_seed(3)
        outputs.append(build()(random_text(7, 6)))
    assert_close(*outputs)


def take_attention(ours: MultiHeadAttention, theirs: nn.Module) -> None:
    """Take over the weights of the book's MultiHeadAttention, query, key and value in one matrix."""
    projections = [theirs.get_submodule(f"W_{part}").state_dict() for part in ("query", "key", "value")]
    ours.c_attn.load_state_dict({name: torch.cat([part[name] for part in projections]) for name in projections[0]})
    ours.c_proj.load_state_dict(theirs.out_proj.state_dict())  # type: ignore[union-attr]


@pytest.mark.parametrize("kind", ["sdpa", "manual", "per_head"])
@pytest.mark.parametrize("qkv_bias", [False, True])
def test_multi_head_attention_is_the_books(kind: AttentionKind, qkv_bias: bool) -> None:
    torch.manual_seed(0)
    theirs = ch03.MultiHeadAttention(24, 24, context_length=9, dropout=0.0, num_heads=4, qkv_bias=qkv_bias)
    ours = MultiHeadAttention(24, 4, 0.0, qkv_bias, kind)
    take_attention(ours, theirs)
    for n_tokens in (1, 7, 9):
        assert_close(ours(random_text(n_tokens, 24), None, None), theirs(random_text(n_tokens, 24)))


# Chapter 4

TINY: dict[str, Any] = {
    "vocab_size": 60,
    "context_length": 20,
    "emb_dim": 48,
    "n_heads": 4,
    "n_layers": 3,
    "drop_rate": 0.2,
    "qkv_bias": False,
}


def gpt_config(**changes: Any) -> GPTConfig:
    return GPTConfig(**{**TINY, "tie_embeddings": False, **changes})


def test_layer_norm_and_gelu_are_the_books() -> None:
    torch.manual_seed(0)
    theirs = ch04.LayerNorm(24)
    nn.init.normal_(theirs.scale)
    nn.init.normal_(theirs.shift)
    x_BTD = random_text(7, 24) * 3 + 1
    assert_close(layer_norm(x_BTD, theirs.scale, theirs.shift), theirs(x_BTD))
    assert_close(gelu_tanh(x_BTD), ch04.GELU()(x_BTD))


def take_feed_forward(ours: FeedForward, theirs: nn.Module) -> None:
    ours.c_fc.load_state_dict(theirs.get_submodule("layers.0").state_dict())
    ours.c_proj.load_state_dict(theirs.get_submodule("layers.2").state_dict())


def test_the_feed_forward_is_the_books() -> None:
    torch.manual_seed(0)
    theirs, ours = ch04.FeedForward(TINY), FeedForward(gpt_config())
    take_feed_forward(ours, theirs)
    assert_close(ours(random_text(7, 48) * 3), theirs(random_text(7, 48) * 3))


def test_a_block_is_the_books_dropout_included() -> None:
    torch.manual_seed(0)
    theirs, ours = ch04.TransformerBlock(TINY), Block(gpt_config(), "sdpa")
    for norm in (theirs.norm1, theirs.norm2):
        nn.init.normal_(norm.scale)
        nn.init.normal_(norm.shift)
    take_attention(ours.attn, theirs.att)
    take_feed_forward(ours.mlp, theirs.ff)
    for norm, their_norm in ((ours.ln_1, theirs.norm1), (ours.ln_2, theirs.norm2)):
        norm.load_state_dict({"weight": their_norm.scale, "bias": their_norm.shift})
    outputs = []
    for block in (partial(ours, mask=None, cache=None), theirs):
        torch.manual_seed(5)
        outputs.append(block(random_text(7, 48)))
    assert_close(*outputs)


def both_gpts(attention: AttentionKind = "sdpa", **changes: Any) -> tuple[GPT, nn.Module]:
    """Our GPT and the book's, each built from the same seed."""
    torch.manual_seed(123)
    ours = new_model(gpt_config(**changes), "book", attention=attention)
    torch.manual_seed(123)
    return ours, ch04.GPTModel({**TINY, **changes})


def under_our_names(theirs: dict[str, Tensor]) -> dict[str, Tensor]:
    """Rename the tensors of the book's GPT, and put query, key and value into one."""
    names = {"tok_emb": "wte", "pos_emb": "wpe", "final_norm": "ln_f", "out_head": "lm_head"}
    names |= {"att.out_proj": "attn.c_proj", "ff.layers.0": "mlp.c_fc", "ff.layers.2": "mlp.c_proj"}
    names |= {"norm1": "ln_1", "norm2": "ln_2", "trf_blocks": "h", "scale": "weight", "shift": "bias"}
    ours: dict[str, Tensor] = {}
    for name, tensor in theirs.items():
        for their_name, our_name in names.items():
            name = name.replace(their_name, our_name)
        for part in ("W_query", "W_key", "W_value"):
            name = name.replace(f"att.{part}", "attn.c_attn")
        ours[name] = torch.cat([ours[name], tensor]) if name in ours else tensor
    return ours


@pytest.mark.parametrize("qkv_bias", [False, True])
def test_the_same_seed_gives_the_same_parameters_bit_for_bit(qkv_bias: bool) -> None:
    ours, theirs = both_gpts(qkv_bias=qkv_bias)
    expected = under_our_names(dict(theirs.named_parameters()))
    found = dict(ours.named_parameters())
    assert found.keys() == expected.keys()
    assert all(torch.equal(tensor, expected[name]) for name, tensor in found.items())


@pytest.mark.parametrize("emb_dim", [48, 192])  # with 192, matrix products are large enough for the fast kernels
@pytest.mark.parametrize("attention", ["sdpa", "manual", "per_head"])
def test_the_same_seed_gives_the_same_logits(attention: AttentionKind, emb_dim: int) -> None:
    ours, theirs = both_gpts(attention, emb_dim=emb_dim)
    ids_BT = torch.randint(60, (3, 20))
    with torch.no_grad():
        assert_close(ours.eval()(ids_BT), theirs.eval()(ids_BT), WHOLE)


@pytest.mark.parametrize("emb_dim", [48, 192])
@pytest.mark.parametrize("attention", ["sdpa", "manual"])
def test_the_same_seed_gives_the_same_dropout_and_gradients(attention: AttentionKind, emb_dim: int) -> None:
    ours, theirs = both_gpts(attention, emb_dim=emb_dim)
    ids_BT = torch.randint(60, (3, 21))
    losses, gradients = [], []
    for model in (ours, theirs):
        torch.manual_seed(7)
        logits_BTV = model.train()(ids_BT[:, :-1])
        losses.append(nn.functional.cross_entropy(logits_BTV.flatten(0, 1), ids_BT[:, 1:].flatten()))
        losses[-1].backward()
        gradients.append({name: parameter.grad for name, parameter in model.named_parameters()})
    assert_close(*losses, WHOLE)
    expected = under_our_names(gradients[1])
    for name, gradient in gradients[0].items():
        assert gradient.any()
        assert_close(gradient, expected[name], WHOLE)


def test_an_untrained_gpt_continues_a_text_as_the_books() -> None:
    ours, theirs = both_gpts()
    prompt = [5, 11, 3]
    text = ch04.generate_text_simple(theirs.eval(), torch.tensor([prompt]), 30, context_size=20)[0].tolist()
    assert generate_uncached(ours.eval(), prompt, 30) == text[3:]  # past the context too
    assert generate(ours, [prompt], 30, (), Sampling(), batch_size=1)[0].ids == text[3:20]
    assert len(set(text)) > 8


# Chapter 5


@pytest.mark.parametrize("top_k", [None, 1, 5, 60])
@pytest.mark.parametrize("temperature", [0.0, 0.1, 1.0, 1.5])
def test_text_drawn_from_the_same_seed_is_the_books(temperature: float, top_k: int | None) -> None:
    ours, theirs = both_gpts()
    prompt = [5, 11, 3]
    torch.manual_seed(123)
    text = ch05.generate(theirs.eval(), torch.tensor([prompt]), 30, 20, temperature, top_k)[0].tolist()
    sampling = Sampling(temperature, top_k, seed=123)
    assert generate_uncached(ours.eval(), prompt, 30, sampling) == text[3:]
    assert generate(ours, [prompt], 30, (), sampling, batch_size=1)[0].ids == text[3:20]


def test_generation_ends_where_the_books_does() -> None:
    ours, theirs = both_gpts()
    sampling, prompt = Sampling(1.5, None, seed=123), [5, 11, 3]
    stop_id = generate(ours.eval(), [prompt], 10, (), sampling, batch_size=1)[0].ids[6]
    torch.manual_seed(123)
    text = ch05.generate(theirs.eval(), torch.tensor([prompt]), 10, 20, 1.5, None, stop_id)[0].tolist()
    continuation = generate(ours, [prompt], 10, {stop_id}, sampling, batch_size=1)[0]
    assert continuation.ids == text[3:] and continuation.stopped and 0 < len(text[3:]) <= 6


@pytest.mark.parametrize("n_batches", [None, 2, 100])
def test_evaluation_losses_are_the_books(n_batches: int | None) -> None:
    ours, theirs = both_gpts()
    windows = Windows(np.random.default_rng(0).integers(60, size=300).astype("<u2"), 20, 20)
    batches = loaders(windows, windows, 4, collate=lambda batch: batch)
    assert len(windows) % 4  # the last validation batch is a short one
    for loader in batches:
        torch.manual_seed(BATCH_SEED)
        loss = mean_loss(ours, next_token_loss, loader, n_batches)
        torch.manual_seed(BATCH_SEED)
        with torch.no_grad():
            expected = ch05.calc_loss_loader(loader, theirs.eval(), torch.device("cpu"), n_batches)
        assert loss == pytest.approx(expected, abs=SINGLE)


# Chapter 6


def test_messages_are_padded_as_the_books(tokenizer_folder: Path, tmp_path: Path) -> None:
    tokenizer = read_tokenizer(tokenizer_folder)
    texts = ["the cat", "the cat sat on the mat, and the dog ran", "a", 'the "green" hill']
    path = tmp_path / "messages.csv"
    path.write_text("Label,Text\n" + "".join(f'1,"{text.replace(chr(34), 2 * chr(34))}"\n' for text in texts))
    longest = longest_tokens(tokenizer, texts)
    for max_length in (None, longest + 3, 4):
        theirs = ch06.SpamDataset(path, tokenizer, max_length, pad_token_id=tokenizer.eot_token)
        ours = encode_messages(texts, tokenizer, max_length or longest)
        assert ours.shape == (4, theirs.max_length)
        assert ours.tolist() == [ids.tolist() for ids, _ in theirs]


def test_the_sms_splits_and_batches_are_the_books(
    mirror: Path, gpt2_tokenizer: tiktoken.Encoding, tmp_path: Path
) -> None:
    table = import_module("pandas").read_csv(mirror / "SMSSpamCollection", sep="\t", header=None)
    table.columns = ["Label", "Text"]
    balanced = ch06.create_balanced_dataset(table)
    balanced["Label"] = balanced["Label"].map({"ham": 0, "spam": 1})
    datasets = []
    for number, part in enumerate(ch06.random_split(balanced, 0.7, 0.1)):
        part.to_csv(tmp_path / f"{number}.csv", index=None)
        longest = datasets[0].max_length if datasets else None
        datasets.append(ch06.SpamDataset(tmp_path / f"{number}.csv", gpt2_tokenizer, longest))
    tokenizer = read_tokenizer(mirror)
    messages = []
    for named in split(balance(read_messages(mirror / "SMSSpamCollection"), seed=123), 0.7, 0.1, seed=123):
        part = number_labels(named, ["ham", "spam"])
        longest = messages[0].ids.shape[1] if messages else longest_tokens(tokenizer, list(part["Text"]))
        messages.append(Messages(encode_messages(list(part["Text"]), tokenizer, longest), list(part["Label"])))
    assert [len(part) for part in messages] == [1045, 149, 300]
    assert torch.equal(messages[2].ids, torch.stack([ids for ids, _ in datasets[2]]))
    ours = loaders(messages[0], messages[1], batch_size=8)
    assert_same_batches(ours[0], DataLoader(datasets[0], batch_size=8, shuffle=True, drop_last=True))
    assert_same_batches(ours[1], DataLoader(datasets[1], batch_size=8))


def test_a_classifiers_loss_and_accuracy_are_the_books() -> None:
    gpt, theirs = both_gpts(drop_rate=0.0)
    ours = Classifier(gpt).eval()
    theirs.out_head = ours.head
    generator = torch.Generator().manual_seed(4)
    messages = Messages(
        torch.randint(60, (22, 12), generator=generator), torch.randint(2, (22,), generator=generator).tolist()
    )
    batches = DataLoader(messages, batch_size=8)
    device = torch.device("cpu")
    with torch.no_grad():
        expected = ch06.calc_loss_loader(batches, theirs.eval(), device)
    assert mean_loss(ours, label_loss, batches) == pytest.approx(expected, abs=SINGLE)
    accuracy = 100 * ch06.calc_accuracy_loader(batches, theirs, device)
    assert 0 < accuracy < 100 and measure_labels(ours, messages, 8).accuracy == pytest.approx(accuracy)


def published_logits(theirs: nn.Module, ids_BT: Tensor, token: str) -> Tensor:
    """The logits that the script of chapter 6's published variants takes its loss of; 59 pads."""
    logits_BTN: Tensor = theirs(ids_BT)
    if token == "mean":
        return logits_BTN.mean(dim=1)
    if token == "last_real":  # --trainable_token_pos flexible
        return logits_BTN[torch.arange(len(ids_BT)), (ids_BT != 59).sum(dim=1) - 1]
    return logits_BTN[:, {"last": -1, "first": 0}[token]]


@torch.no_grad()
@pytest.mark.parametrize("causal_mask", [True, False])
@pytest.mark.parametrize("padding", get_args(Padding))
@pytest.mark.parametrize("token", ["last", "first", "last_real", "mean"])
def test_the_classifiers_variants_have_the_published_logits(token: Token, padding: Padding, causal_mask: bool) -> None:
    gpt, theirs = both_gpts(drop_rate=0.0)
    ours = Classifier(gpt, 2, Reading(token, padding, causal_mask, pad_id=59)).eval()
    theirs.out_head = ours.head
    if not causal_mask:  # --disable_causal_mask
        for name, mask in theirs.named_buffers():
            assert name.endswith("mask") and mask.any()
            mask.zero_()
    width = TINY["context_length"] if padding == "context" else 12  # --context_length model_context_length
    ids_BT = torch.randint(59, (5, width), generator=torch.Generator().manual_seed(4))
    for row, length in enumerate((12, 3, 7, 1, 12)):
        ids_BT[row, length:] = 59
    if padding != "none":
        expected = published_logits(theirs.eval(), ids_BT, token)
    else:  # --no_padding --batch_size 1
        alone = [row[row != 59][None] for row in ids_BT]
        expected = torch.cat([published_logits(theirs.eval(), row, token) for row in alone])
    assert_close(ours(ids_BT), expected)


def test_random_weights_and_the_head_are_those_of_the_published_script() -> None:
    gpt, theirs = both_gpts(drop_rate=0.0)
    theirs = theirs.eval()
    torch.manual_seed(123)
    theirs.out_head = nn.Linear(TINY["emb_dim"], 2)
    for parameter in gpt.parameters():
        nn.init.ones_(parameter)
    ours = new_classifier(gpt, 2, Reading(), "random", 123)
    ids_BT = torch.randint(60, (3, 12), generator=torch.Generator().manual_seed(4))
    assert_close(ours(ids_BT), theirs(ids_BT)[:, -1])


# Chapter 7

ENTRIES = [
    Entry(instruction="Say the opposite.", input="cold", output="hot"),
    Entry(instruction="Name a colour.\nOne only.", input="", output="Blue."),
]


@pytest.mark.parametrize("entry", ENTRIES)
def test_the_prompt_is_the_books(entry: Entry) -> None:
    assert format_task(entry, "alpaca") == ch07.format_input(entry)
    assert format_prompt(entry, "alpaca") == ch07.format_input(entry) + "\n\n### Response:\n"


@pytest.mark.parametrize("max_length", [1024, 12, 5, 1])
def test_random_batches_are_collated_as_the_books(max_length: int) -> None:
    chance = random.Random(max_length)
    for _ in range(50):
        batch = [[chance.randrange(99) for _ in range(chance.randint(1, 15))] for _ in range(chance.randint(1, 6))]
        ours = collate([Example(ids, 0) for ids in batch], 50256, max_length, mask_prompt=False)
        theirs = ch07.custom_collate_fn(batch, allowed_max_length=max_length)
        assert all(map(torch.equal, ours, theirs))


def test_the_instruction_batches_are_the_books(mirror: Path, gpt2_tokenizer: tiktoken.Encoding) -> None:
    entries = read_entries(mirror / "instruction-data.json")
    train, validation, test = split_entries(entries, 0.85, 0.1)
    assert (train, test, validation) == (entries[:935], entries[935:1045], entries[1045:])

    def our_collate(examples: Sequence[Example]) -> tuple[Tensor, Tensor]:
        return collate(examples, 50256, max_length=1024, mask_prompt=False)

    tokenizer = read_tokenizer(mirror)
    examples = [encode_entries(part, "alpaca", tokenizer) for part in (train, validation)]
    ours = loaders(*examples, batch_size=8, collate=our_collate)
    for part, batches, is_train in zip((train, validation), ours, (True, False), strict=True):
        theirs = DataLoader(
            ch07.InstructionDataset(part, gpt2_tokenizer),
            batch_size=8,
            collate_fn=partial(ch07.custom_collate_fn, allowed_max_length=1024),
            shuffle=is_train,
            drop_last=is_train,
        )
        assert_same_batches(batches, theirs)
    assert len(ours[0]) == 116
