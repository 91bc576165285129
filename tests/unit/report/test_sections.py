"""What the sections say: the figures of the metrics, what differs between runs, and what is missing."""

from __future__ import annotations

import dataclasses
import json
import re

import numpy as np
import pytest
from fabricated import HONEST, PROFILE, Page, html_of, make_run

from scratchlm.errors import OutputError
from scratchlm.judging.votes import Question
from scratchlm.report.answers import answers
from scratchlm.report.blocks import Chart, Key, Matrix, Side, Table, Task, Words
from scratchlm.report.curves import curves
from scratchlm.report.intervals import interval_chart
from scratchlm.report.messages import messages
from scratchlm.report.questions import questions
from scratchlm.report.run import OUTPUTS, missing


def test_one_run_shows_the_figures_of_its_metrics() -> None:
    run = make_run()
    page = Page(html_of(run))
    scores = run.metrics["judge_responses"]["assistant"]
    assert scores["mean"] == 50.96
    assert {"2.125", "90.00 %", "50.96", "60.00 %"} <= set(page.texts)  # large, at the top
    limits = f"{scores['ci95_low']:.2f} to {scores['ci95_high']:.2f}"
    assert page.row("assistant")[:3] == ["50.96", limits, "25"]
    assert page.row("assistant - base") == ["40.00", "40.00 to 40.00", "25", "25", "0", "0"]
    assert page.row("accuracy of this classifier") == ["90.00 %"]
    assert page.row("accuracy of TF-IDF") == ["80.00 %"]
    assert not any(row[0] == "accuracy of the prompted base" for row in page.cells)  # it was not measured
    assert page.row("pretraining") == ["6,000", "200", "51,200", "-", "8.500 → 2.125"]
    assert page.row("corpus: characters") == ["12,345"]
    assert page.row("messages: train / validation / test") == ["25 / 5 / 10"]
    assert page.row("fruit") == ["10", "25.0", *["60.0 (50.0 to 70.0)"] * 3]
    assert page.row("torch") == ["2.0"]
    assert page.row("data/corpus") == ["0123456789ab"]
    assert "The profile sample, unchanged." in page.texts


def test_several_runs_stand_in_columns() -> None:
    runs = [make_run("one"), make_run("two", 5.0, params=PROFILE | {"pretrain.epochs": 9}, commit="abcdef1")]
    page = Page(html_of(*runs))
    assert "one · two (abcdef1)" in page.texts
    assert page.row("classifier: test accuracy (%)") == ["90.00", "95.00"]
    assert page.row("pretrain.epochs") == ["5", "9"]
    assert "two (abcdef1): the profile sample, with 1 of 3 params changed." in page.texts
    assert page.row("assistant, overlap: two - one") == ["+5.00", "+5.00 to +5.00", "25", "25", "0", "0", "better"]
    assert ["", "one", "two"] in page.cells


def test_params_are_compared_with_the_nearest_profile() -> None:
    page = Page(html_of(make_run(params={"seed": 1, "corpus.source": "mine.txt", "pretrain.epochs": 10})))
    assert "The profile book, with 1 of 3 params changed." in page.texts
    assert page.row("corpus.source") == ["sample", "mine.txt"]


def test_secrets_in_urls_are_not_shown() -> None:
    source = ["https://me:secret@host/texts.txt?key=secret"]
    html = html_of(make_run(params=PROFILE | {"corpus.source": source}))
    assert "secret" not in html and "host/texts.txt" in html


@pytest.mark.parametrize("place", ["/home/me/clients.txt", "~/clients.txt", "../me/clients.txt"])
def test_of_files_outside_the_project_the_name_is_shown(place: str) -> None:
    elsewhere = ["/srv/clients.txt"]
    runs = [
        make_run(name, params=PROFILE | {"corpus.source": source})
        for name, source in (("a", [place]), ("b", elsewhere))
    ]
    page = Page(html_of(*runs))
    assert page.rows("corpus.source")[-1] == ["['clients.txt']"] * 2  # they differ, and are in the table
    assert "/clients.txt" not in page.text


def test_a_prompt_that_begins_with_a_slash_is_shown() -> None:
    page = Page(html_of(make_run(params=PROFILE | {"pretrain.sample_prompt": "/a/b"})))
    assert page.row("pretrain.sample_prompt")[-1] == "/a/b"


def test_what_is_gone_or_of_another_run_is_named() -> None:
    texts = Page(html_of(make_run(lost=["metrics/pretrain.json"], changed=["data/responses.json"], files={}))).texts
    assert "missing: metrics/pretrain.json. `make repro` makes it again." in texts
    remedy = "`dvc checkout` brings it back, `make repro` makes it again."
    assert f"left out, for it is not what the run in dvc.lock wrote: data/responses.json. {remedy}" in texts
    assert not any("neither" in text and "data/responses.json" in text for text in texts)


def test_a_picture_that_is_none_is_left_out() -> None:
    run = make_run()
    damaged = dataclasses.replace(run, files={**run.files, "data/plots/attention.png": b"<svg>"})
    assert "img" in {tag for tag, _ in Page(html_of(run)).tags}
    assert "img" not in {tag for tag, _ in Page(html_of(damaged)).tags}


def test_a_curve_says_on_how_many_batches_it_was_measured() -> None:
    runs = [make_run(str(n), params=PROFILE | {"pretrain.eval_batches": n}) for n in (5, 10, 5)]
    (side,) = (block for block in curves(runs).blocks if isinstance(block, Side))
    notes = [chart.note for chart in side.blocks]
    assert "Points are measured on the first 5 or 10 batches of a split (pretrain.eval_batches;" in notes[0]
    assert "batches" not in notes[1]


def test_a_curve_of_a_damaged_dvc_lock_is_shown() -> None:
    damaged = make_run(params=PROFILE | {"pretrain.eval_batches": [5]})
    (side,) = (block for block in curves([damaged]).blocks if isinstance(block, Side))
    assert "on the first [5] batches" in side.blocks[0].note


def test_chance_is_drawn_only_where_all_runs_have_the_same() -> None:
    run = make_run("one")
    other = dataclasses.replace(
        run,
        name="two",
        metrics={**run.metrics, "benchmark_models": {**run.metrics["benchmark_models"], "chance": 50.0}},
    )
    for runs, drawn in (([run, run], True), ([run, other], False)):
        (chart,) = (block for block in questions(runs).blocks if isinstance(block, Chart))
        assert (">chance<" in chart.svg) == drawn


def test_subjects_are_those_of_the_runs_that_were_asked() -> None:
    run = make_run("one")
    bare = {key: value for key, value in run.metrics["benchmark_models"].items() if key != "subjects"}
    other = dataclasses.replace(run, name="two", metrics={**run.metrics, "benchmark_models": bare})
    titles = [block.title for block in questions([run, other]).blocks if isinstance(block, Table)]
    assert titles == ["Accuracy in %, with 95 % intervals", "By subject, in %, one"]


def test_out_of_date_results_are_named() -> None:
    outdated = {"benchmark_models": ["seed", "models/assistant"]}
    (line,) = [text for text in Page(html_of(make_run(outdated=outdated))).texts if "out of date" in text]
    assert "benchmark_models (seed, models/assistant)" in line and "`make repro`" in line


def test_a_curve_has_the_values_of_its_table() -> None:
    section = curves([make_run()])
    (side,) = section.blocks
    assert isinstance(side, Side)
    chart = side.blocks[0]
    assert isinstance(chart, Chart)
    assert chart.note == "train 8.000 → 1.000; validation 8.500 → 2.125"
    paths = re.findall(r'<path d="([^"]*)"[^>]*stroke: var\(--(\w+)\)', chart.svg)
    # The first of each colour; the other is in the legend.
    lines = {
        color: np.array(re.findall(r"[ML] (\S+) (\S+)", path), dtype=float)
        for path, color in reversed(paths)
        if path.count("L") == 2
    }
    assert lines.keys() == {"train", "validation"}
    for name, values in (("train", [8.0, 2.0, 1.0]), ("validation", [8.5, 4.25, 2.125])):
        x, y = lines[name].T
        assert np.diff(x) == pytest.approx([x[1] - x[0]] * 2)
        slope = (y[1] - y[0]) / (values[1] - values[0])
        assert slope < 0 and y == pytest.approx(y[0] + slope * (np.array(values) - values[0]), abs=1e-3)


def test_curves_of_several_runs_lie_over_each_other() -> None:
    section = curves([make_run("one"), make_run("two")])
    (side,) = (block for block in section.blocks if isinstance(block, Side))
    chart = side.blocks[0]
    assert isinstance(chart, Chart)
    colors = re.findall(r'<path d="[^"]*"[^>]*stroke: var\(--(series-\d)\)', chart.svg)
    assert {"series-1", "series-2"} == set(colors)
    assert chart.note.startswith("one, train 8.000 → 1.000; one, validation 8.500 → 2.125; two, train")


def test_intervals_of_several_runs_have_the_runs_colours() -> None:
    """The second run has no figure, and the third keeps the third colour."""
    runs = [make_run("one"), make_run("two", metrics={}), make_run("three", 5.0)]
    key, chart = interval_chart(runs, "benchmark_models", "Accuracy", "accuracy (%)", "note", "acc", "acc_")
    assert isinstance(key, Key) and isinstance(chart, Chart)
    assert key.names == ["one", "two", "three"]
    assert set(re.findall(r"var\(--(series-\d)\)", chart.svg)) == {"series-1", "series-3"}
    assert [chart.svg.count(f">{name}<") for name in ("base", "assistant", "preferred")] == [1, 1, 1]
    (alone,) = interval_chart(runs[:1], "benchmark_models", "Accuracy", "accuracy (%)", "note", "acc", "acc_")
    assert isinstance(alone, Chart) and "var(--preferred)" in alone.svg and "series" not in alone.svg


def test_the_confusion_matrix_counts_actual_labels_in_rows() -> None:
    (side,) = messages([make_run()]).blocks
    assert isinstance(side, Side)
    matrix = side.blocks[-1]
    assert isinstance(matrix, Matrix)
    assert (matrix.labels, matrix.counts) == (["ham", "spam"], [[2, 7], [1, 0]])
    assert matrix.share(0, 1) == pytest.approx(7 / 9)
    assert matrix.note.startswith("2 of 10 ")


def test_of_many_labels_the_commonest_are_shown() -> None:
    run = make_run()
    pairs = "".join(f"label {n:02},label {n:02}\n" * (n + 1) for n in range(30))
    files = {**run.files, "data/plots/classifier_confusion.csv": f"actual,predicted\n{pairs}".encode()}
    page = Page(html_of(dataclasses.replace(run, files=files)))
    assert page.row("label 29")[-1] == "30"
    assert not any(row[0] == "label 09" for row in page.cells) and page.row("label 10")
    assert any("commonest 20" in text for text in page.texts)


def test_ten_answers_are_evenly_spaced_with_their_scores() -> None:
    first, *tasks = answers([make_run()]).blocks
    assert isinstance(first, Words) and first.text.startswith("10 of the 25 test entries, evenly spaced")
    assert all(isinstance(task, Task) for task in tasks)
    assert [task.title for task in tasks if isinstance(task, Task)] == [
        f"Entry {number}" for number in (0, 2, 5, 7, 10, 12, 15, 17, 20, 22)
    ]
    task = tasks[1]
    assert isinstance(task, Task)
    assert [(answer.who, answer.scores) for answer in task.answers] == [
        ("base", ["overlap 12.0"]),
        ("assistant", ["overlap 52.0"]),
        ("preferred", ["overlap 32.0"]),
    ]
    assert task.answers[0].end == "2 tokens, ended by itself"


def test_an_answer_without_a_score_says_so() -> None:
    run = make_run()
    rows = json.loads(run.files["data/verdicts.json"])
    rows[1] |= {"score": None, "status": "parse_error"}
    run = dataclasses.replace(run, files={**run.files, "data/verdicts.json": json.dumps(rows).encode()})
    assert "overlap no score (parse_error)" in Page(html_of(run)).texts


def test_runs_with_the_same_instructions_share_a_task_and_others_do_not() -> None:
    runs = [make_run("one"), make_run("two"), make_run("three", task="Count.")]
    found = answers(runs).blocks
    said = [block.text for block in found if isinstance(block, Words)]
    assert [re.findall("of (one, two|three)", text) for text in said] == [["one, two"], ["three"]]
    tasks = [block for block in found if isinstance(block, Task)]
    assert len(tasks) == 20
    assert [answer.who for answer in tasks[0].answers[:2]] == ["base, one", "base, two"]
    assert [answer.who for answer in tasks[-1].answers] == ["base, three", "assistant, three", "preferred, three"]
    (line,) = [text for text in Page(html_of(*runs)).texts if "no difference by entries" in text]
    assert line.startswith("three - one: ") and "answered different instructions" in line


def test_a_judge_that_cannot_be_trusted_is_named() -> None:
    page = Page(html_of(make_run(probes=HONEST | {"reference": 90.0, "shuffled": 70.0})))
    (line,) = [text for text in page.texts if "cannot be trusted" in text]
    assert "right answers to other tasks get 70.0 (at most 10)" in line
    assert page.row("right answers to other tasks") == ["70.0"]
    assert not any("compare its scores with that" in text for text in page.texts)
    strict = Page(html_of(make_run(probes=HONEST | {"reference": 90.0})))
    assert any("compare its scores with that, not with 100" in text for text in strict.texts)
    assert not any("cannot be trusted" in text for text in strict.texts)


def test_pairs_have_win_rates() -> None:
    page = Page(html_of(make_run(pairs=True)))
    assert page.row("assistant against base")[2:] == ["2 of 2", "1", "1", "0", "50.0 %"]
    both = Page(html_of(make_run("one", pairs=True), make_run("two")))
    assert both.row("assistant against base: win rate (%)") == ["75.00 (50.00 to 100.00)", "-"]


def test_an_answer_in_an_older_run_without_a_preferred_model_is_shown() -> None:
    run = make_run("old")
    answered = run.records("data/responses.json")
    entries = [{key: value for key, value in entry.items() if key != "preferred"} for entry in answered]
    rows = [row for row in run.records("data/verdicts.json") if row["variant"] != "preferred"]
    summary = {key: value for key, value in run.metrics["judge_responses"].items() if not key.startswith("preferred")}
    old = dataclasses.replace(
        run,
        files={
            **run.files,
            "data/responses.json": json.dumps(entries).encode(),
            "data/verdicts.json": json.dumps(rows).encode(),
        },
        metrics={"judge_responses": summary},
    )
    page = Page(html_of(old, make_run("new")))
    assert page.row("preferred")[0] == "-"
    assert "assistant, old" in page.texts and "preferred, old" not in page.texts


def test_missing_outputs_leave_their_parts_out_and_their_stages_are_named() -> None:
    lost = Page(html_of(make_run(files={})))
    of_revision = Page(html_of(make_run("main", files={}, commit="abcdef1")))
    never = Page(html_of(make_run(files={}, stages=[])))
    for path, stage in OUTPUTS.items():
        assert any(path in text and f"`dvc repro {stage}`" in text for text in lost.texts)
        assert any(path in text and "dvc repro" not in text for text in of_revision.texts)
        assert f"{stage} has not run: `dvc repro {stage}` runs it." in never.texts
    assert not {"details", "article", "img"} & {tag for tag, _ in lost.tags}


@pytest.mark.parametrize("path", OUTPUTS)
def test_only_what_is_missing_is_said(path: str) -> None:
    run = make_run()
    files = {name: content for name, content in run.files.items() if name != path}
    lost = dataclasses.replace(run, files=files)
    (line,) = missing([lost], *OUTPUTS)
    assert line.startswith(f"{path}: ") and f"`dvc repro {OUTPUTS[path]}`" in line
    older = dataclasses.replace(lost, hashes={name: "" for name in OUTPUTS if name != path})  # it never made that
    assert missing([older], *OUTPUTS) == []


def test_of_a_run_that_only_began_the_page_says_what_is_missing() -> None:
    run = make_run(metrics={}, files={}, stages=["download_corpus"], waiting=["pretrain", "judge_responses"], params={})
    page = Page(html_of(run))
    assert "not run yet: pretrain, judge_responses. `make repro` runs what is missing." in page.texts
    assert page.row("torch") == ["2.0"]


@pytest.mark.parametrize(
    ("path", "content", "said"),
    [
        ("data/plots/pretrain.csv", b"step,train_loss\n0,much\n", "is no table of numbers"),
        ("data/responses.json", b"[1, 2]", "is no list of objects"),
        ("data/verdicts.json", b"{", "is not valid JSON"),
        ("data/samples/pretrain.md", b"\xff", "is not UTF-8"),
    ],
)
def test_a_damaged_output_is_one_clear_error(path: str, content: bytes, said: str) -> None:
    run = make_run("HEAD")
    with pytest.raises(OutputError, match=f"{path} of HEAD {said}"):
        html_of(dataclasses.replace(run, files={**run.files, path: content}))


def test_a_run_without_questions_says_so() -> None:
    run = make_run()
    run = dataclasses.replace(run, metrics={**run.metrics, "benchmark_models": {"source": "none", "questions": 0}})
    page = Page(html_of(run))
    assert "No questions were asked (benchmark.source is none)." in page.texts


def test_a_table_is_left_out_where_no_run_has_a_figure() -> None:
    run = make_run(metrics={})
    assert not [block for block in messages([run]).blocks if isinstance(block, Table)]


def test_human_votes_count_for_the_answers_that_they_saw() -> None:
    run = make_run()
    entries = run.records("data/responses.json")
    for number, entry in enumerate(entries):
        entry["assistant"]["text"] = f"Answer {number}."
    run = dataclasses.replace(run, files={**run.files, "data/responses.json": json.dumps(entries).encode()})
    questions = [Question(entry, ("base", "assistant")) for entry in entries[:4]]
    votes = [question.vote("assistant" if number else "base") for number, question in enumerate(questions)]
    page = Page(html_of(run, votes=votes))
    assert page.row("assistant against base")[0] == "75.00 %"
    assert page.row("assistant against base")[2:] == ["4 of 25", "3", "0", "1"]
    assert page.row("overlap by scores, assistant against base") == ["75.0 %", "0.00", "4"]
    other = Page(html_of(make_run(), votes=votes))  # its answers are other ones
    assert other.rows("assistant against base") == []
