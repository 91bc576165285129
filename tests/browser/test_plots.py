"""`dvc plots show` and `diff` in a browser without a network: every chart and picture of dvc.yaml is drawn."""

from __future__ import annotations

import csv
import hashlib
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
from project import Project
from ruamel.yaml import YAML
from selenium.webdriver import Chrome
from selenium.webdriver.support.ui import WebDriverWait

ROOT = Path(__file__).parents[2]
PAGE = Path(".dvc/plots/page.html")
PLOTS: list[dict[str, Any]] = YAML(typ="safe", pure=True).load(ROOT / "dvc.yaml")["plots"]
PICTURES = [name for plot in PLOTS for name, chart in plot.items() if chart is None]
CHARTS = {name: chart for plot in PLOTS for name, chart in plot.items() if chart is not None}
LINES = ["#945dd6", "#13adc7"]  # DVC's colours of one version, and of a second
COLOURS = """return [...document.querySelectorAll("canvas.marks")].map(chart => {
  const {data} = chart.getContext("2d").getImageData(0, 0, chart.width, chart.height);
  const colours = new Set();
  for (let i = 0; i < data.length; i += 4)
    colours.add("#" + [...data.slice(i, i + 3)].map(part => part.toString(16).padStart(2, "0")).join(""));
  return [...colours];
})"""
LOADED = """return [...document.images].map(image => image.complete && image.naturalWidth > 0)"""


def write_tables(folder: Path, shift: float) -> None:
    """Write every CSV that dvc.yaml draws, with the columns it names."""
    tables: dict[str, dict[str, list[Any]]] = {}
    for chart in CHARTS.values():
        ((path, y),) = chart["y"].items()
        table = tables.setdefault(path, {})
        if chart["template"] == "confusion":
            table |= {chart["x"]: ["ham", "ham", "ham", "spam"], y: ["ham", "ham", "spam", "spam"]}
        else:
            table[chart["x"]] = list(range(8))
            table |= {name: [shift + line + row**0.5 for row in range(8)] for line, name in enumerate(y)}
    for path, table in tables.items():
        with (folder / path).open("w", encoding="utf-8", newline="") as file:
            csv.writer(file).writerows([table, *zip(*table.values(), strict=True)])


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """A project of plots alone, in Git, drawn as dvc.yaml says and changed since its last commit."""
    project = Project(tmp_path / "project")
    (project.folder / "data/plots").mkdir(parents=True)
    shutil.copytree(ROOT / ".dvc", project.folder / ".dvc", ignore=shutil.ignore_patterns("cache", "tmp", "*.local"))
    YAML().dump({"plots": PLOTS}, project.folder / "dvc.yaml")
    for picture in PICTURES:
        shutil.copyfile(ROOT / "docs/attention.png", project.folder / picture)
    write_tables(project.folder, shift=0)
    project.git("init", "--quiet")
    project.git("config", "user.name", "Test")
    project.git("config", "user.email", "test@localhost")
    project.commit("The first run")
    write_tables(project.folder, shift=1)
    return project


@pytest.mark.parametrize(("command", "n_versions"), [("show", 1), ("diff", 2)])
def test_every_chart_and_picture_is_drawn_without_a_network(
    project: Project, file_browser: Chrome, command: str, n_versions: int
) -> None:
    project.dvc("plots", command)
    file_browser.get((project.folder / "dvc_plots/index.html").as_uri())
    # Vega draws when its promise is kept, which may be after the page was loaded.
    WebDriverWait(file_browser, 20).until(lambda browser: len(browser.execute_script(COLOURS)) == len(CHARTS))
    for chart, colours in zip(CHARTS.values(), file_browser.execute_script(COLOURS), strict=True):
        assert len(colours) > 20, chart["title"]
        if chart["template"] == "linear":
            assert [colour for colour in LINES if colour in colours] == LINES[:n_versions], chart["title"]
    assert file_browser.execute_script(LOADED) == [True] * len(PICTURES) * n_versions


def test_the_page_has_the_programs_whose_versions_and_checksums_it_names() -> None:
    page = (ROOT / PAGE).read_text(encoding="utf-8")
    named = re.findall(r"^  ([a-z-]+)@([0-9.]+)  sha256 ([0-9a-f]{64})$", page, re.MULTILINE)
    scripts = re.findall(r"<script>(.*?)</script>", page, re.DOTALL)
    assert [name for name, _, _ in named] == ["vega", "vega-lite", "vega-embed"]
    assert [hashlib.sha256(script.encode()).hexdigest() for script in scripts] == [checksum for _, _, checksum in named]
    notice = (ROOT / "NOTICE").read_text(encoding="utf-8")
    assert all(f"{name} {version}" in notice for name, version, _ in named)
