"""A training step and cached decoding of our Llama beside transformers', in turn, with the same random weights.

    python benchmarks/llama.py        about five minutes on 2 idle cores; --layers 3 takes a tenth of it

SmolLM2-135M's shape in float32: a step of AdamW on 8 texts of 80 tokens with the logits of all positions, and 32 greedy
tokens after each of 8 prompts of 40. Both sides alternate in one process; the medians of the processor's time are
compared, and what they compute is checked to be equal.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from statistics import median
from time import process_time

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import LlamaConfig as TheirConfig
from transformers import LlamaForCausalLM

from scratchlm.checkpoint.llama_layout import LlamaLayout, config_to_json
from scratchlm.generation.decode import Sampling, generate
from scratchlm.model.config import LlamaConfig
from scratchlm.model.init import new_model

N_TEXTS, N_TOKENS = 8, 80
N_PROMPT, N_NEW = 40, 32
TOLERANCE = 1e-4  # of a loss of some 10 nats


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--layers", type=int, default=30)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    torch.manual_seed(1)
    shape = {"n_kv_heads": 3, "hidden_dim": 1536, "rope_base": 100_000.0}
    config = LlamaConfig(49_152, 8192, 576, 9, arguments.layers, **shape)
    ours = new_model(config, "gpt2")
    theirs = LlamaForCausalLM(TheirConfig(**config_to_json(config, 0)))
    theirs.load_state_dict(LlamaLayout(config).stored_tensors(ours), strict=False)  # the tied head is not stored
    ids_BT = torch.randint(1, 49_152, (N_TEXTS, N_TOKENS))

    prompts = ids_BT[:, :N_PROMPT]
    decoding = in_turn(
        {
            "ours": lambda: [given.ids for given in generate(ours.eval(), prompts.tolist(), N_NEW, (), Sampling(), 8)],
            "transformers": lambda: (
                theirs.eval().generate(
                    prompts,
                    attention_mask=torch.ones_like(prompts),
                    max_new_tokens=N_NEW,
                    do_sample=False,
                    eos_token_id=None,
                    pad_token_id=0,
                )[:, N_PROMPT:]
            ).tolist(),
        },
        arguments.rounds,
    )
    training = in_turn(
        {
            "ours": step_of(ours.train(), ours, ids_BT),
            "transformers": step_of(theirs.train(), lambda ids_BT: theirs(ids_BT).logits, ids_BT),
        },
        arguments.rounds,
    )
    print(f"one thread: {torch.get_num_threads() == 1}, {arguments.layers} layers, seconds of processor time")
    for name, seconds in {"32 tokens after each of 8 prompts": decoding, "training step of 8 x 80": training}.items():
        values = ", ".join(f"{side} {value:.2f}" for side, value in seconds.items())
        print(f"{name}: {values}, ratio {seconds['ours'] / seconds['transformers']:.2f}")


def step_of(model: nn.Module, logits_of: Callable[[Tensor], Tensor], ids_BT: Tensor) -> Callable[[], float]:
    """Return a function that takes one step and returns its loss."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-5, fused=True)

    def step() -> float:
        optimizer.zero_grad()
        loss = F.cross_entropy(logits_of(ids_BT)[:, :-1].flatten(0, 1), ids_BT[:, 1:].flatten())
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        return float(loss.detach())

    return step


def in_turn(sides: dict[str, Callable[[], object]], n_rounds: int) -> dict[str, float]:
    """Return the median seconds of each side; the first round only warms up, and compares what they return."""
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    for number in range(n_rounds + 1):
        returned = []
        for name, run in sides.items():
            started = process_time()
            returned.append(run())
            seconds[name].append(process_time() - started)
        if number == 0:
            ours, theirs = returned
            same = abs(ours - theirs) < TOLERANCE if isinstance(ours, float) else ours == theirs
            assert same, returned
    return {name: median(values[1:]) for name, values in seconds.items()}


if __name__ == "__main__":
    main()
