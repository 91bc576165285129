"""LoRA against the code of appendix E, and against peft: the same draws, logits, gradients and trainings."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch import Tensor, nn
from torch.utils.data import DataLoader
from training_settings import classifier_settings, training_settings
from transformers import GPT2Config, GPT2LMHeadModel

from scratchlm.assistant.batches import Example, collate
from scratchlm.checkpoint.gpt2_layout import GPT2Layout
from scratchlm.classifier.classifier import Classifier, Messages, batch_accuracy, choose_trained_layers, label_loss
from scratchlm.model.config import GPTConfig
from scratchlm.model.gpt import GPT
from scratchlm.model.init import new_model
from scratchlm.model.linear import Linear
from scratchlm.model.lora import LowRank, add_lora, untied_head
from scratchlm.training.loaders import loaders
from scratchlm.training.loop import train
from scratchlm.training.loss import next_token_loss

REASON = "llms-from-scratch is not installed (`make setup` installs it without its dependencies)"
book_gpt = pytest.importorskip("llms_from_scratch.ch04", reason=REASON)
chapter_5 = pytest.importorskip("llms_from_scratch.ch05", reason=REASON)
chapter_6 = pytest.importorskip("llms_from_scratch.ch06", reason=REASON)
chapter_7 = pytest.importorskip("llms_from_scratch.ch07", reason=REASON)
appendix_e = pytest.importorskip("llms_from_scratch.appendix_e", reason=REASON)

SEED, RANK, ALPHA = 123, 4, 8.0
CPU = torch.device("cpu")
TOLERANCE = 1e-5  # float32
CONFIG = GPTConfig(
    vocab_size=60, context_length=32, emb_dim=24, n_heads=3, n_layers=3, qkv_bias=True, tie_embeddings=False
)
SETTINGS = training_settings(learning_rate=0.003, eval_batches=3)
OF_LORA: dict[str, Any] = {"train_layers": "lora", "lora_rank": RANK, "lora_alpha": ALPHA}


def both_models() -> tuple[GPT, nn.Module]:
    """Build our model and the book's from the same seed."""
    torch.manual_seed(SEED)
    ours = new_model(CONFIG, "book")
    torch.manual_seed(SEED)
    keys = ("vocab_size", "context_length", "emb_dim", "n_heads", "n_layers", "drop_rate", "qkv_bias")
    return ours, book_gpt.GPTModel({key: getattr(CONFIG, key) for key in keys})


def add_the_books_lora(model: nn.Module) -> None:
    """Do what appendix E.4 does before the training."""
    for parameter in model.parameters():
        parameter.requires_grad = False
    appendix_e.replace_linear_with_lora(model, rank=RANK, alpha=ALPHA)


def pairs(model: nn.Module) -> list[tuple[Tensor, Tensor]]:
    """Return A and B of every layer of one of our models, query, key and value apart, as the book has them."""
    found = []
    for part in model.modules():
        if isinstance(part, LowRank):
            found += zip(part.A.split(RANK, dim=1), part.B.chunk(part.n_parts, dim=1), strict=True)
    return found


def assert_equal_pairs(ours: nn.Module, theirs: nn.Module, tolerance: float) -> None:
    expected = [(part.A, part.B) for part in theirs.modules() if isinstance(part, appendix_e.LoRALayer)]
    for (a, b), (their_a, their_b) in zip(pairs(ours), expected, strict=True):
        assert (a - their_a).abs().max() <= tolerance and (b - their_b).abs().max() <= tolerance


def evaluations(curve: list[Any]) -> tuple[list[float], list[float]]:
    """Return the losses that the book has too: every `eval_every` steps, not those after the last step."""
    rows = [row for row in curve if row.step % SETTINGS.eval_every == 0]
    return [row.train_loss for row in rows], [row.validation_loss for row in rows]


def test_the_classifier_draws_and_learns_as_the_books() -> None:
    generator = torch.Generator().manual_seed(3)
    ids, labels = torch.randint(60, (42, 12), generator=generator), torch.randint(2, (42,), generator=generator)
    train_set, validation_set = Messages(ids[:30], labels[:30].tolist()), Messages(ids[30:], labels[30:].tolist())
    gpt, theirs = both_models()

    torch.manual_seed(SEED)
    ours = Classifier(gpt)
    choose_trained_layers(ours, classifier_settings(**OF_LORA))
    torch.manual_seed(SEED)
    theirs.out_head = nn.Linear(CONFIG.emb_dim, 2)
    add_the_books_lora(theirs)
    assert_equal_pairs(ours, theirs, 0)
    count = sum(parameter.numel() for parameter in theirs.parameters() if parameter.requires_grad)
    assert count == sum(parameter.numel() for parameter in ours.parameters() if parameter.requires_grad)

    batches = loaders(train_set, validation_set, 4)
    torch.manual_seed(SEED)
    curve = train(
        ours,
        loss=label_loss,
        batches=batches,
        params=SETTINGS,
        name="test",
        after_epoch=lambda epoch: [batch_accuracy(ours, split, SETTINGS.eval_batches) for split in batches],
    ).curve
    torch.manual_seed(SEED)
    optimizer = torch.optim.AdamW(theirs.parameters(), SETTINGS.learning_rate, weight_decay=SETTINGS.weight_decay)
    train_losses, validation_losses, *_ = chapter_6.train_classifier_simple(
        theirs,
        DataLoader(train_set, 4, shuffle=True, drop_last=True),
        DataLoader(validation_set, 4),
        optimizer,
        CPU,
        SETTINGS.epochs,
        SETTINGS.eval_every,
        SETTINGS.eval_batches,
    )
    assert evaluations(curve)[0] == pytest.approx(train_losses, abs=2e-5)
    assert evaluations(curve)[1] == pytest.approx(validation_losses, abs=2e-5)
    assert max(train_losses) - min(train_losses) > 0.1
    assert_equal_pairs(ours, theirs, 1e-3)
    with torch.no_grad():
        assert (ours.eval()(ids) - theirs.eval()(ids)[:, -1]).abs().max() < 1e-3


def test_the_assistant_draws_and_learns_as_the_books() -> None:
    generator = torch.Generator().manual_seed(4)
    lengths = torch.randint(4, 28, (31,), generator=generator).tolist()
    texts: list[list[int]] = [torch.randint(59, (length,), generator=generator).tolist() for length in lengths]
    pad_id, max_length = CONFIG.vocab_size - 1, 24
    ours, theirs = both_models()
    torch.manual_seed(SEED)
    add_lora(ours, [ours.h, untied_head(ours)], RANK, ALPHA)
    torch.manual_seed(SEED)
    add_the_books_lora(theirs)
    assert_equal_pairs(ours, theirs, 0)

    examples = [Example(ids, prompt_length=2) for ids in texts]
    pad = partial(collate, pad_id=pad_id, max_length=max_length, mask_prompt=False)
    batches = loaders(examples[:25], examples[25:], SETTINGS.batch_size, pad)
    torch.manual_seed(SEED)
    curve = train(ours, loss=next_token_loss, batches=batches, params=SETTINGS, name="test").curve

    def book_pad(batch: list[list[int]]) -> tuple[Tensor, Tensor]:
        return chapter_7.custom_collate_fn(batch, pad_token_id=pad_id, allowed_max_length=max_length)

    torch.manual_seed(SEED)
    optimizer = torch.optim.AdamW(theirs.parameters(), SETTINGS.learning_rate, weight_decay=SETTINGS.weight_decay)
    train_losses, validation_losses, _ = chapter_5.train_model_simple(
        theirs,
        DataLoader(texts[:25], 4, shuffle=True, drop_last=True, collate_fn=book_pad),  # type: ignore[arg-type]
        DataLoader(texts[25:], 4, collate_fn=book_pad),  # type: ignore[arg-type]
        optimizer,
        CPU,
        SETTINGS.epochs,
        SETTINGS.eval_every,
        SETTINGS.eval_batches,
        "EVERY",
        Letters(),
    )
    assert evaluations(curve)[0] == pytest.approx(train_losses, abs=2e-5)
    assert evaluations(curve)[1] == pytest.approx(validation_losses, abs=2e-5)
    assert max(train_losses) - min(train_losses) > 0.1
    assert_equal_pairs(ours, theirs, 1e-3)


class Letters:
    """A tokenizer of 60 characters with the methods that the book's sample printing calls."""

    def encode(self, text: str, allowed_special: Any = ()) -> list[int]:
        return [ord(character) - 64 for character in text]

    def decode(self, ids: list[int]) -> str:
        return "".join(chr(index + 64) for index in ids)


@pytest.mark.filterwarnings("ignore:fan_in_fan_out")  # of the head, the only layer that GPT-2 stores as torch does
@pytest.mark.parametrize("scale", [ALPHA, ALPHA / RANK])
@pytest.mark.parametrize("tied", [True, False])
def test_peft_has_the_same_logits_and_gradients(tied: bool, scale: float) -> None:
    """peft gives a fused layer one pair of matrices; ours are in them where rank is the three pairs' together."""
    torch.manual_seed(SEED)
    ours = new_model(GPTConfig(**{**CONFIG.__dict__, "tie_embeddings": tied}), "gpt2").eval()
    base = GPT2LMHeadModel(
        GPT2Config(
            vocab_size=CONFIG.vocab_size,
            n_positions=CONFIG.context_length,
            n_embd=CONFIG.emb_dim,
            n_layer=CONFIG.n_layers,
            n_head=CONFIG.n_heads,
            tie_word_embeddings=False,  # else peft would train the embedding with the head
        )
    )
    stored = GPT2Layout(ours.config).stored_tensors(ours)
    base.load_state_dict({"lm_head.weight": stored["transformer.wte.weight"], **stored})
    # peft divides alpha by the rank of each layer; three pairs in one have three times the rank.
    layers = ["c_attn", "c_proj", "c_fc", "lm_head"]
    config = LoraConfig(
        r=RANK,
        rank_pattern={"c_attn": 3 * RANK},
        lora_alpha=scale * RANK,
        alpha_pattern={"c_attn": scale * 3 * RANK},
        target_modules=layers,
        fan_in_fan_out=True,
    )
    theirs = get_peft_model(base, config).eval()
    add_lora(ours, [ours.h, untied_head(ours)], RANK, scale)
    parts = {name: part for name, part in theirs.named_modules() if name.endswith(tuple(layers))}
    mine = [(name, part) for name, part in ours.named_modules() if isinstance(part, Linear)]
    assert len(parts) == len(mine) == 4 * CONFIG.n_layers + 1
    with torch.no_grad():
        for name, layer in mine:
            layer.lora.B.normal_(std=0.1 / scale)
            (their,) = [part for full_name, part in parts.items() if full_name.endswith(f".{name}")]
            their.lora_A["default"].weight.copy_(layer.lora.A.T)
            their.lora_B["default"].weight.copy_(layer.lora.apart().T)
    ids = torch.randint(CONFIG.vocab_size, (3, 32))
    for model in (ours, lambda ids: theirs(ids).logits):
        logits = model(ids)
        nn.functional.cross_entropy(logits[:, :-1].flatten(0, 1), ids[:, 1:].flatten()).backward()
    assert (ours(ids) - theirs(ids).logits).abs().max() < TOLERANCE
    for name, layer in mine:
        (their,) = [part for full_name, part in parts.items() if full_name.endswith(f".{name}")]
        pair = layer.lora
        assert torch.allclose(pair.A.grad, their.lora_A["default"].weight.grad.T, atol=TOLERANCE)
        # What peft's one matrix would learn for the zeros between the three pairs is no part of ours.
        blocks = torch.block_diag(*torch.ones(pair.n_parts, RANK, pair.B.shape[1] // pair.n_parts)).bool()
        expected = their.lora_B["default"].weight.grad.T[blocks].view(pair.n_parts, RANK, -1)
        assert torch.allclose(torch.stack(pair.B.grad.chunk(pair.n_parts, dim=1)), expected, atol=TOLERANCE)
        assert pair.B.grad.abs().max() > 10 * TOLERANCE
    merged = GPT2Layout(ours.config).stored_tensors(ours)
    with torch.no_grad():
        for name, tensor in theirs.merge_and_unload().state_dict().items():
            assert (merged[name] - tensor).abs().max() < TOLERANCE, name
