"""Let the base model and the assistant answer every test instruction."""

from pathlib import Path

from scratchlm.device import choose_device
from scratchlm.files import write_json
from scratchlm.generation import Sampling
from scratchlm.instructions import read_entries
from scratchlm.metrics import write_metrics
from scratchlm.params import Params
from scratchlm.responses import answer
from scratchlm.snapshots import Snapshots
from scratchlm.stage import run

INSTRUCTIONS = Path("data/instructions/test.json")
GPT2 = Path("models/gpt2")
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
        {"base": GPT2 / params.finetune_instructions.base, "assistant": ASSISTANT},
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
