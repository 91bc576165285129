"""How tests look at the page: by labels and roles, as its users do, and with patience."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Event
from typing import Any, TypeVar

from selenium.common.exceptions import StaleElementReferenceException
from selenium.webdriver import Chrome
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.wait import WebDriverWait

from scratchlm.model.language_model import LanguageModel

T = TypeVar("T")
PATIENCE_S = 15  # for a busy machine
SLOW_STEP_S = 0.03


def wait_for(browser: Chrome, condition: Callable[[], T]) -> T:
    """Return the first true value of a condition."""
    waiting = WebDriverWait(browser, PATIENCE_S, 0.02, [StaleElementReferenceException])
    return waiting.until(lambda _: condition())


def open_view(browser: Chrome, address: str, name: str) -> WebElement:
    """Show a view and return its panel, once it has its examples."""
    browser.get(f"{address}/#{name}")
    panel = browser.find_element(By.ID, f"view-{name}")
    wait_for(browser, lambda: panel.find_elements(By.CLASS_NAME, "example"))
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
