"""What the models wrote while they were trained, and what the pretrained one looks at."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator, Sequence

from scratchlm.report.blocks import Fold, Image, Section
from scratchlm.report.run import OUTPUTS, Run, missing

SAMPLES = [path for path in OUTPUTS if path.startswith("data/samples/")]
ATTENTION = "data/plots/attention.png"
PNG = b"\x89PNG\r\n\x1a\n"
HEADING = re.compile(r"^## (.*)$", re.MULTILINE)
FENCES = ("```text", "```")


def samples(runs: Sequence[Run]) -> Section:
    """Return the texts and answers of each epoch, folded."""
    blocks = [_fold(run, path, several=len(runs) > 1) for path in SAMPLES for run in runs if path in run.files]
    return Section("samples", "Samples by epoch", blocks, missing(runs, *SAMPLES))


def _fold(run: Run, path: str, several: bool) -> Fold:
    title, _, rest = run.text(path).partition("\n")
    before, *parts = HEADING.split(rest)
    pairs = [("", before), *zip(parts[::2], parts[1::2], strict=True)]
    shown = [(heading, "\n".join(_lines(text)).strip("\n")) for heading, text in pairs]
    return Fold(
        title.removeprefix("# ") + (f" ({run.name})" if several else ""),
        [(heading, text) for heading, text in shown if heading or text],
    )


def _lines(text: str) -> Iterator[str]:
    return (line for line in text.splitlines() if line not in FENCES)


def attention(runs: Sequence[Run]) -> Section:
    """Return the attention maps of each run."""
    blocks = [
        Image(
            "What the pretrained model looks at" + (f", {run.name}" if len(runs) > 1 else ""),
            f"data:image/png;base64,{base64.b64encode(run.files[ATTENTION]).decode()}",
        )
        for run in runs
        if run.files.get(ATTENTION, b"").startswith(PNG)
    ]
    return Section("attention", "Attention", blocks, missing(runs, ATTENTION))
