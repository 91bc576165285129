"""The pictures of the page for the docs: all six views, small, with what they show written in them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from chromium import missing_programs
from PIL import Image
from screenshots import SCREENSHOTS, WIDTH, take_screenshots
from tiny_project import make_project


@pytest.mark.slow
@pytest.mark.skipif(bool(missing_programs()), reason=missing_programs())
def test_every_view_becomes_a_small_picture(tmp_path: Path) -> None:
    make_project(tmp_path)
    answer = {"text": "The hill is green.", "finish": "stop", "tokens": 5}
    entry = {"id": 0, "instruction": "Name the colour of the hill.", "input": "", "output": "The hill is green."}
    answers = {name: answer | {"text": f"{name}: green."} for name in ("base", "assistant", "preferred")}
    (tmp_path / "data/responses.json").write_text(json.dumps([entry | answers]))
    (tmp_path / "docs").mkdir()
    take_screenshots(tmp_path, tmp_path, "of tiny models")
    for name in SCREENSHOTS:
        picture = Image.open(tmp_path / name)
        assert (picture.width, picture.info["Description"]) == (WIDTH, "of tiny models")
        assert len(picture.convert("RGB").getcolors(2**24)) > 20, "the view shows nothing"
        assert (tmp_path / name).stat().st_size < 150_000
