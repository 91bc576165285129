"""Let base, assistant and preferred answer every test instruction."""

from pathlib import Path

from scratchlm.assistant.instructions import read_entries
from scratchlm.assistant.pairs import read_pairs
from scratchlm.assistant.preferences import preference_shares
from scratchlm.files.atomic import write_json
from scratchlm.generation import Sampling
from scratchlm.generation.answers import answer, as_rows, describe_summary, summarise_answers
from scratchlm.params.schema import Params
from scratchlm.stage.device import choose_device
from scratchlm.stage.metrics import write_metrics
from scratchlm.stage.snapshots import open_snapshots

INSTRUCTIONS = Path("data/instructions/test.json")
PREFERENCES = Path("data/preferences/train.json")
BASES = Path("models/bases")
ASSISTANT = Path("models/assistant")
PREFERRED = Path("models/preferred")
RESPONSES = Path("data/responses.json")
METRICS = Path("metrics/generate_responses.json")


def main(params: Params) -> None:
    settings = params.generate
    device = choose_device()
    entries = read_entries(INSTRUCTIONS)
    snapshots = open_snapshots("generate_responses", device)
    answers = answer(
        {"base": BASES / params.finetune_instructions.base, "assistant": ASSISTANT, "preferred": PREFERRED},
        entries,
        style=params.instructions.prompt_style,
        max_new_tokens=settings.max_new_tokens,
        sampling=Sampling(settings.temperature, settings.top_k, params.seed),
        batch_size=settings.batch_size,
        device=device,
        snapshots=snapshots,
    )
    texts = {name: [given["text"] for given in of_model] for name, of_model in answers.items()}
    shares = preference_shares(read_pairs(PREFERENCES), texts)
    summary = summarise_answers(answers, shares)
    write_json(RESPONSES, as_rows(entries, answers))
    write_metrics(METRICS, summary)
    snapshots.finish()
    print(describe_summary(summary, answers))
