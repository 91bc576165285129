"""Small runs as `read_run` reads them, and pages taken apart."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from html.parser import HTMLParser
from typing import Any

from answered import answered, pair_rows
from probed import by_kind, probe_rows

from scratchlm.judging.summary import summarise
from scratchlm.judging.votes import Vote, Votes
from scratchlm.report.page import render
from scratchlm.report.run import OUTPUTS, Run

VOID = {"meta", "img", "br"}
LOSSES = "step,epoch,train_loss,validation_loss\n0,0.1,8.0,8.5\n100,1.0,2.0,4.25\n200,2.0,1.0,2.125\n"
HONEST = {"reference": 100.0, "shuffled": 0.0, "echo": 0.0, "padding": 0.0, "injection": 0.0}
PROFILE = {"seed": 123, "corpus.source": "sample", "pretrain.epochs": 5}


def judged(entries: Sequence[dict[str, Any]], gain: float, judge: str) -> list[dict[str, Any]]:
    """Verdicts: 10 for the base, 50 + gain for the assistant, 20 less for the preferred model."""
    scores = {"base": 10.0, "assistant": 50.0 + gain, "preferred": 30.0 + gain}
    return [
        {"id": entry["id"], "variant": variant, "judge": judge, "model": f"{judge}:1", "model_digest": None}
        | {"prompt": None, "status": "ok", "reason": "", "score": score + number % 3}
        for number, entry in enumerate(entries)
        for variant, score in scores.items()
    ]


def make_run(
    name: str = "workspace",
    gain: float = 0.0,
    text: str = "An apple.",
    task: str = "Name a fruit.",
    judge: str = "overlap",
    labels: tuple[str, str] = ("ham", "spam"),
    subject: str = "fruit",
    probes: dict[str, float] | None = None,
    pairs: bool = False,
    **changes: Any,
) -> Run:
    """Return a finished run of 25 entries; `changes` replace fields of `Run`."""
    entries: Any = [answered(number, text, text, text, instruction=task, output=text) for number in range(25)]
    verdicts = judged(entries, gain, judge)
    winners = [("base", "assistant"), ("assistant", "assistant")]
    both = [*pair_rows(winners), *pair_rows([("tie", "tie")] * 2, ("assistant", "preferred"))] if pairs else []
    probed = probe_rows(by_kind(**(HONEST if probes is None else probes)))
    summary = summarise({judge: verdicts}, {judge: both} if pairs else {}, {judge: probed}, entries, seed=1)
    accuracy = {"acc": 60.0 + gain, "acc_ci95_low": 50.0 + gain, "acc_ci95_high": 70.0 + gain}
    models = {variant: accuracy for variant in ("base", "assistant", "preferred")}
    confusion = [labels] * 7 + [labels[::-1]] + [(labels[0], labels[0])] * 2
    rows = "\n".join(",".join('"' + label.replace('"', '""') + '"' for label in pair) for pair in confusion)
    files = {
        "data/plots/pretrain.csv": LOSSES,
        "data/plots/finetune_instructions.csv": LOSSES,
        "data/plots/classifier_loss.csv": LOSSES,
        "data/plots/classifier_accuracy.csv": "epoch,train_accuracy,validation_accuracy\n1,50,60\n2,90,80\n",
        "data/plots/classifier_confusion.csv": f"actual,predicted\n{rows}\n",
        "data/plots/tune_preferences.csv": LOSSES,
        "data/plots/benchmark.csv": "subject,n\nall questions,10\n",
        "data/samples/pretrain.md": f"# What the model writes\n\nPrompt: {text}\n\n## Epoch 1\n\n{text}\n",
        "data/samples/bases.md": f"# What each base writes\n\n## pretrained\n\n```text\ntext         {text}\n```\n",
        "data/samples/assistant.md": f"# What the assistant answers\n\n## Entry 0\n\n```text\n{text}\n```\n",
        "data/samples/preferred.md": f"# What the preferred model answers\n\n{text}\n",
        "data/plots/attention.png": "",
        "data/responses.json": json.dumps(entries),
        "data/verdicts.json": json.dumps(verdicts),
        "data/pairwise.json": json.dumps([]),
    }
    metrics = {
        "tokenize_corpus": {"documents": 3, "characters": 12345, "tokens": 4000, "vocab_size": 300},
        "pretrain": {"parameters": 6000, "steps": 200, "tokens_seen": 51200, "initial_validation_loss": 8.5}
        | {"validation_loss": 2.125 + gain, "bigram_validation_loss": 5.5},
        "prepare_sms": {"rows": 90, "kept": 40, "train": 25, "validation": 5, "test": 10},
        "finetune_classifier": {"test_accuracy": 90.0 + gain, "baseline_test_accuracy": 80.0}
        | {"majority_test_accuracy": 70.0, "prompted_test_accuracy": None},
        "judge_responses": summary,
        "benchmark_models": {"source": "sample", "questions": 10, "chance": 25.0, **models}
        | {"difference": {**accuracy}, "subjects": {subject: {"n": 10, "chance": 25.0, **models}}},
    }
    fields: dict[str, Any] = {
        "name": name,
        "commit": None,
        "params": PROFILE,
        "outdated": {},
        "profiles": {"book": PROFILE | {"seed": 1, "pretrain.epochs": 10}, "sample": PROFILE},
        "pins": {"torch": "2.0"},
        "hashes": {"data/corpus": "0123456789abcdef0123456789abcdef.dir", **dict.fromkeys(OUTPUTS, "fedcba98")},
        "metrics": metrics,
        "files": {path: content.encode("utf-8", "replace") for path, content in files.items()},
        "stages": [*metrics, *OUTPUTS.values()],
        "waiting": [],
        "lost": [],
        "changed": [],
    }
    fields["files"]["data/plots/attention.png"] = b"\x89PNG\r\n\x1a\nmaps"
    return Run(**fields | changes)


def html_of(*runs: Run, votes: Sequence[Vote] = ()) -> str:
    """Return the page of runs, in a project with these votes."""
    return render(runs, Votes({vote["question"]: vote for vote in votes}, 0))


class Page(HTMLParser):
    """A page taken apart; its elements must be closed in order."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.cells: list[list[str]] = []  # of all tables, row by row
        self.feed(html)
        self.close()
        assert self.open == [], f"never closed: {self.open}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_startendtag(tag, attrs)
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert len(dict(attrs)) == len(attrs), f"{tag} has an attribute twice"
        self.tags.append((tag, dict(attrs)))
        if tag == "tr":
            self.cells.append([])
        elif tag in ("td", "th"):
            self.cells[-1].append("")

    def handle_endtag(self, tag: str) -> None:
        assert self.open and self.open.pop() == tag, f"</{tag}> closes something else"

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] in ("td", "th"):
            self.cells[-1][-1] += data
        elif self.open and self.open[-1] != "style" and data.strip():
            self.texts.append(data.strip())

    @property
    def text(self) -> str:
        return "\n".join([*self.texts, *(cell for row in self.cells for cell in row)])

    @property
    def ids(self) -> list[str]:
        return [value for _, attributes in self.tags if (value := attributes.get("id"))]

    @property
    def references(self) -> set[str]:
        """What the page refers to: addresses and, in drawings, ids."""
        found: set[str] = set()
        for _, attributes in self.tags:
            found |= {value or "" for name, value in attributes.items() if name.split(":")[-1] in ("href", "src")}
            for value in attributes.values():
                found |= set(re.findall(r"url\(([^)]*)\)", value or ""))
        return found

    def rows(self, name: str) -> list[list[str]]:
        """Return the cells of all rows with this name."""
        return [row[1:] for row in self.cells if row and row[0] == name]

    def row(self, name: str) -> list[str]:
        """Return the cells of the first of them."""
        return self.rows(name)[0]
