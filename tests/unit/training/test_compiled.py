"""A compiled model computes what the model computes, as one graph, for any number of lengths."""

from __future__ import annotations

import shlex
from typing import Any

import pytest
import torch
from tiny_models import EACH
from tiny_trainings import BATCH_SIZE, instructions, messages, pairs, settings_in_parts, tiny_model, windows
from torch import Tensor
from torch._dynamo.testing import CompileCounterWithBackend
from torch._inductor.cpp_builder import BuildOptionsBase, CppBuilder

from scratchlm.errors import InputError
from scratchlm.model import head_loss, language_model
from scratchlm.model.config import Architecture
from scratchlm.training.compiled import compile_if_asked, quote_library_folders
from scratchlm.training.loop import train
from scratchlm.training.loss import next_token_loss

TOLERANCE = 1e-6


def test_a_switch_that_is_neither_on_nor_off_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SCRATCHLM_COMPILE", "yes")
    with pytest.raises(InputError, match="SCRATCHLM_COMPILE is 'yes', wanted 1 to compile the model, or 0"):
        compile_if_asked(windows(0.0)[0])


def test_where_torch_cannot_compile_it_is_said_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*arguments: Any, **options: Any) -> Any:
        raise RuntimeError("no working C++ compiler\nfound")

    monkeypatch.setattr(torch, "compile", fail)
    monkeypatch.setenv("SCRATCHLM_COMPILE", "1")
    with pytest.raises(InputError, match=r"cannot compile for cpu here \(no working C\+\+ compiler\): install"):
        compile_if_asked(windows(0.0)[0])


def test_nothing_is_compiled_unless_it_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "compile", None)
    for value in (None, "", "0"):
        monkeypatch.delenv("SCRATCHLM_COMPILE", raising=False)
        if value is not None:
            monkeypatch.setenv("SCRATCHLM_COMPILE", value)
        compile_if_asked(windows(0.0)[0])


def test_torch_links_in_a_folder_whose_name_has_a_space() -> None:
    for _ in range(2):
        quote_library_folders()
    options = BuildOptionsBase(compiler="c++", libraries_dirs=["/a folder/lib"])
    assert "-L/a folder/lib" in shlex.split(CppBuilder("name", ["code.cpp"], options).get_command_line())


def loss_and_gradients(model: Any, batch: tuple[Tensor, Tensor]) -> list[Tensor]:
    model.zero_grad()
    loss = next_token_loss(model, batch) / BATCH_SIZE
    loss.backward()  # type: ignore[no-untyped-call]
    return [loss.detach(), *(weight.grad.clone() for weight in model.parameters() if weight.grad is not None)]


def random_batch(length: int, n_ignored: int) -> tuple[Tensor, Tensor]:
    ids = torch.randint(40, (BATCH_SIZE, length + 1), generator=torch.Generator().manual_seed(length))
    targets = ids[:, 1:].clone()
    targets[:, :n_ignored] = -100
    return ids[:, :-1], targets


@pytest.mark.slow
@EACH
@pytest.mark.parametrize("at_once", [1 << 28, 40 * 64], ids=["together", "in parts"])
def test_a_model_and_its_loss_are_one_graph_with_the_same_gradients(
    architecture: Architecture, at_once: int, compiler: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(head_loss, "LOGITS_AT_ONCE", at_once)
    torch.compiler.reset()
    batch, model = random_batch(24, 0), tiny_model(0.0, architecture).train()
    wanted = loss_and_gradients(model, batch)
    quote_library_folders()
    counter = CompileCounterWithBackend("inductor")
    model.compile(fullgraph=True, backend=counter)
    ours = loss_and_gradients(model, batch)
    assert counter.frame_count == 1
    for a, b in zip(ours, wanted, strict=True):
        assert torch.allclose(a, b, rtol=TOLERANCE, atol=TOLERANCE)


@pytest.mark.slow
@EACH
@pytest.mark.parametrize("in_parts", [False, True])
def test_texts_of_many_lengths_need_few_graphs(
    architecture: Architecture, in_parts: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a GPU the loss is always in parts, of which short texts need one."""
    monkeypatch.setattr(language_model, "is_in_parts", lambda x_ND, weight_VD: in_parts)
    torch.compiler.reset()
    counter, model = CompileCounterWithBackend("aot_eager"), tiny_model(0.0, architecture).train()
    plain = tiny_model(0.0, architecture).train()
    model.compile(fullgraph=True, backend=counter)
    for length in (9, 24, 11, 17, 10, 23, 15, 21, 13, 19, 14):
        batch = random_batch(length, length // 2)
        for a, b in zip(loss_and_gradients(model, batch), loss_and_gradients(plain, batch), strict=True):
            assert torch.allclose(a, b, rtol=TOLERANCE, atol=TOLERANCE)
    assert counter.frame_count <= 3


@pytest.mark.slow
@pytest.mark.parametrize("made", [windows, instructions, messages, pairs])
def test_a_compiled_training_has_the_same_curve(made: Any, compiler: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """A language model is compiled as a whole, the one in a classifier by its blocks."""
    monkeypatch.setattr(head_loss, "LOGITS_AT_ONCE", 16 * 40)
    curves = []
    for value in ("0", "1"):
        monkeypatch.setenv("SCRATCHLM_COMPILE", value)
        torch.compiler.reset()
        model, loss, batches = made(0.0)
        torch.manual_seed(123)
        state = train(model, loss=loss, batches=batches, params=settings_in_parts(1), name="test")
        compiled = [part for part in model.modules() if part._compiled_call_impl is not None]
        assert bool(compiled) == (value == "1")
        curves.append([(row.train_loss, row.validation_loss) for row in state.curve])
    assert torch.allclose(torch.tensor(curves[0]), torch.tensor(curves[1]), rtol=0, atol=1e-5)
