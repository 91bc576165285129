"""The optimizer's state beside the weights of a checkpoint, with which a training can go on (chapter 5.4).

`optimizer.safetensors` holds what AdamW keeps of each parameter: NAME.exp_avg and NAME.exp_avg_sq of the parameter's
shape, and the scalar NAME.step, all float32. Names and shapes are those of model/gpt.py, not Hugging Face's, whose
programs do not read this file.
"""

from __future__ import annotations

from pathlib import Path

from safetensors.torch import load_file
from torch import Tensor

from scratchlm.checkpoint.config_json import SHOWN_PROBLEMS
from scratchlm.checkpoint.weights import read_headers
from scratchlm.errors import OutputError
from scratchlm.files.text import bullets
from scratchlm.model.language_model import LanguageModel

OPTIMIZER = "optimizer.safetensors"


def load_optimizer_state(folder: Path, model: LanguageModel) -> dict[str, Tensor] | None:
    """Load the state of the optimizer that trained the model of a checkpoint, on the CPU; None if it has none.

    Raises OutputError that lists every tensor that is missing, unknown, misshapen or not finite.
    """
    path = folder / OPTIMIZER
    if not path.exists():
        return None
    wanted: dict[str, tuple[int, ...]] = {}
    for name, parameter in model.named_parameters():
        shape = tuple(parameter.shape)
        wanted |= {f"{name}.exp_avg": shape, f"{name}.exp_avg_sq": shape, f"{name}.step": ()}
    headers = read_headers(path)
    problems = [f"{name} is missing" for name in wanted.keys() - headers.keys()]
    problems += [f"{name} is not of this model" for name in headers.keys() - wanted.keys()]
    problems += [
        f"{name} is {dtype} {list(shape)}, expected F32 {list(wanted[name])}"
        for name, (shape, dtype) in headers.items()
        if name in wanted and (shape, dtype) != (wanted[name], "F32")
    ]
    state = {} if problems else load_file(path)
    # NaN and infinity show in the extremes, which need no copy of the tensor.
    problems += [
        f"{name} holds NaN or infinity"
        for name, tensor in state.items()
        if not all(extreme.isfinite() for extreme in tensor.aminmax())
    ]
    if problems:
        raise OutputError(f"{path} does not fit the model beside it:" + bullets(sorted(problems), SHOWN_PROBLEMS))
    return state
