"""The command line: use the trained models, show shapes and caches, compare revisions and experiments."""

from __future__ import annotations

import io
import sys
from collections.abc import Collection
from dataclasses import replace
from enum import StrEnum
from itertools import chain
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Annotated, get_args

import typer

from scratchlm.errors import BUILD_AGAIN, InputError, explain
from scratchlm.model.config import GPT2_VOCAB_SIZE
from scratchlm.params.choices import Size
from scratchlm.params.file import PARAMS, load_params
from scratchlm.params.schema import MIN_TEMPERATURE
from scratchlm.stage.environment import share_cores

if TYPE_CHECKING:
    from scratchlm.generation.decode import Sampling
    from scratchlm.model.config import ModelConfig
    from scratchlm.model.language_model import LanguageModel
    from scratchlm.tokenizer.protocol import Tokenizer

TOKENIZER = Path("data/tokenizer")

cli = typer.Typer(
    help="Use the models that `make repro` built.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


def greedy_or_warm(temperature: float) -> float:
    """Refuse a temperature that params.yaml would refuse too."""
    if 0 < temperature < MIN_TEMPERATURE:
        raise typer.BadParameter(f"got {temperature:g}, wanted 0 (greedy) or at least {MIN_TEMPERATURE}.")
    return temperature


Temperature = Annotated[
    float,
    typer.Option(
        min=0.0, max=100.0, callback=greedy_or_warm, help="0 takes the likeliest token; higher is more random."
    ),
]
TopK = Annotated[int | None, typer.Option(min=1, help="Sample from the k likeliest tokens only.")]
Tokens = Annotated[int, typer.Option(min=1, help="Maximum number of new tokens.")]
Seed = Annotated[int, typer.Option(min=0, max=2**32 - 1, help="Sampling seed.")]


@cli.command()
def complete(
    text: Annotated[str, typer.Argument(help="The text to continue.")],
    model: Annotated[Path, typer.Option(help="The model folder.")] = Path("models/pretrained"),
    temperature: Temperature = 0.0,
    top_k: TopK = None,
    tokens: Tokens = 50,
    seed: Seed = 123,
) -> None:
    """Continue a text with the pretrained model; tokens are printed as they come."""
    from scratchlm.checkpoint.folder import load
    from scratchlm.generation.decode import Sampling
    from scratchlm.stage.device import find_device

    device, _ = find_device()
    gpt, tokenizer = load(model)
    ids = tokenizer.encode(text, allowed_special="all")
    stream(gpt.to(device), tokenizer, ids, tokens, (), Sampling(temperature, top_k, seed), show_prompt=True)


@cli.command()
def classify(
    text: Annotated[str, typer.Argument(help="The message, or - to read one per line from standard input.")],
    model: Annotated[Path, typer.Option(help="The classifier's folder.")] = Path("models/classifier"),
) -> None:
    """Tell a message's label, such as spam: label, probability and text, separated by tabs."""
    from scratchlm.classifier.classifier import encode_messages, label_logits
    from scratchlm.classifier.folder import load_classifier
    from scratchlm.stage.device import find_device

    device, _ = find_device()
    classifier, tokenizer, description = load_classifier(model)
    classifier.to(device)
    messages = (line.rstrip("\r\n") for line in sys.stdin) if text == "-" else iter([text])
    for message in messages:
        ids = encode_messages([message], tokenizer, description.max_length)
        logits = label_logits(classifier, ids, batch_size=1) / description.temperature
        probability, label = logits.softmax(dim=-1)[0].max(dim=-1)
        print(f"{description.labels[int(label)]}\t{float(probability):.3f}\t{message}", flush=True)


@cli.command()
def ask(
    instruction: Annotated[str, typer.Argument(help="What to do.")],
    input: Annotated[str, typer.Option(help="The text to work on, such as a sentence to rewrite.")] = "",
    model: Annotated[
        Path, typer.Option(help="The assistant's folder; models/preferred is the one tuned on preferences.")
    ] = Path("models/assistant"),
    temperature: Temperature = 0.0,
    top_k: TopK = None,
    tokens: Tokens = 256,
    seed: Seed = 123,
) -> None:
    """Ask the assistant; its answer is printed as it comes."""
    from scratchlm.assistant.folder import load_assistant
    from scratchlm.assistant.instructions import Entry, format_prompt
    from scratchlm.generation.decode import Sampling
    from scratchlm.stage.device import find_device

    device, _ = find_device()
    gpt, tokenizer, style = load_assistant(model)
    prompt = format_prompt(Entry(instruction=instruction, input=input, output=""), style)
    ids = tokenizer.encode_ordinary(prompt)
    stream(gpt.to(device), tokenizer, ids, tokens, tokenizer.stop_ids, Sampling(temperature, top_k, seed))


class Dtype(StrEnum):
    """How the weights of a GGUF file are stored."""

    F32 = "f32"
    F16 = "f16"
    Q8_0 = "q8_0"


@cli.command()
def export(
    model: Annotated[Path, typer.Option(help="The model folder.")] = Path("models/assistant"),
    out: Annotated[Path | None, typer.Option(help="Where to write it; by default exports/NAME.")] = None,
    dtype: Annotated[Dtype, typer.Option(help="How the GGUF file stores the weights.")] = Dtype.F16,
    name: Annotated[str | None, typer.Option(help="The model's name; by default the folder's.")] = None,
    license: Annotated[
        str | None, typer.Option(help="Its licence, as the Hugging Face hub names it; by default the base's, or none.")
    ] = None,
) -> None:
    """Write a model for Ollama, llama.cpp and the Hugging Face hub: GGUF, templates, and a card with its figures."""
    from scratchlm.export.commands import describe_commands
    from scratchlm.export.folder import export_model

    out = out or Path("exports") / (model.resolve().name if name is None else name)
    print("\n".join(describe_commands(export_model(model, out, dtype.value, name, license), out)))


@cli.command()
def shapes(
    texts: Annotated[
        list[str] | None,
        typer.Argument(metavar="TEXT", help="Texts with the same number of tokens; by default the book's."),
    ] = None,
    size: Annotated[str | None, typer.Option(help=f"A released GPT-2: {', '.join(get_args(Size))}.")] = None,
    model: Annotated[Path | None, typer.Option(help="A model folder.")] = None,
    memory: Annotated[bool, typer.Option("--memory", help="Show the memory of a training step instead.")] = False,
    rows: Annotated[
        int | None, typer.Option(min=1, help="Texts in a batch, by default 8; for --memory as all that follows.")
    ] = None,
    tokens: Annotated[int | None, typer.Option(min=1, help="Tokens of each; by default the model's context.")] = None,
    micro_batch: Annotated[int | None, typer.Option(min=1, help="Texts that are computed at a time.")] = None,
    bfloat16: Annotated[bool, typer.Option("--bfloat16", help="Compute the products in bfloat16.")] = False,
    processes: Annotated[
        int | None, typer.Option(min=1, help="Processes that share the model (FSDP2), by default 1.")
    ] = None,
    upper_blocks: Annotated[int | None, typer.Option(min=1, help="Train only so many of the last blocks.")] = None,
    lora_rank: Annotated[int | None, typer.Option(min=1, help="Train only LoRA's matrices of this rank.")] = None,
) -> None:
    """Show every tensor's shape from text to logits, or the memory of a training step.

    By default of the model in params.yaml, trained or not.
    """
    for_memory = {
        "--rows": rows,
        "--tokens": tokens,
        "--micro-batch": micro_batch,
        "--bfloat16": bfloat16,
        "--processes": processes,
        "--upper-blocks": upper_blocks,
        "--lora-rank": lora_rank,
    }
    if not memory and (given := [name for name, value in for_memory.items() if value]):
        raise InputError(f"{', '.join(given)}: only --memory takes them; add it, or leave them out")
    if memory and texts:
        raise InputError(
            f"got a text, {texts[0]!r}, but --memory takes none: give --rows and --tokens, or leave out --memory"
        )
    from scratchlm.anatomy.shapes import EXAMPLES, GPT2_EXAMPLE_IDS, describe_shapes

    config, tokenizer = shape_and_tokenizer(size, model)
    if memory:
        from scratchlm.anatomy.memory import TrainingStep, describe_memory
        from scratchlm.stage.device import find_device

        of_params = size is None and model is None
        step = TrainingStep(
            rows=rows or 8,
            tokens=tokens or config.context_length,
            precision="bfloat16" if bfloat16 else "float32",
            micro_batch=micro_batch,
            processes=processes or 1,
            upper_blocks=upper_blocks,
            lora_rank=lora_rank,
            attention=load_params(PARAMS).model.attention if of_params else "sdpa",
            on_cpu=find_device()[0].type == "cpu",
        )
        # Fine-tuning has its own dropout, whatever the model was made with; the book's is 0.
        print(describe_memory(config if of_params else replace(config, drop_rate=0.0), step), end="")
        return
    if tokenizer is None:
        if texts:
            raise InputError(
                "--size needs GPT-2's tokenizer for texts of your own, and it is not in data/tokenizer: set "
                "tokenizer.kind to gpt2 and run `make repro`, or leave the texts out"
            )
        print(describe_shapes(config, EXAMPLES, GPT2_EXAMPLE_IDS), end="")
    elif texts:
        print(describe_shapes(config, texts, tokenizer.encode_ordinary_batch(texts)), end="")
    else:
        ids = tokenizer.encode_ordinary_batch(list(EXAMPLES))
        length = min(*map(len, ids), config.context_length)  # only GPT-2's tokenizer makes them equally long
        ids = [row[:length] for row in ids]
        print(describe_shapes(config, [tokenizer.decode(row) for row in ids], ids), end="")


@cli.command()
def tokenize(
    text: Annotated[str, typer.Argument(help="The text to cut into tokens.")],
    model: Annotated[
        Path | None, typer.Option(help="A model folder; by default the tokenizer in data/tokenizer.")
    ] = None,
) -> None:
    """Show how a text becomes tokens: the id, the bytes and the text of each."""
    from scratchlm.tokenizer.folder import read_hugging_face_tokenizer
    from scratchlm.tokenizer.pieces import describe_pieces

    tokenizer = read_hugging_face_tokenizer(model) if model is not None else built_tokenizer()
    print(describe_pieces(tokenizer, text, tokenizer.encode(text, allowed_special="all")), end="")


@cli.command("next")
def next_token(
    text: Annotated[str, typer.Argument(help="The text before the next token.")],
    model: Annotated[Path, typer.Option(help="The model folder.")] = Path("models/pretrained"),
    temperature: Temperature = 1.0,
    top_k: TopK = None,
    tokens: Annotated[int, typer.Option(min=1, help="How many of the likeliest tokens to show.")] = 10,
) -> None:
    """Show the likeliest next tokens after a text, with the probabilities from which `complete` draws."""
    from scratchlm.checkpoint.folder import load
    from scratchlm.generation.decode import Sampling
    from scratchlm.generation.next_token import describe_expected, expect_token
    from scratchlm.stage.device import find_device

    device, _ = find_device()
    gpt, tokenizer = load(model)
    ids = tokenizer.encode(text, allowed_special="all")
    check_prompt(ids, gpt)
    expected = expect_token(gpt.to(device), ids, Sampling(temperature, top_k))
    print(describe_expected(tokenizer, expected, tokens), end="")


@cli.command()
def judge(
    more: Annotated[list[Path] | None, typer.Argument(help="Further results to import.")] = None,
    export: Annotated[
        Path | None, typer.Option("--export", help="Write what the judges would be asked, as requests of a batch.")
    ] = None,
    results: Annotated[
        list[Path] | None, typer.Option("--import", help="Put a batch's results into the cache.")
    ] = None,
    show_cache: Annotated[bool, typer.Option("--show-cache", help="Print its place and what it holds.")] = False,
    clear_cache: Annotated[bool, typer.Option("--clear-cache", help="Remove all answers from the cache.")] = False,
) -> None:
    """Have a batch answer for the judges, or show or clear the cache of the judges' answers."""
    from scratchlm.judging.answer_cache import AnswerCache, cache_path

    if [export is None, not results, not show_cache, not clear_cache].count(False) != 1:
        raise InputError(
            "give one of --export, --import, --show-cache and --clear-cache; the judging itself is a stage of "
            "`make repro`"
        )
    if more and not results:
        raise InputError(f"got {more[0]}: only --import takes further files")
    if export or results:
        exchange(export, [*(results or ()), *(more or ())])
        return
    path = cache_path()
    if not path.exists():
        print(f"{path}: no answers yet")
        return
    with AnswerCache(path) as cache:
        if clear_cache:
            print(f"{path}: {cache.clear():,} answers removed")
            return
        print(f"{path}: {cache.count():,} answers, {cache.size_bytes():,} bytes")
        for name, latencies_s in cache.latencies_by_judge().items():
            asked_s = [latency_s for latency_s in latencies_s if latency_s is not None]
            time = f"{median(asked_s):.2f} s each (median)" if asked_s else "by batches"
            print(f"  {name}\t{len(latencies_s):,}\t{time}")


def exchange(out: Path | None, results: list[Path]) -> None:
    """Write the requests of a batch to `out`, or import its results."""
    from scratchlm.judging.answer_cache import AnswerCache, cache_path
    from scratchlm.judging.backends.openai import read_base_url
    from scratchlm.judging.batch_file import describe_files, export_requests, import_results
    from scratchlm.judging.comparison import RESPONSES
    from scratchlm.judging.responses import read_responses

    params = load_params(PARAMS)
    asked = read_responses(Path(RESPONSES)), params.judge, params.seed
    with AnswerCache(cache_path()) as cache:
        if out is not None:
            print(describe_files(export_requests(out, *asked, cache), read_base_url()))
        else:
            print(import_results(results, *asked, cache).describe())


@cli.command()
def serve(
    port: Annotated[int, typer.Option(min=0, max=65535, help="The port on 127.0.0.1; 0 takes a free one.")] = 8000,
) -> None:
    """Serve the models to the browser and to other programs of this machine, as OpenAI's API; Ctrl-C ends it."""
    import torch

    from scratchlm.serving.app import make_app
    from scratchlm.serving.server import describe, listen, make_server
    from scratchlm.serving.shelf import Shelf
    from scratchlm.stage.device import find_device

    shelf = Shelf(Path())
    if not shelf.names():
        raise InputError("models/ holds no language model yet: run `make repro` first")
    find_device()  # before a model is asked for, so that a mistake shows now
    if shelf.are_small():
        torch.set_num_threads(1)
    with listen(port) as listener:
        make_server(make_app(shelf), describe(listener, shelf.names())).run([listener])
    shelf.close()


@cli.command()
def compare(
    rev1: Annotated[str, typer.Argument(help="A Git revision, a DVC experiment, or workspace.")],
    rev2: Annotated[str, typer.Argument(help="The revision to compare it with.")],
) -> None:
    """Compare two revisions' assistants by their scores, entry by entry: the difference with its 95 % interval."""
    from scratchlm.judging import comparison

    first, second = comparison.read_judged((rev1, rev2), Path())
    parts = [comparison.describe(found, rev1, rev2) for found in comparison.compare(first, second)]
    print("\n\n".join([*parts, *comparison.uncompared(first, second)]))


class Format(StrEnum):
    """How a table is printed."""

    TEXT = "text"
    MARKDOWN = "markdown"
    CSV = "csv"


@cli.command()
def table(
    name: Annotated[str, typer.Argument(help="A set of experiments: a file in experiments/, without .yaml.")],
    format: Annotated[Format, typer.Option(help="How to print it.")] = Format.TEXT,
    plot: Annotated[Path | None, typer.Option(help="Also draw a PNG file, such as logs/table.png.")] = None,
) -> None:
    """Show the results of a set of experiments that `make sweep` ran: metrics, differences, published figures."""
    from scratchlm.experiments import results, sets, table
    from scratchlm.files.revisions import open_project

    with open_project(Path()) as repo:
        experiments, runs = sets.load_set(name, Path(repo.root_dir))
        found = results.read_results(repo, experiments, runs)
    written = {Format.TEXT: table.as_text, Format.MARKDOWN: table.as_markdown, Format.CSV: table.as_csv}
    print(written[format](experiments, found), end="")
    if plot is not None:
        from scratchlm.experiments.figure import draw_set

        draw_set(plot, experiments, found)


@cli.command()
def report(
    revisions: Annotated[
        list[str] | None,
        typer.Argument(metavar="REV", help="Git revisions, DVC experiments, or workspace, which is the default."),
    ] = None,
    out: Annotated[Path, typer.Option(help="The file to write.")] = Path("report.html"),
) -> None:
    """Write what a run did and what came of it as one HTML page to mail or print; several revisions side by side."""
    from scratchlm.files.revisions import WORKSPACE
    from scratchlm.report.page import write_report

    write_report(out, revisions or [WORKSPACE], Path())
    print(f"{out}: {out.stat().st_size:,} bytes, open it in a browser")


@cli.command()
def cache(
    clear: Annotated[bool, typer.Option("--clear", help="Remove the downloads; the judges' answers stay.")] = False,
) -> None:
    """Show the folder of verified downloads that all clones share: where it is, its files and their sizes."""
    from scratchlm.download.cache import JUDGE, cached_files, clear_cache, judge_bytes
    from scratchlm.files.folders import cache_folder

    if clear:
        for key in clear_cache():
            print(f"{key} is being downloaded by another process and stays", file=sys.stderr)
    files, judged_bytes = cached_files(), judge_bytes()
    total_bytes = judged_bytes + sum(file.size_bytes for file in files)
    print(f"{cache_folder()}: {total_bytes:,} bytes (SCRATCHLM_CACHE names another folder)")
    for file in files:
        print(f"{file.size_bytes:15,}  {file.name}")
    if judged_bytes:
        print(f"{judged_bytes:15,}  {JUDGE}/ (the judges' answers)")


def shape_and_tokenizer(size: str | None, model: Path | None) -> tuple[ModelConfig, Tokenizer | None]:
    """Return the shape of a released size, a model folder or params.yaml, and its tokenizer if there is one."""
    from scratchlm.bases.gpt2 import SHAPES, gpt2_config
    from scratchlm.checkpoint.config_json import read_config
    from scratchlm.tokenizer.folder import read_hugging_face_tokenizer

    if size is not None and model is not None:
        raise InputError("both --size and --model are given: choose one")
    if model is not None:
        return read_config(model), read_hugging_face_tokenizer(model)
    if size is not None:
        if size not in SHAPES:
            raise InputError(f"--size: got {size}, wanted one of {', '.join(SHAPES)}")
        tokenizer = built_tokenizer() if TOKENIZER.is_dir() else None
        return gpt2_config(size), tokenizer if tokenizer and tokenizer.n_vocab == GPT2_VOCAB_SIZE else None
    tokenizer = built_tokenizer(" or --size 124M")
    return load_params(PARAMS).model.config(tokenizer.n_vocab), tokenizer


def built_tokenizer(or_else: str = "") -> Tokenizer:
    """Read data/tokenizer; raise InputError that names --model FOLDER, and what `or_else` adds, if it is missing."""
    from scratchlm.tokenizer.folder import read_tokenizer

    if not TOKENIZER.is_dir():
        raise InputError(f"{TOKENIZER} is missing; {BUILD_AGAIN}, or give --model FOLDER{or_else}")
    return read_tokenizer(TOKENIZER)


def check_prompt(ids: list[int], gpt: LanguageModel) -> None:
    """Raise InputError if a prompt has no tokens, or leaves no room for one more in the model's context."""
    context = gpt.config.context_length
    if not 0 < len(ids) < context:
        raise InputError(
            f"the prompt has {len(ids)} tokens, this model takes 1 to {context - 1}, so that an answer fits too: "
            f"give a {'shorter' if ids else 'longer'} text"
        )


def stream(
    gpt: LanguageModel,
    tokenizer: Tokenizer,
    ids: list[int],
    max_new_tokens: int,
    stop_ids: Collection[int],
    sampling: Sampling,
    show_prompt: bool = False,
) -> None:
    """Print each new token as it comes; with `show_prompt`, the prompt as the model sees it comes first.

    Raises InputError, before anything is printed, as `check_prompt` does.
    """
    from scratchlm.generation.decode import decode

    check_prompt(ids, gpt)
    tokens = (token for _, token in decode(gpt, [ids], max_new_tokens, stop_ids, sampling) if token not in stop_ids)
    for piece in tokenizer.decode_stream(chain(ids if show_prompt else [], tokens)):
        sys.stdout.write(piece)
        sys.stdout.flush()
    print()


def main() -> None:
    """Run the command line; a user's mistake ends in one clear line and exit code 1."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # a model may write characters that the terminal cannot show
    share_cores()
    try:
        cli()
    except InputError as error:
        sys.exit(f"scratchlm: error: {explain(error)}")
    except OSError as error:
        sys.exit(f"scratchlm: error: cannot read the input or write the output ({error.strerror})")


if __name__ == "__main__":
    main()
