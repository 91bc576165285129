"""How tests look at the page: by labels and roles, as its users do, and with patience."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Event
from typing import Any, TypeVar

from selenium.common.exceptions import NoSuchElementException, StaleElementReferenceException
from selenium.webdriver import Chrome
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.wait import WebDriverWait

from scratchlm.model.language_model import LanguageModel

T = TypeVar("T")
PATIENCE_S = 15  # for a busy machine
SLOW_STEP_S = 0.03
HOLD = """
    const path = arguments[0];
    window.realFetch ??= fetch;
    window.held = [];
    window.fetch = async (asked, options) => {
      if (asked === path) await new Promise((release) => held.push(release));
      return realFetch(asked, options);
    };
"""
# Of every element with a text of its own: the text, its colour, and that of its ground, blended if that is translucent.
TEXTS = """
    const canvas = new OffscreenCanvas(1, 1).getContext("2d", { willReadFrequently: true });
    const painted = (...colors) => {
      canvas.clearRect(0, 0, 1, 1);
      for (const color of colors) {
        canvas.fillStyle = color;
        canvas.fillRect(0, 0, 1, 1);
      }
      return [...canvas.getImageData(0, 0, 1, 1).data].slice(0, 3);
    };
    const grounds = (one) => (one ? [...grounds(one.parentElement), getComputedStyle(one).backgroundColor] : ["white"]);
    const own = (one) => [...one.childNodes].filter((node) => node.nodeType === 3).map((node) => node.data).join("");
    return [...document.querySelectorAll("body *")]
      .filter((one) => own(one).trim() && one.checkVisibility() && !one.closest(":disabled, .hidden-text, .skip"))
      .map((one) => [own(one).trim().slice(0, 30), painted(getComputedStyle(one).color), painted(...grounds(one))]);
"""


def wait_for(browser: Chrome, condition: Callable[[], T]) -> T:
    """Return the first true value of a condition."""
    waiting = WebDriverWait(browser, PATIENCE_S, 0.02, [NoSuchElementException, StaleElementReferenceException])
    return waiting.until(lambda _: condition())


def open_view(browser: Chrome, address: str, name: str) -> WebElement:
    """Show a view and return its panel, once it has its examples, or says what is missing."""
    browser.get(f"{address}/#{name}")
    panel = browser.find_element(By.ID, f"view-{name}")
    wait_for(browser, lambda: panel.find_elements(By.CSS_SELECTOR, ".example, .error:not(:empty)"))
    return panel


def labelled(panel: WebElement, label: str) -> WebElement:
    """Return the control that has a label."""
    found = panel.find_element(By.XPATH, f".//label[normalize-space()='{label}']")
    return panel.find_element(By.ID, found.get_attribute("for"))


def button(panel: WebElement, name: str) -> WebElement:
    """Return the button with a name."""
    return panel.find_element(By.XPATH, f".//button[normalize-space()='{name}']")


@contextmanager
def slow_model(model: LanguageModel) -> Iterator[list[int]]:
    """Let every step of a model take a while; yields a list that gets an item at each step."""
    steps: list[int] = []

    def wait(*_: Any) -> None:
        steps.append(1)
        Event().wait(SLOW_STEP_S)

    hook = model.h[0].register_forward_pre_hook(wait)
    try:
        yield steps
    finally:
        hook.remove()


def hold_answers(browser: Chrome, path: str) -> None:
    """Let the page wait for what it asks at a path, until `release_answers`."""
    browser.execute_script(HOLD, path)


def held_answers(browser: Chrome) -> int:
    """Return how many answers wait."""
    return int(browser.execute_script("return held.length"))


def release_answers(browser: Chrome) -> None:
    """Let what waits go on, and what is asked from now on."""
    browser.execute_script("window.fetch = realFetch; for (const release of held) release();")


def lose_server(browser: Chrome) -> None:
    """Let every question fail as it does when there is no server, until `release_answers`."""
    browser.execute_script(
        "window.realFetch ??= fetch; window.held = [];"
        "window.fetch = async () => { throw new TypeError('Failed to fetch'); }"
    )


def contrasts(browser: Chrome) -> dict[str, float]:
    """Return the least contrast of each text that can be seen, as WCAG 2.2 counts it, by the text's beginning."""
    found: dict[str, float] = {}
    for text, color, ground in browser.execute_script(TEXTS):
        darker, lighter = sorted((luminance(color), luminance(ground)))
        found[text] = min(found.get(text, 21.0), (lighter + 0.05) / (darker + 0.05))
    return found


def luminance(color: list[float]) -> float:
    """Return how bright a colour of three bytes is, from 0 to 1."""
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in (part / 255 for part in color)]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
