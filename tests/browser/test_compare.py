"""The view Compare in Chromium: votes by key and by click, blind until then, taken back, and what came of them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from looking import contrasts, held_answers, hold_answers, lose_server, release_answers, wait_for
from selenium.webdriver import Chrome, Keys
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.ui import Select

from scratchlm.serving.shelf import Shelf

SCRIPT = "<script>alert(1)</script>"
NAMES = ("base", "assistant", "preferred")


@pytest.fixture
def votes(shelf: Shelf) -> Iterator[Path]:
    """The file of votes in a project with three answered entries."""
    data = shelf.root / "data"
    entries = [
        {"id": number, "instruction": f"Name {SCRIPT} {number}.", "input": "<b>bold</b>", "output": f"Fruit {number}."}
        | {name: {"text": f"{name[0]}{number} {SCRIPT}", "finish": "stop", "tokens": 3} for name in NAMES}
        for number in range(3)
    ]
    (data / "responses.json").write_text(json.dumps(entries), encoding="utf-8")
    yield data / "votes.jsonl"
    for name in ("responses.json", "votes.jsonl", "verdicts.json"):
        (data / name).unlink(missing_ok=True)


def all_of(browser: Chrome, selector: str) -> list[WebElement]:
    return browser.find_elements(By.CSS_SELECTOR, f"#view-compare {selector}")


def several(browser: Chrome, selector: str, n: int = 1) -> list[WebElement]:
    """Return the elements once there are at least `n`."""
    return wait_for(browser, lambda: len(found := all_of(browser, selector)) >= n and found)


def texts(browser: Chrome, selector: str) -> list[str]:
    """Return all texts at once, so that the page cannot replace an element meanwhile."""
    script = "return [...document.querySelectorAll(arguments[0])].map((one) => one.textContent)"
    found: list[str] = browser.execute_script(script, f"#view-compare {selector}")
    return found


def press(browser: Chrome, key: str) -> None:
    browser.switch_to.active_element.send_keys(key)


def revealed(browser: Chrome) -> list[str]:
    return wait_for(browser, lambda: [name for name in texts(browser, ".who") if name])


def kept(votes: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in votes.read_text().splitlines()]


def test_keys_1_2_3_vote_and_enter_goes_on(browser: Chrome, address: str, votes: Path) -> None:
    browser.get(f"{address}/#compare")
    for n, key in enumerate("123", 1):
        several(browser, "[aria-keyshortcuts]", 3)
        several(browser, ".words", 2)
        answers = texts(browser, ".words")
        assert all(SCRIPT in text for text in answers), "an answer became HTML"
        assert texts(browser, ".who") == ["", ""], "the names stand there before the vote"
        press(browser, key)
        names = revealed(browser)
        assert [name[0] for name in names] == [text[0] for text in answers]
        vote = kept(votes)[-1]
        assert len(kept(votes)) == n
        assert vote["shown"] == names
        assert vote["winner"] == {"1": names[0], "2": names[1], "3": "tie"}[key]
        assert browser.switch_to.active_element.text.endswith("Next question")
        press(browser, "1")  # a second vote on the same question
        press(browser, Keys.ENTER)
        several(browser, "[aria-keyshortcuts]", 3)
    assert len(kept(votes)) == 3
    assert "3 of 6 questions" in texts(browser, ".note")[0]


def test_keys_do_nothing_in_another_view_or_in_a_field(browser: Chrome, address: str, votes: Path) -> None:
    browser.get(f"{address}/#compare")
    several(browser, "[aria-keyshortcuts]", 3)
    several(browser, "select option", 3)
    all_of(browser, "select")[0].send_keys("1")
    browser.find_element(By.ID, "tab-tokens").click()
    browser.find_element(By.TAG_NAME, "body").send_keys("1")
    browser.find_element(By.ID, "tab-compare").click()
    browser.find_element(By.TAG_NAME, "body").send_keys("3")
    revealed(browser)
    assert [vote["winner"] for vote in kept(votes)] == ["tie"]


def test_a_click_votes_and_undo_asks_again(browser: Chrome, address: str, votes: Path) -> None:
    browser.get(f"{address}/#compare")
    several(browser, ".words", 2)
    before = texts(browser, ".words")
    undo = next(one for one in all_of(browser, "button") if "Undo" in one.text)
    assert not undo.is_enabled()
    several(browser, "[aria-keyshortcuts]", 3)[1].click()
    names = revealed(browser)
    assert kept(votes)[0]["winner"] == names[1]
    assert [one.get_attribute("class").split().count("chosen") for one in all_of(browser, ".answer")] == [0, 1]
    undo.click()
    several(browser, "[aria-keyshortcuts]", 3)
    assert texts(browser, ".words") == before
    assert [vote["winner"] for vote in kept(votes)] == [names[1], None]
    assert not undo.is_enabled()


def test_a_pair_can_be_chosen_and_the_end_shows_the_results(browser: Chrome, address: str, votes: Path) -> None:
    browser.get(f"{address}/#compare")
    several(browser, "select option", 3)
    Select(all_of(browser, "select")[0]).select_by_visible_text("base and assistant")
    wait_for(browser, lambda: "0 of 3" in texts(browser, ".note")[0])
    for _ in range(3):
        several(browser, ".words", 2)
        words = texts(browser, ".words")
        several(browser, "[aria-keyshortcuts]", 3)
        browser.find_element(By.TAG_NAME, "body").send_keys("1" if words[0].startswith("a") else "2")
        assert sorted(revealed(browser)) == ["assistant", "base"]
        press(browser, Keys.ENTER)
        wait_for(browser, lambda: not any(texts(browser, ".who")))
    several(browser, "tbody tr")
    assert texts(browser, "tbody tr:first-child > *") == [
        "assistant over base",
        "100.0",
        "100.0 to 100.0",
        "3",
        "0",
        "0",
        "3",
    ]
    assert "You have voted on every question" in texts(browser, "[role=status]")[0]
    assert any("judge_responses" in text for text in texts(browser, "details .note"))


def test_missing_answers_name_the_stage_to_run(browser: Chrome, address: str) -> None:
    browser.get(f"{address}/#compare")
    (error,) = several(browser, ".error")
    wait_for(browser, lambda: "dvc repro generate_responses" in error.text)
    assert all_of(browser, ".answer") == []


@pytest.mark.parametrize("width", [390, 1200])
def test_the_results_do_not_widen_the_page(browser: Chrome, address: str, votes: Path, width: int) -> None:
    browser.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride", {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": True}
    )
    try:
        browser.get(f"{address}/#compare")
        several(browser, "[aria-keyshortcuts]", 3)[2].click()
        revealed(browser)
        browser.execute_script("document.querySelector('#view-compare details.card').open = true")
        several(browser, "table")
        assert browser.execute_script("return document.documentElement.scrollWidth") == width
    finally:
        browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def test_the_pair_can_change_while_a_question_is_on_its_way(browser: Chrome, address: str, votes: Path) -> None:
    browser.get(f"{address}/#compare")
    several(browser, "[aria-keyshortcuts]", 3)
    hold_answers(browser, "/page/compare")
    pair = Select(several(browser, "select")[0])
    pair.select_by_visible_text("assistant and preferred")
    pair.select_by_visible_text("base and assistant")
    browser.find_element(By.TAG_NAME, "body").send_keys("1")  # another question is on its way
    wait_for(browser, lambda: held_answers(browser) == 1)
    assert not votes.exists()
    release_answers(browser)
    wait_for(browser, lambda: "0 of 3" in texts(browser, ".note")[0])
    lose_server(browser)
    pair.select_by_visible_text("assistant and preferred")
    wait_for(browser, lambda: any("server does not answer" in text for text in texts(browser, ".error")))
    release_answers(browser)
    browser.find_element(By.TAG_NAME, "body").send_keys("1")  # on the question that is still shown
    assert sorted(revealed(browser)) == ["assistant", "base"]


def test_a_held_key_votes_once(browser: Chrome, address: str, votes: Path) -> None:
    browser.get(f"{address}/#compare")
    several(browser, "[aria-keyshortcuts]", 3)
    hold_answers(browser, "/page/compare/vote")
    for key in "112":
        browser.find_element(By.TAG_NAME, "body").send_keys(key)
    assert held_answers(browser) == 1
    release_answers(browser)
    revealed(browser)
    assert len(kept(votes)) == 1


def test_the_focus_goes_to_the_next_task(browser: Chrome, address: str, votes: Path) -> None:
    browser.get(f"{address}/#compare")
    several(browser, "[aria-keyshortcuts]", 3)
    browser.find_element(By.TAG_NAME, "body").send_keys("1")
    revealed(browser)
    assert contrasts(browser)["Enter"] >= 4.5
    press(browser, Keys.ENTER)
    wait_for(browser, lambda: browser.switch_to.active_element.get_attribute("class") == "task")
    assert texts(browser, "[role=status]") == ["Question 2 of 6."]
    undo = next(one for one in all_of(browser, "button") if "Undo" in one.text)
    undo.send_keys(Keys.ENTER)
    wait_for(browser, lambda: texts(browser, "[role=status]") == ["Question 1 of 6."])
    assert browser.switch_to.active_element.get_attribute("class") == "task"
