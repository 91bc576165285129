"""The picture of a run's results: every source is drawn, and the same numbers give the same bytes."""

from __future__ import annotations

import json
from pathlib import Path

import matplotlib
import pytest
from pictures import SOURCES, draw_results
from PIL import Image

CURVE = "step,train_loss,validation_loss\n0,2.0,2.1\n10,1.0,1.2\n"
SCORES = "score,base,assistant,preferred\n0,8,1,2\n90,0,7,6\n"
JUDGED = {
    "judge": "overlap",
    "base": {"mean": 1.0, "ci95_low": 0.5, "ci95_high": 2.0},
    "assistant": {"mean": 75.0, "ci95_low": 68.0, "ci95_high": 82.0},
    "preferred": {"mean": 72.0, "ci95_low": 66.0, "ci95_high": 79.0},
}
CLASSIFIER = {
    **{"majority_test_accuracy": 50.0, "prompted_test_accuracy": 52.0},
    **{"baseline_test_accuracy": 96.0, "test_accuracy": 98.0},
}


@pytest.fixture
def project(tmp_path: Path) -> Path:
    metrics = {
        "judge_responses": JUDGED,
        "finetune_classifier": CLASSIFIER,
        "pretrain": {"bigram_validation_loss": 1.5},
    }
    for source in SOURCES:
        path = tmp_path / source
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix == ".csv":
            path.write_text(SCORES if path.stem == "judge_scores" else CURVE)
        else:
            path.write_text(json.dumps(metrics.get(path.stem, {})))
    return tmp_path


def test_the_same_numbers_give_the_same_bytes_whatever_the_users_settings(project: Path) -> None:
    draw_results(project / "first.png", project, "from here")
    with matplotlib.rc_context({"font.size": 20, "savefig.dpi": 40, "axes.facecolor": "red"}):
        draw_results(project / "second.png", project, "from here")
    content = (project / "first.png").read_bytes()
    assert (project / "second.png").read_bytes() == content
    assert b"Software" not in content and b"tIME" not in content
    picture = Image.open(project / "first.png")
    assert picture.size == (1100, 640)
    assert picture.info["Description"] == "from here"


@pytest.mark.parametrize("source", SOURCES)
def test_every_source_is_drawn(source: str, project: Path) -> None:
    (project / source).unlink()
    with pytest.raises(FileNotFoundError, match=Path(source).name):
        draw_results(project / "results.png", project, "")
