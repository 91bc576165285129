"""Recompute the figures that the book prints, and compare: python benchmarks/book_figures.py --only ch05.

Every figure is computed by the library and the stages' own scripts with profiles/book.yaml; the book's figures
are only in the tables below. Figures that need GPT-2's weights are left out unless --weights is given (2 GB are
downloaded, for the largest model 6 GB more; a GPU helps), those that need an LLM as judge unless --judge is given
(Ollama with llama3, see docs/judging.md). Exit code 1 if a figure differs by more than its tolerance.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path
from typing import Any, Literal

import torch
from book_profile import BookProfile

from scratchlm.anatomy.formulas import DeepNetwork, gradient_means
from scratchlm.assistant.batches import Batches, Example, collate, read_batches
from scratchlm.bases.gpt2 import SHAPES, download_checkpoint, gpt2_config
from scratchlm.checkpoint.folder import load
from scratchlm.classifier.classifier import (
    Classifier,
    Messages,
    batch_accuracy,
    choose_trained_layers,
    label_loss,
)
from scratchlm.classifier.finetune import encode_splits, read_splits
from scratchlm.classifier.messages import read_split_csv
from scratchlm.generation.base_texts import PROMPTS
from scratchlm.generation.decode import Sampling, generate_text
from scratchlm.model.config import GPTConfig
from scratchlm.model.gpt import GPT
from scratchlm.model.init import empty_model, new_model
from scratchlm.model.language_model import n_parameters
from scratchlm.model.lora import add_lora, untied_head
from scratchlm.tokenizer.folder import read_tokenizer
from scratchlm.tokenizer.measures import longest_tokens, measure_texts
from scratchlm.tokenizer.words import WordTokenizer, build_vocabulary, split_words
from scratchlm.tokens.folder import open_tokens
from scratchlm.tokens.windows import read_windows, window_loaders
from scratchlm.training.loaders import Loader, Loaders, loaders
from scratchlm.training.loss import next_token_loss
from scratchlm.training.measuring import mean_loss, measure_losses
from scratchlm.training.optimizer import n_trained_parameters

CPU = torch.device("cpu")
SEED = 123
WEIGHTS, JUDGE = "GPT-2's weights", "Ollama"


@dataclass(frozen=True)
class Figure:
    """A figure of the book, how it is computed here, and its tolerance (0: every printed digit)."""

    chapter: str
    name: str
    book: Any
    compute: Callable[[BookProfile], Any]
    tolerance: float = 0
    needs: Literal["", "GPT-2's weights", "Ollama"] = ""


def verdict_text(book: BookProfile) -> str:
    return (book.run("download_corpus") / "data/corpus/the-verdict.txt").read_text(encoding="utf-8")


def words(book: BookProfile) -> WordTokenizer:
    return WordTokenizer(build_vocabulary([verdict_text(book)], 1_000_000))


def bpe(book: BookProfile) -> Any:
    return read_tokenizer(book.run("build_tokenizer") / "data/tokenizer")


def chapter_2() -> Iterator[Figure]:
    sentence = "Hello, do you like tea? <|endoftext|> In the sunlit terraces of the palace."
    ids = [1131, 5, 355, 1126, 628, 975, 10, 1130, 55, 988, 956, 984, 722, 988, 1131, 7]

    def first_window(book: BookProfile) -> list[list[int]]:
        window = read_windows(open_tokens(book.run("tokenize_corpus") / "data/tokens"), "train")[0]
        return [part[:4].tolist() for part in window]

    yield Figure("ch02", "characters", 20_479, lambda book: len(verdict_text(book)))
    yield Figure("ch02", "words and punctuation", 4_690, lambda book: len(split_words(verdict_text(book))))
    yield Figure("ch02", "word vocabulary", 1_130, lambda book: words(book).n_vocab - 2)
    yield Figure("ch02", "word vocabulary with special tokens", 1_132, lambda book: words(book).n_vocab)
    yield Figure("ch02", "words as ids", ids, lambda book: words(book).encode(sentence, allowed_special="all"))
    yield Figure("ch02", "BPE tokens", 5_145, lambda book: book.metrics("tokenize_corpus")["tokens"])
    yield Figure(
        "ch02",
        "BPE of 'Akwirw ier'",
        [33901, 86, 343, 86, 220, 959],
        lambda book: bpe(book).encode_ordinary("Akwirw ier"),
    )
    yield Figure("ch02", "first window", [[40, 367, 2885, 1464], [367, 2885, 1464, 1807]], first_window)


PARAMETERS = {
    ("124M", False): 163_009_536,
    ("124M", True): 124_412_160,
    ("355M", False): 406_212_608,
    ("355M", True): 354_749_440,
    ("774M", False): 838_220_800,
    ("774M", True): 773_891_840,
    ("1558M", False): 1_637_792_000,
    ("1558M", True): 1_557_380_800,
}
# Mean absolute gradients of five layers' weights, section 4.4.
GRADIENTS = {
    False: [0.000201735878, 0.000120111610, 0.000715204165, 0.001398873515, 0.005049645435],
    True: [0.221697926521, 0.206941068172, 0.328969955444, 0.266573220491, 1.325854182243],
}


def count_parameters(size: str, tied: bool, book: BookProfile) -> int:
    emb_dim, n_heads, n_layers = SHAPES[size]
    with torch.device("meta"):
        return n_parameters(
            GPT(GPTConfig(50257, 1024, emb_dim, n_heads, n_layers, 0.1, qkv_bias=False, tie_embeddings=tied))
        )


def shortcut_gradients(shortcuts: bool, book: BookProfile) -> list[float]:
    torch.manual_seed(SEED)
    network = DeepNetwork([3, 3, 3, 3, 3, 1], shortcuts)
    output = network(torch.tensor([[1.0, 0.0, -1.0]]))
    torch.nn.functional.mse_loss(output, torch.tensor([[0.0]])).backward()
    return gradient_means(network.layers)


def untrained_model(context_length: int, book: BookProfile) -> GPT:
    """Build the book profile's model, before any training, for a context of chapter 4 (1,024) or 5 (256)."""
    config = replace(book.params.model.config(bpe(book).n_vocab), context_length=context_length)
    torch.manual_seed(book.params.seed)
    return new_model(config, book.params.model.init).eval()


def untrained_text(book: BookProfile) -> str:
    return generate_text(untrained_model(1024, book), bpe(book), "Hello, I am", 6, Sampling())


def chapter_4() -> Iterator[Figure]:
    for (size, tied), count in PARAMETERS.items():
        name = f"parameters of {size}, {'tied' if tied else 'untied'}"
        yield Figure("ch04", name, count, partial(count_parameters, size, tied))
    for shortcuts, means in GRADIENTS.items():
        name = f"gradient means {'with' if shortcuts else 'without'} shortcuts"
        yield Figure("ch04", name, means, partial(shortcut_gradients, shortcuts), 1e-6)
    yield Figure("ch04", "untrained text", "Hello, I am Featureiman Byeswickattribute argue", untrained_text)


# Training and validation loss at every fifth step, and the sample text after the tenth epoch.
LOSSES = {
    **{0: (9.781, 9.933), 5: (8.111, 8.339), 10: (6.661, 7.048), 15: (5.961, 6.616), 20: (5.726, 6.600)},
    **{25: (5.201, 6.348), 30: (4.417, 6.278), 35: (4.069, 6.226), 40: (3.732, 6.160), 45: (2.850, 6.179)},
    **{50: (2.427, 6.141), 55: (2.104, 6.134), 60: (1.882, 6.233), 65: (1.320, 6.238), 70: (0.985, 6.242)},
    **{75: (0.717, 6.293), 80: (0.541, 6.393), 85: (0.391, 6.452)},
}
# The same at the steps of one more epoch, which starts with the saved model and optimizer (exercise 5.4).
CONTINUED_LOSSES = {0: (0.271, 6.545), 5: (0.244, 6.614)}
CONTINUED_TEXT = (
    'Every effort moves you?"  "Yes--quite insensible to the irony. She wanted him vindicated--and by me!"  He laughed '
    'again, and threw back his head to look up at the sketch of the donkey. "There were days when I'
)
FINAL_TEXT = (
    'Every effort moves you know," was one of the axioms he laid down across the Sevres and silver of an exquisitely '
    "appointed luncheon-table, when, on a later day, I had again run over from Monte Carlo; and Mrs. Gis"
)
OPENAI_TEXT = (
    "Every effort moves you toward finding an ideal new way to practice something!\n\nWhat makes us want to be on top "
    "of that?\n\n"
)


def verdict_batches(book: BookProfile) -> Loaders:
    tokens = book.run("tokenize_corpus") / "data/tokens"
    return window_loaders(open_tokens(tokens), book.params.pretrain.batch_size)


def initial_losses(book: BookProfile) -> list[float]:
    model = untrained_model(256, book)
    return list(measure_losses(model, next_token_loss, verdict_batches(book), book.params.seed))


def losses_at(step: int, stage: str, name: str, book: BookProfile) -> list[float]:
    return [round(loss, 3) for loss in book.curve(stage, name)[step]]


def text_after(epoch: int, book: BookProfile) -> str:
    samples = (book.run("pretrain") / "data/samples/pretrain.md").read_text(encoding="utf-8")
    return samples.split(f"## Epoch {epoch}\n\n")[1].removesuffix("\n").replace("\n", " ")


@cache
def continued(book: BookProfile) -> BookProfile:
    """Return a profile that trains the pretrained model for one more epoch, in a folder within this one's."""
    start = book.run("pretrain") / "models/pretrained"
    folder = book.folder / "continued"
    folder.mkdir()
    return BookProfile(folder, {"pretrain.start": str(start.absolute()), "pretrain.epochs": 1})


def continued_losses(step: int, book: BookProfile) -> list[float]:
    return losses_at(step, "pretrain", "pretrain", continued(book))


def gpt2(size: str, book: BookProfile) -> tuple[GPT, Any]:
    folder = book.folder / "models/released" / size
    if not folder.is_dir():
        download_checkpoint(size, folder, book.run("build_tokenizer") / "data/tokenizer")
    return load(folder)


def openai_text(book: BookProfile) -> str:
    model, tokenizer = gpt2("124M", book)
    return generate_text(model, tokenizer, "Every effort moves you", 25, Sampling(1.5, 50, SEED))


def pretrained_losses(size: str, book: BookProfile) -> list[float]:
    model, _ = gpt2(size, book)
    losses = measure_losses(model, next_token_loss, verdict_batches(book), SEED)
    return [round(loss, 4) for loss in losses]


def chapter_5() -> Iterator[Figure]:
    def batches_and_tokens(book: BookProfile) -> list[list[int]]:
        return [[len(batches), sum(x.numel() for x, _ in batches)] for batches in verdict_batches(book)]

    yield Figure("ch05", "batches and tokens per split", [[9, 4608], [1, 512]], batches_and_tokens)
    # The last digits depend on the order of additions in a processor's matrix product; no others may.
    yield Figure("ch05", "initial losses", [10.98758347829183, 10.98110580444336], initial_losses, 1e-6)
    for step, losses in LOSSES.items():
        yield Figure("ch05", f"losses at step {step}", list(losses), partial(losses_at, step, "pretrain", "pretrain"))
    yield Figure("ch05", "text after 10 epochs", FINAL_TEXT, partial(text_after, 10))
    for step, losses in CONTINUED_LOSSES.items():
        yield Figure("ch05", f"losses at step {step} of one more epoch", list(losses), partial(continued_losses, step))
    yield Figure("ch05", "text after one more epoch", CONTINUED_TEXT, lambda book: text_after(1, continued(book)))
    yield Figure("ch05", "GPT-2's text", OPENAI_TEXT, openai_text, needs=WEIGHTS)
    for size, losses in {"124M": [3.7547, 3.5596], "1558M": [3.3046, 3.1195]}.items():
        compute = partial(pretrained_losses, size)
        yield Figure("ch05", f"losses of GPT-2 {size}", losses, compute, tolerance=0.0002, needs=WEIGHTS)


SPLITS = ("train", "validation", "test")
# What GPT-2 124M writes after the two prompts of section 6.4.
BASE_TEXTS = (
    "Every effort moves you forward.\n\nThe first step is to understand the importance of your work",
    "Is the following text 'spam'? Answer with 'yes' or 'no': 'You are a winner you have been specially selected to "
    "receive $1000 cash or a $2000 award.'\n\nThe following text 'spam'? Answer with 'yes' or 'no': 'You are a winner",
)


def base_text(prompt: str, book: BookProfile) -> str:
    model, tokenizer = gpt2("124M", book)
    return generate_text(model, tokenizer, prompt, PROMPTS[prompt], Sampling())


def sms_counts(*keys: str) -> Callable[[BookProfile], list[int]]:
    def counts(book: BookProfile) -> list[int]:
        found = book.metrics("prepare_sms")
        return [{**found, **found["labels"]}[key] for key in keys]

    return counts


def untrained_classifier(book: BookProfile) -> tuple[Classifier, dict[str, Messages]]:
    folder = book.run("prepare_sms") / "data/sms"
    gpt, tokenizer = load(book.run("download_weights") / "models/bases" / book.params.finetune_classifier.base)
    messages, _ = encode_splits(read_splits(folder), tokenizer, None, gpt.config.context_length)
    torch.manual_seed(book.params.seed)
    return Classifier(gpt), messages


def classifier_start(book: BookProfile, measure: Callable[[Classifier, Loader], float]) -> list[float]:
    classifier, messages = untrained_classifier(book)
    train, validation = loaders(messages["train"], messages["validation"], book.params.finetune_classifier.batch_size)
    _, test = loaders(messages["train"], messages["test"], book.params.finetune_classifier.batch_size)
    torch.manual_seed(book.params.seed)
    return [measure(classifier, batches) for batches in (train, validation, test)]


def initial_accuracies(book: BookProfile) -> list[float]:
    return classifier_start(book, lambda classifier, batches: round(batch_accuracy(classifier, batches, 10), 2))


def initial_classifier_losses(book: BookProfile) -> list[float]:
    return classifier_start(book, lambda classifier, batches: round(mean_loss(classifier, label_loss, batches, 5), 3))


def final_accuracies(book: BookProfile) -> list[float]:
    metrics = book.metrics("finetune_classifier")
    return [round(metrics[f"{split}_accuracy"], 2) for split in SPLITS]


def chapter_6() -> Iterator[Figure]:
    def batches(book: BookProfile) -> list[int]:
        folder, size = book.run("prepare_sms") / "data/sms", book.params.finetune_classifier.batch_size
        train, validation, test = (
            Messages(torch.zeros(len(frame), 1), frame["Label"].tolist())
            for frame in (read_split_csv(folder / f"{split}.csv", 2) for split in SPLITS)
        )
        return [len(part) for part in (*loaders(train, validation, size), loaders(train, test, size)[1])]

    def longest(book: BookProfile) -> list[int]:
        folder, tokenizer = book.run("prepare_sms") / "data/sms", bpe(book)
        return [longest_tokens(tokenizer, frame["Text"].tolist()) for frame in read_splits(folder).values()]

    yield Figure("ch06", "messages, ham and spam", [5572, 4825, 747], sms_counts("rows", "ham", "spam"))
    yield Figure("ch06", "balanced messages", [1494], sms_counts("kept"))
    yield Figure("ch06", "messages per split", [1045, 149, 300], sms_counts(*SPLITS))
    yield Figure("ch06", "batches per split", [130, 19, 38], batches)
    yield Figure("ch06", "longest message", [120, 71, 92], longest)
    for (prompt, n), text in zip(PROMPTS.items(), BASE_TEXTS, strict=True):
        yield Figure("ch06", f"GPT-2's text of {n} tokens", text, partial(base_text, prompt), needs=WEIGHTS)
    yield Figure("ch06", "accuracies before", [46.25, 45.00, 48.75], initial_accuracies, 0.01, WEIGHTS)
    yield Figure("ch06", "losses before", [2.453, 2.583, 2.322], initial_classifier_losses, 0.002, WEIGHTS)
    for step, losses in {0: [2.153, 2.392], 600: [0.083, 0.074]}.items():
        compute = partial(losses_at, step, "finetune_classifier", "classifier_loss")
        yield Figure("ch06", f"losses at step {step}", losses, compute, 0.01, WEIGHTS)
    yield Figure("ch06", "accuracies after", [97.21, 97.32, 95.67], final_accuracies, 0.7, WEIGHTS)


BATCH_WIDTHS = [
    *(61, 76, 73, 68, 65, 72, 80, 67, 62, 75, 62, 68, 67, 77, 69, 79, 71, 66, 83, 68, 80, 71, 69, 65, 68, 60, 59),
    *(69, 63, 65, 76, 66, 71, 91, 65, 64, 67, 66, 64, 65, 75, 89, 59, 88, 83, 83, 70, 65, 74, 76, 67, 75, 83, 69),
    *(67, 60, 60, 66, 80, 71, 61, 58, 71, 67, 68, 63, 87, 68, 64, 68, 71, 68, 71, 61, 65, 67, 65, 64, 60, 72, 64),
    *(70, 57, 72, 64, 68, 62, 74, 80, 68, 70, 91, 61, 66, 80, 81, 74, 82, 63, 83, 68, 67, 77, 91, 64, 61, 75, 64),
    *(66, 78, 66, 64, 83, 66, 74, 69),
]


def instruction_batches(book: BookProfile) -> Batches:
    folder, settings = book.run("prepare_instructions") / "data/instructions", book.params.finetune_instructions
    return read_batches(folder, book.params.instructions.prompt_style, bpe(book), settings)


def longest_entry(book: BookProfile) -> list[float]:
    return [measure_texts(bpe(book), instruction_batches(book).texts)["longest_tokens"]]


def batch_widths(book: BookProfile) -> list[int]:
    torch.manual_seed(book.params.seed)
    return [inputs.shape[1] for inputs, _ in instruction_batches(book).loaders.train]


def collate_example(book: BookProfile) -> list[list[list[int]]]:
    examples = [Example(ids, prompt_length=0) for ids in ([0, 1, 2, 3, 4], [5, 6], [7, 8, 9])]
    return [part.tolist() for part in collate(examples, pad_id=50256, max_length=1024, mask_prompt=False)]


def instruction_counts(*keys: str) -> Callable[[BookProfile], list[int]]:
    return lambda book: [book.metrics("prepare_instructions")[key] for key in keys]


def initial_instruction_losses(book: BookProfile) -> list[float]:
    model, _ = load(book.run("download_weights") / "models/bases" / book.params.finetune_instructions.base)
    batches = instruction_batches(book).loaders
    torch.manual_seed(book.params.seed)
    return [round(mean_loss(model, next_token_loss, split, 5), 4) for split in batches]


def last_instruction_losses(book: BookProfile) -> list[float]:
    curve = book.curve("finetune_instructions", "finetune_instructions")
    last = max(step for step in curve if step % book.params.finetune_instructions.eval_every == 0)
    return [round(loss, 3) for loss in curve[last]]


def chapter_7() -> Iterator[Figure]:
    padded = [
        [[0, 1, 2, 3, 4], [5, 6, 50256, 50256, 50256], [7, 8, 9, 50256, 50256]],
        [[1, 2, 3, 4, 50256], [6, 50256, -100, -100, -100], [8, 9, 50256, -100, -100]],
    ]
    splits = instruction_counts("train", "test", "validation")
    yield Figure("ch07", "entries per split", [935, 110, 55], splits)
    yield Figure("ch07", "collate example", padded, collate_example)
    yield Figure("ch07", "longest entry", [91], longest_entry)
    yield Figure("ch07", "widths of all 116 batches", BATCH_WIDTHS, batch_widths)
    losses = [3.8259, 3.7619]
    yield Figure("ch07", "losses before", losses, initial_instruction_losses, 0.001, WEIGHTS)
    yield Figure("ch07", "losses at the end", [0.300, 0.657], last_instruction_losses, 0.02, WEIGHTS)
    yield Figure(
        "ch07",
        "judge's mean score",
        50.32,
        lambda book: book.metrics("judge_responses")["assistant"]["mean"],
        tolerance=3,
        needs=JUDGE,
    )


def classifier_parameters(book: BookProfile) -> int:
    with torch.device("meta"):
        return n_parameters(Classifier(empty_model(gpt2_config("124M"))))


def trained_with_lora(book: BookProfile) -> list[int]:
    """Count what LoRA trains of the classifier and, in exercise 7.4, of the assistant."""
    settings = book.params.finetune_classifier.model_copy(update={"train_layers": "lora"})
    with torch.device("meta"):
        classifier, assistant = Classifier(empty_model(gpt2_config("124M"))), empty_model(gpt2_config("355M"))
        choose_trained_layers(classifier, settings)
        add_lora(assistant, [assistant.h, untied_head(assistant)], settings.lora_rank, settings.lora_scale)
    return [n_trained_parameters(model) for model in (classifier, assistant)]


def appendix_e() -> Iterator[Figure]:
    yield Figure("appE", "parameters of the classifier", 124_441_346, classifier_parameters)
    yield Figure("appE", "parameters trained with LoRA", [2_666_528, 7_898_384], trained_with_lora)


CHAPTERS = {
    "ch02": chapter_2,
    "ch04": chapter_4,
    "ch05": chapter_5,
    "ch06": chapter_6,
    "ch07": chapter_7,
    "appE": appendix_e,
}


def figures() -> list[Figure]:
    """Return every figure, in the order of the chapters."""
    return [figure for chapter in CHAPTERS.values() for figure in chapter()]


def flatten(value: Any) -> list[Any]:
    """Return the numbers or texts in a nested list, in order."""
    return [leaf for item in value for leaf in flatten(item)] if isinstance(value, list) else [value]


def agrees(figure: Figure, ours: Any) -> bool:
    """Return whether a computed figure is the book's, within its tolerance."""
    if not figure.tolerance or len(flatten(ours)) != len(flatten(figure.book)):
        return bool(ours == figure.book)
    pairs = zip(flatten(ours), flatten(figure.book), strict=True)
    return all(abs(a - b) <= figure.tolerance for a, b in pairs)


def compare(figure: Figure, book: BookProfile, available: set[str]) -> dict[str, Any]:
    """Compute one figure and say how it compares: a row of the table."""
    row: dict[str, Any] = {"chapter": figure.chapter, "figure": figure.name, "book": figure.book, "ours": None}
    if figure.needs and figure.needs not in available:
        return {**row, "result": f"needs {figure.needs}"}
    row["ours"] = figure.compute(book)
    if row["ours"] == figure.book:
        return {**row, "result": "exact"}
    return {**row, "result": f"within {figure.tolerance:g}" if agrees(figure, row["ours"]) else "DIFFERENT"}


def shown(value: Any, width: int) -> str:
    if value is None:
        return ""
    text = f"{value:,}" if isinstance(value, int) else " ".join(str(leaf) for leaf in flatten(value))
    text = " ".join(text.split())
    return text if len(text) <= width else text[: width - 3] + "..."


def print_row(row: dict[str, Any]) -> None:
    """Print a row of at most 80 columns; a figure that is exact is shown once."""
    value = shown(row["book"], 22)
    print(f"{row['chapter']}  {row['figure'][:35]:<35} {value:<22} {row['result']}", flush=True)
    if row["result"] == "DIFFERENT":
        print(f"      book: {row['book']}\n      ours: {row['ours']}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=str(__doc__).split("\n\n")[0])
    parser.add_argument("--only", choices=CHAPTERS, help="one chapter")
    parser.add_argument("--json", action="store_true", help="print JSON instead of the table")
    parser.add_argument("--weights", action="store_true", help="also the figures that need GPT-2's weights")
    parser.add_argument("--judge", action="store_true", help="also the figures that need Ollama (and the weights)")
    asked = parser.parse_args()
    available = {need for need, wanted in ((WEIGHTS, asked.weights or asked.judge), (JUDGE, asked.judge)) if wanted}
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        book = BookProfile(Path(folder))
        for figure in figures():
            if asked.only in (None, figure.chapter):
                rows.append(compare(figure, book, available))
                if not asked.json:
                    print_row(rows[-1])
    if asked.json:
        print(json.dumps(rows, indent=1))
    results = [row["result"] for row in rows]
    exact, different = results.count("exact"), results.count("DIFFERENT")
    waiting = sum(result.startswith("needs") for result in results)
    within = len(rows) - exact - different - waiting
    print(f"{exact} exact, {within} within tolerance, {waiting} not computed, {different} different", file=sys.stderr)
    sys.exit(different > 0)


if __name__ == "__main__":
    main()
