"""The page as a reader's browser takes it: well formed, nothing loaded, nothing run, all texts as they are."""

from __future__ import annotations

import doctest
import re

import pytest
from fabricated import Page, html_of, make_run

from scratchlm.report import answers, blocks, clean
from scratchlm.report.clean import CONTROL
from scratchlm.report.drawing import MODELS
from scratchlm.report.intervals import draw_intervals
from scratchlm.report.run import Run

EVIL = '<script>alert(1)</script><img src=x onerror=alert(1)>"\'&amp;{{ 7 * 7 }} id="x #010101'
RUN_NAMES = ("first", "second")


@pytest.fixture(scope="module")
def one() -> str:
    return html_of(make_run())


@pytest.fixture(scope="module")
def two() -> str:
    return html_of(*(make_run(name, gain, pairs=True) for name, gain in zip(RUN_NAMES, (0.0, 5.0), strict=True)))


def evil_run(name: str) -> Run:
    return make_run(
        name,
        text=EVIL,
        task=EVIL,
        judge=EVIL,
        labels=(EVIL, EVIL + "2"),
        subject=EVIL,
        params={"corpus.source": [EVIL], EVIL: EVIL},
        pins={"torch": EVIL},
        outdated={EVIL: [EVIL]},
        waiting=[EVIL],
    )


def check_is_harmless(html: str) -> Page:
    """Assert that a page is well formed, loads nothing and runs nothing."""
    page = Page(html)
    names = {tag for tag, _ in page.tags}
    assert not names & {
        "script",
        "iframe",
        "object",
        "embed",
        "link",
        "base",
        "form",
        "video",
        "audio",
        "foreignobject",
    }
    assert not [name for _, attributes in page.tags for name in attributes if name.startswith("on")]
    assert len(set(page.ids)) == len(page.ids)
    for reference in page.references:
        assert reference.startswith("data:image/png;base64,") or reference.removeprefix("#") in page.ids, reference
    assert "http:" not in html and "https:" not in html
    (policy,) = (
        attributes["content"]
        for _, attributes in page.tags
        if attributes.get("http-equiv") == "Content-Security-Policy"
    )
    assert policy == (
        "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'"
    )
    assert html.index("Content-Security-Policy") < html.index("<style")
    assert not re.search(r"@import|url\(", re.findall(r"<style>(.*?)</style>", html, re.DOTALL)[0])
    return page


def test_a_page_is_well_formed_and_loads_and_runs_nothing(one: str, two: str) -> None:
    assert html_of_sections(one) == html_of_sections(two)
    check_is_harmless(one)
    check_is_harmless(two)


def html_of_sections(html: str) -> list[str]:
    return re.findall(r'<section id="(\w+)">', html)


def test_every_section_is_there_and_has_a_link(one: str) -> None:
    sections = ["glance", "ran", "curves", "classifier", "scores", "answers", "benchmark", "samples", "attention"]
    assert html_of_sections(one) == sections
    assert [f'<a href="#{section}">' in one for section in sections] == [True] * len(sections)


@pytest.mark.parametrize("names", [("workspace",), (EVIL, "other")])
def test_texts_of_models_and_users_are_shown_and_never_markup(names: tuple[str, ...]) -> None:
    page = check_is_harmless(html_of(*(evil_run(name) for name in names)))
    assert [attributes for tag, attributes in page.tags if tag == "img" and "onerror" in attributes] == []
    assert "{{ 7 * 7 }}" in page.text and "49" not in page.texts
    answers_shown = [text for text in page.texts if text == EVIL]
    assert len(answers_shown) >= 10 * (2 + 3 * len(names))  # instruction, reference, and the answers of all models


@pytest.mark.parametrize("text", ['#010101 id="a', "$x_1$", "<b>url(#x)</b>", "<script>alert(1)</script>"])
def test_texts_in_drawings_stay_as_they_are(text: str) -> None:
    """Ids and colours are rewritten in a drawing's tags, not in what its texts say, and a dollar is no mathematics."""
    svg = draw_intervals("one", [(text, 50.0, 40.0, 60.0, MODELS["base"])], "accuracy (%)", chance=25.0)
    assert {text, "chance", "accuracy (%)"} <= set(Page(svg).texts)
    assert "var(--base)" in svg and "var(--ink)" in svg and "#0101" not in svg.replace(text, "")


def test_characters_that_html_or_utf8_lack_are_replaced() -> None:
    html = html_of(make_run(text="a\x00b\x1bc\ud800d\ufffee\r\nf"))
    assert not CONTROL.search(html)
    html.encode()
    assert "a\ufffdb\ufffdc\ufffdd\ufffde\nf" in Page(html).texts


def test_the_same_runs_give_the_same_page(one: str) -> None:
    assert html_of(make_run()) == one


def test_the_examples_of_the_package_hold() -> None:
    for module in (answers, blocks, clean):
        failed, attempted = doctest.testmod(module)
        assert failed == 0 and attempted
