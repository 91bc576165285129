"""The command line: continue a text, classify a message, ask the assistant."""

from __future__ import annotations

import codecs
import io
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from scratchlm.errors import InputError
from scratchlm.params import MIN_TEMPERATURE

if TYPE_CHECKING:
    import tiktoken

    from scratchlm.generation import Sampling
    from scratchlm.model import GPT

cli = typer.Typer(
    help="Use the models that `make repro` built.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


def greedy_or_warm(temperature: float) -> float:
    """Refuse a temperature that params.yaml would refuse too."""
    if 0 < temperature < MIN_TEMPERATURE:
        raise typer.BadParameter(f"{temperature:g} is neither 0 (greedy) nor {MIN_TEMPERATURE} or more.")
    return temperature


Temperature = Annotated[
    float,
    typer.Option(min=0.0, max=100.0, callback=greedy_or_warm, help="0 takes the likeliest token, higher is freer."),
]
TopK = Annotated[int | None, typer.Option(min=1, help="Draw from the k likeliest tokens.")]
Tokens = Annotated[int, typer.Option(min=1, help="New tokens at most.")]
Seed = Annotated[int, typer.Option(min=0, max=2**32 - 1, help="Of the drawing.")]


@cli.command()
def complete(
    text: Annotated[str, typer.Argument(help="The text to continue.")],
    model: Annotated[Path, typer.Option(help="The model folder.")] = Path("models/pretrained"),
    temperature: Temperature = 0.0,
    top_k: TopK = None,
    tokens: Tokens = 50,
    seed: Seed = 123,
) -> None:
    """Continue a text with the pretrained model, printed as it is written."""
    from scratchlm.checkpoint import load
    from scratchlm.generation import Sampling

    gpt, tokenizer = load(model)
    ids = tokenizer.encode(text, allowed_special="all")
    stream(gpt, tokenizer, ids, tokens, None, Sampling(temperature, top_k, seed), shown_first=text)


@cli.command()
def classify(
    text: Annotated[str, typer.Argument(help="The message, or - to read one per line from standard input.")],
    model: Annotated[Path, typer.Option(help="The classifier's folder.")] = Path("models/classifier"),
) -> None:
    """Tell whether a message is spam: label, probability and text, separated by tabs."""
    from scratchlm.classifier import encode_messages, label_logits, load_classifier
    from scratchlm.sms import LABELS

    classifier, tokenizer, max_length = load_classifier(model)
    messages = (line.rstrip("\r\n") for line in sys.stdin) if text == "-" else iter([text])
    for message in messages:
        logits = label_logits(classifier, encode_messages([message], tokenizer, max_length), batch_size=1)
        probability, label = logits.softmax(dim=-1)[0].max(dim=-1)
        print(f"{LABELS[int(label)]}\t{float(probability):.3f}\t{message}", flush=True)


@cli.command()
def ask(
    instruction: Annotated[str, typer.Argument(help="What to do.")],
    input: Annotated[str, typer.Option(help="What to do it with.")] = "",
    model: Annotated[Path, typer.Option(help="The assistant's folder.")] = Path("models/assistant"),
    temperature: Temperature = 0.0,
    top_k: TopK = None,
    tokens: Tokens = 256,
    seed: Seed = 123,
) -> None:
    """Ask the assistant, and see the answer as it is written."""
    from scratchlm.assistant import load_assistant
    from scratchlm.generation import Sampling
    from scratchlm.instructions import Entry, format_prompt
    from scratchlm.tokenizer import end_of_text

    gpt, tokenizer, style = load_assistant(model)
    prompt = format_prompt(Entry(instruction=instruction, input=input, output=""), style)
    ids = tokenizer.encode_ordinary(prompt)
    stream(gpt, tokenizer, ids, tokens, end_of_text(tokenizer), Sampling(temperature, top_k, seed))


def stream(
    gpt: GPT,
    tokenizer: tiktoken.Encoding,
    ids: list[int],
    max_new_tokens: int,
    stop_id: int | None,
    sampling: Sampling,
    shown_first: str = "",
) -> None:
    """Print `shown_first` and each new token as it is chosen.

    Raises InputError, before anything is printed, if the prompt leaves no room for an answer.
    """
    from scratchlm.generation import decode

    context = gpt.config.context_length
    if not 0 < len(ids) < context:
        raise InputError(
            f"the prompt has {len(ids)} tokens, this model takes 1 to {context - 1} and needs room for an answer: "
            f"give a {'shorter' if ids else 'longer'} text"
        )
    tokens = (token for _, token in decode(gpt, [ids], max_new_tokens, stop_id, sampling) if token != stop_id)
    sys.stdout.write(shown_first)
    for piece in decode_pieces(tokenizer, tokens):
        sys.stdout.write(piece)
        sys.stdout.flush()
    print()


def decode_pieces(tokenizer: tiktoken.Encoding, tokens: Iterable[int]) -> Iterator[str]:
    """Turn a stream of tokens into text; a character that two tokens share comes with the second."""
    decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
    for token in tokens:
        yield decoder.decode(tokenizer.decode_single_token_bytes(token))
    yield decoder.decode(b"", final=True)


def main() -> None:
    """Run the command line; a user's mistake ends in one clear line and exit code 1."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # a model may say what the terminal cannot show
    try:
        cli()
    except InputError as error:
        sys.exit(f"scratchlm: error: {error}")
    except OSError as error:
        sys.exit(f"scratchlm: error: {error.strerror}: cannot read the input or write the output")


if __name__ == "__main__":
    main()
