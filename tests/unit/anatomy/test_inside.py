"""The inside of a model is what it computes: attention as in transformers, gradients as from autograd."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import pytest
import torch
from torch.nn import functional as F

from scratchlm.anatomy.formulas import gradient_means
from scratchlm.anatomy.inside import (
    attention_maps,
    block_gradients,
    compare_gradients,
    decades,
    entropy,
    nearest_embeddings,
    neighbour_rows,
    next_token_probabilities,
    positions_of,
)
from scratchlm.checkpoint.folder import save_checkpoint
from scratchlm.errors import InputError
from scratchlm.model.attention import attention_weights
from scratchlm.model.config import AttentionKind, GPTConfig, LlamaConfig
from scratchlm.model.gpt import GPT
from scratchlm.model.init import new_model
from scratchlm.model.language_model import LanguageModel
from scratchlm.model.llama import Llama, rotate
from scratchlm.tokenizer.folder import read_tokenizer

TOLERANCE = 1e-5  # float32


def random_model(attention: AttentionKind = "sdpa", shortcuts: bool = True) -> GPT:
    torch.manual_seed(3)
    config = GPTConfig(280, 32, 48, 4, 3, 0.1, qkv_bias=True, tie_embeddings=True, shortcuts=shortcuts)
    return new_model(config, "gpt2", init_std=0.2, attention=attention).eval()  # 0.2 gives very uneven attention


def random_llama(attention: AttentionKind = "sdpa", n_kv_heads: int = 2) -> Llama:
    torch.manual_seed(3)
    config = LlamaConfig(280, 32, 48, 4, 3, 0.1, n_kv_heads=n_kv_heads, hidden_dim=64, rope_base=100.0)
    return new_model(config, "gpt2", init_std=0.2, attention=attention).eval()


MODELS = [random_model, random_llama]


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def batch() -> tuple[torch.Tensor, torch.Tensor]:
    ids = torch.randint(280, (2, 25), generator=generator(0))
    return ids[:, :-1], ids[:, 1:]


IDS = batch()[0][0].tolist()


@pytest.mark.parametrize("new", [*MODELS, lambda: random_llama(n_kv_heads=1), lambda: random_llama(n_kv_heads=4)])
def test_attention_maps_are_transformers_attentions(
    new: Callable[[], LanguageModel], tmp_path: Path, tokenizer_folder: Path
) -> None:
    from transformers import AutoModelForCausalLM

    model = new()
    save_checkpoint(tmp_path / "model", model, tokenizer_folder)
    theirs = AutoModelForCausalLM.from_pretrained(tmp_path / "model", attn_implementation="eager").eval()
    with torch.no_grad():
        expected = torch.cat(theirs(torch.tensor([IDS]), output_attentions=True).attentions)
    maps = attention_maps(model, IDS)
    assert maps.shape == expected.shape == (3, 4, 24, 24)
    assert (maps - expected).abs().max() < TOLERANCE
    assert maps.amax(dim=-1)[:, :, 1:].max() > 0.5  # many wrong maps would equal an even one


@pytest.mark.parametrize("shortcuts", [True, False])
@pytest.mark.parametrize("kind", ["sdpa", "manual", "per_head"])
def test_attention_maps_are_those_of_the_composed_blocks(kind: AttentionKind, shortcuts: bool) -> None:
    model = random_model(kind, shortcuts)
    expected = []
    with torch.no_grad():
        x = model.wte(torch.tensor([IDS])) + model.wpe(torch.arange(24))
        for block in model.h:
            q, k, _ = block.attn.queries_keys_values(block.ln_1(x))
            expected.append(attention_weights(q, k)[0])
            attended = block.attn(block.ln_1(x), None, None)
            x = x + attended if shortcuts else attended
            fed = block.mlp(block.ln_2(x))
            x = x + fed if shortcuts else fed
    assert (attention_maps(model, IDS) - torch.stack(expected)).abs().max() < TOLERANCE


@pytest.mark.parametrize("kind", ["sdpa", "manual", "per_head"])
def test_attention_maps_of_a_llama_do_not_depend_on_how_it_is_computed(kind: AttentionKind) -> None:
    assert (attention_maps(random_llama(kind), IDS) - attention_maps(random_llama(), IDS)).abs().max() < TOLERANCE


@pytest.mark.parametrize("new", MODELS)
def test_attention_sums_to_1_over_a_token_and_those_before_it(new: Callable[[], LanguageModel]) -> None:
    maps = attention_maps(new(), IDS)
    assert torch.allclose(maps.sum(dim=-1), torch.ones(3, 4, 24), atol=TOLERANCE)
    assert (maps.triu(diagonal=1) == 0).all()


@pytest.mark.parametrize("new", MODELS)
def test_looking_leaves_the_model_as_it_was(new: Callable[[], LanguageModel]) -> None:
    model = new()
    attention_maps(model, IDS)
    assert not any(block.attn._forward_pre_hooks for block in model.h)


@pytest.mark.parametrize(("n_tokens", "what"), [(0, "longer"), (33, "shorter")])
def test_a_text_that_the_model_cannot_take_is_refused(n_tokens: int, what: str) -> None:
    for look in (attention_maps, lambda model, ids: next_token_probabilities(model, ids, [1.0])):
        with pytest.raises(InputError, match=rf"has {n_tokens} tokens, this model takes 1 to 32: give a {what} text"):
            look(random_model(), [1] * n_tokens)


def test_probabilities_are_the_softmax_of_the_last_logits_over_temperature() -> None:
    model = random_model()
    temperatures = [0.1, 1.0, 5.0]
    with torch.no_grad():
        logits = model(torch.tensor([IDS]))[0, -1]
    found = next_token_probabilities(model, IDS, temperatures)
    expected = torch.stack([(logits / temperature).softmax(dim=0) for temperature in temperatures])
    assert torch.allclose(found, expected, atol=TOLERANCE)
    cold, natural, hot = (entropy(row) for row in found)
    assert cold < natural < hot < math.log(280)


def test_entropy_is_0_for_certainty_and_log_v_for_none() -> None:
    assert entropy(torch.tensor([0.0, 1.0, 0.0])) == 0
    assert entropy(torch.full((8,), 1 / 8)) == pytest.approx(math.log(8))


def test_the_nearest_embeddings_point_in_the_same_direction_whatever_their_length(tokenizer_folder: Path) -> None:
    model = random_model()
    with torch.no_grad():
        embedding = model.wte.weight
        embedding[7] = 30 * embedding[5]  # far away, in the same direction
        embedding[9] = -embedding[5]
    cosines, nearest = nearest_embeddings(model, [5, 9], 279)
    assert nearest.shape == cosines.shape == (2, 279)  # all but the token itself
    assert (nearest[0, 0], nearest[0, -1]) == (7, 9)
    assert nearest[1, -2:].sort().values.tolist() == [5, 7]
    for row, token in enumerate((5, 9)):
        assert sorted(nearest[row].tolist()) == [other for other in range(280) if other != token]
        expected = F.cosine_similarity(embedding[nearest[row]], embedding[token][None])
        assert torch.allclose(cosines[row], expected, atol=TOLERANCE)
        assert (cosines[row].diff() <= 0).all()
    rows = neighbour_rows(model, read_tokenizer(tokenizer_folder), [*([5] * 3), 9, *range(100, 120)])
    assert len(rows) == 8 * 5  # the first eight different tokens
    assert [row["token"] for row in rows[:10]] == ["&"] * 5 + ["*"] * 5
    assert rows[0]["neighbour"] == "(" and rows[0]["cosine"] == pytest.approx(1)


@pytest.mark.parametrize("new", MODELS)
def test_block_gradients_are_those_of_the_mean_loss(new: Callable[[], LanguageModel]) -> None:
    model = new()
    inputs, targets = batch()
    found = block_gradients(model, inputs, targets)
    assert all(parameter.grad is None for parameter in model.parameters())
    F.cross_entropy(model(inputs).flatten(0, 1), targets.flatten()).backward()
    assert found == pytest.approx(gradient_means(model.h), rel=1e-4)


def test_block_gradients_come_from_after_the_steps() -> None:
    inputs, targets = batch()
    stepped, looked_at = random_model(), random_model()
    optimizer = torch.optim.AdamW(stepped.parameters(), lr=1e-3)
    for _ in range(2):
        optimizer.zero_grad()
        F.cross_entropy(stepped(inputs).flatten(0, 1), targets.flatten()).backward()
        optimizer.step()
    found = block_gradients(looked_at, inputs, targets, after_steps=2)
    assert found == pytest.approx(block_gradients(stepped, inputs, targets), rel=1e-2)
    assert found != pytest.approx(block_gradients(random_model(), inputs, targets), rel=1e-2)


@pytest.mark.parametrize("init", ["book", "gpt2"])
def test_gradients_vanish_without_shortcuts_but_only_after_some_steps(init: Literal["book", "gpt2"]) -> None:
    # Frequent and rare tokens, as in any text.
    ids = torch.multinomial(1 / torch.arange(1.0, 281), 50, replacement=True, generator=generator(1)).view(2, 25)
    new, after = {}, {}
    for shortcuts in (True, False):
        torch.manual_seed(3)
        model = new_model(GPTConfig(280, 32, 48, 4, 8, shortcuts=shortcuts), init, init_std=0.06)
        new[shortcuts] = decades(block_gradients(model, ids[:, :-1], ids[:, 1:]))
        after[shortcuts] = decades(block_gradients(model, ids[:, :-1], ids[:, 1:], after_steps=10))
    assert all(abs(value) < 0.5 for value in (new[True], new[False], after[True]))
    assert after[False] < -2


def test_gradients_are_compared_without_shortcuts_where_a_model_can_lack_them() -> None:
    example = batch()[0][0], batch()[1][0]
    names = {"new_with_shortcuts", "with_shortcuts", "trained"}
    assert compare_gradients(random_llama(), example, 1, "gpt2", 0.06).keys() == names
    compared = compare_gradients(random_model(), example, 1, "gpt2", 0.06)
    assert compared.keys() == names | {"new_without_shortcuts", "without_shortcuts"}
    assert all(len(values) == 3 and min(values) > 0 for values in compared.values())
    assert compared == compare_gradients(random_model(shortcuts=False), example, 1, "gpt2", 0.06) | {
        "trained": compared["trained"]
    }


def test_positions_of_a_gpt_are_its_learned_vectors() -> None:
    model = random_model()
    assert torch.equal(positions_of(model).vectors_TN, model.wpe.weight)


def test_positions_of_a_llama_are_as_alike_as_a_query_and_the_same_key_turned_to_them() -> None:
    model = random_llama()
    vectors_TN = positions_of(model).vectors_TN
    assert vectors_TN.shape == (32, 12)
    # The same in all pairs, at every position.
    same_BHTK = torch.cat([torch.full((1, 1, 32, 6), 0.6), torch.full((1, 1, 32, 6), 0.8)], dim=-1)
    turned_TK = rotate(same_BHTK, model.rotation_of(32))[0, 0]
    expected_TT = F.cosine_similarity(turned_TK[:, None], turned_TK[None], dim=-1)
    found_TT = F.cosine_similarity(vectors_TN[:, None], vectors_TN[None], dim=-1)
    assert torch.allclose(found_TT, expected_TT, atol=TOLERANCE)
    assert found_TT[0, 1] > found_TT[0, 3]


def test_of_a_large_context_the_first_256_positions_are_shown() -> None:
    for config in (
        GPTConfig(50, 300, 8, 2, 1),
        LlamaConfig(50, 300, 8, 2, 1, n_kv_heads=1, hidden_dim=8, rope_base=10),
    ):
        assert len(positions_of(new_model(config, "gpt2")).vectors_TN) == 256


@pytest.mark.parametrize(
    ("gradients", "expected"), [([1e-5, 7.0, 1e-2], -3), ([2.0], 0), ([0.0, 1.0], math.log10(torch.finfo().tiny))]
)
def test_decades_compare_the_first_block_with_the_last(gradients: list[float], expected: float) -> None:
    assert decades(gradients) == pytest.approx(expected)
