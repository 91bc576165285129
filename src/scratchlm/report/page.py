"""The page: its sections in their order, as one HTML file that loads nothing and runs nothing."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from scratchlm.files.atomic import write_text
from scratchlm.files.revisions import WORKSPACE, open_project
from scratchlm.judging.votes import VOTES, Votes, read_votes
from scratchlm.report.answers import answers
from scratchlm.report.ballot import ballot
from scratchlm.report.blocks import Section
from scratchlm.report.clean import clean
from scratchlm.report.curves import curves
from scratchlm.report.inside import attention, samples
from scratchlm.report.messages import messages
from scratchlm.report.overview import glance, what_ran
from scratchlm.report.questions import questions
from scratchlm.report.run import Run, read_run
from scratchlm.report.scores import scores
from scratchlm.report.sweeps import sweeps


def write_report(path: Path, revisions: Sequence[str], folder: Path) -> None:
    """Write a report of Git revisions, DVC experiments or the workspace of the project that `folder` is part of.

    Sets of experiments are shown beside the workspace alone, since they are those of the present params and code.
    Raises InputError for a folder that is in no project, an unknown revision, and one without results.
    """
    with open_project(folder) as repo:
        runs = [read_run(repo, revision) for revision in dict.fromkeys(revisions)]
        votes = read_votes(Path(repo.root_dir) / VOTES)
        sets = sweeps(repo) if WORKSPACE in revisions else None
    write_text(path, render(runs, votes, sets))


def render(runs: Sequence[Run], votes: Votes, sets: Section | None = None) -> str:
    """Return the page of one or more runs; the same runs give the same text."""
    sections = [
        glance(runs),
        what_ran(runs),
        curves(runs),
        messages(runs),
        scores(runs),
        answers(runs),
        ballot(runs, votes),
        questions(runs),
        samples(runs),
        attention(runs),
        *([sets] if sets else []),
    ]
    sections = [section for section in sections if section.blocks or section.missing]
    environment = Environment(
        loader=PackageLoader("scratchlm.report", "."),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_printable,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    style = Markup((Path(__file__).parent / "style.css").read_text(encoding="utf-8"))
    return environment.get_template("page.html.jinja").render(runs=runs, sections=sections, style=style)


def _printable(value: Any) -> Any:
    """Clean what comes from users and models; Markup is the project's own."""
    return clean(value) if type(value) is str else value
