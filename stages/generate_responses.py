"""Let the base and the assistant answer every test instruction."""

from pathlib import Path

from scratchlm.assistant.instructions import read_entries
from scratchlm.files.atomic import write_json
from scratchlm.generation import Sampling
from scratchlm.generation.answers import answer, as_rows, count_endings
from scratchlm.params.schema import Params
from scratchlm.stage.device import choose_device
from scratchlm.stage.metrics import write_metrics
from scratchlm.stage.snapshots import open_snapshots

INSTRUCTIONS = Path("data/instructions/test.json")
BASES = Path("models/bases")
ASSISTANT = Path("models/assistant")
RESPONSES = Path("data/responses.json")
METRICS = Path("metrics/generate_responses.json")


def main(params: Params) -> None:
    settings = params.generate
    device = choose_device()
    entries = read_entries(INSTRUCTIONS)
    snapshots = open_snapshots("generate_responses", device)
    answers = answer(
        {"base": BASES / params.finetune_instructions.base, "assistant": ASSISTANT},
        entries,
        style=params.instructions.prompt_style,
        max_new_tokens=settings.max_new_tokens,
        sampling=Sampling(settings.temperature, settings.top_k, params.seed),
        batch_size=settings.batch_size,
        device=device,
        snapshots=snapshots,
    )
    write_json(RESPONSES, as_rows(entries, answers))
    endings = {**count_endings(answers["assistant"]), **count_endings(answers["base"], "base_")}
    write_metrics(METRICS, {"answers": len(entries), **endings})
    snapshots.finish()
    print(f"{len(entries)} instructions answered by each model")
