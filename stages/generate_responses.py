"""Let the base model and the assistant answer every test instruction."""

from pathlib import Path

from scratchlm.assistant.instructions import read_entries
from scratchlm.files.atomic import write_json
from scratchlm.generation.answers import answer
from scratchlm.generation.decode import Sampling
from scratchlm.params.schema import Params
from scratchlm.stage.device import choose_device
from scratchlm.stage.metrics import write_metrics
from scratchlm.stage.run import run
from scratchlm.stage.snapshots import Snapshots

INSTRUCTIONS = Path("data/instructions/test.json")
BASES = Path("models/bases")
ASSISTANT = Path("models/assistant")
RESPONSES = Path("data/responses.json")
METRICS = Path("metrics/generate_responses.json")


def main(params: Params) -> None:
    settings = params.generate
    device = choose_device()
    entries = read_entries(INSTRUCTIONS)
    sampling = Sampling(settings.temperature, settings.top_k, params.seed)
    snapshots = Snapshots.of_stage("generate_responses", device)
    answers = answer(
        {"base": BASES / params.finetune_instructions.base, "assistant": ASSISTANT},
        device,
        entries,
        params.instructions.prompt_style,
        settings.max_new_tokens,
        sampling,
        settings.batch_size,
        snapshots,
    )
    write_json(
        RESPONSES,
        [
            {"id": index, **entry, "base": base, "assistant": assistant}
            for index, (entry, base, assistant) in enumerate(
                zip(entries, answers["base"], answers["assistant"], strict=True)
            )
        ],
    )
    metrics = {"answers": len(entries)}
    for variant, prefix in (("assistant", ""), ("base", "base_")):
        metrics[f"{prefix}empty"] = sum(not given["text"] for given in answers[variant])
        metrics[f"{prefix}stopped_at_end"] = sum(given["finish"] == "stop" for given in answers[variant])
    write_metrics(METRICS, metrics)
    snapshots.finish()
    print(f"{len(entries)} instructions answered by each model")


if __name__ == "__main__":
    run(main)
