"""Tokens: the ids are the tokenizer's, and what is shown can be read."""

from __future__ import annotations

import pytest
from looking import contrasts, labelled, open_view, wait_for
from selenium.webdriver import Chrome
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement

from scratchlm.serving.shelf import Shelf

TEXTS = [
    "the cat sat on the mat.",
    "naïve ☂ <b>bold</b><img src=x onerror=alert(1)>",
    "line\nbreak\tand  blanks",
    "the end<|endoftext|>the beginning",
]


@pytest.fixture
def panel(browser: Chrome, address: str) -> WebElement:
    return open_view(browser, address, "tokens")


def column(panel: WebElement, name: str) -> list[str]:
    return [str(one.get_property("textContent")) for one in panel.find_elements(By.CSS_SELECTOR, f".pieces .{name}")]


def write(browser: Chrome, panel: WebElement, text: str) -> None:
    """Put a text into its field as a paste does; keys cannot type everything."""
    browser.execute_script(
        "arguments[0].value = arguments[1]; arguments[0].dispatchEvent(new Event('input'))",
        labelled(panel, "Text"),
        text,
    )


@pytest.mark.parametrize("text", TEXTS)
def test_ids_and_bytes_are_those_of_the_tokenizer(browser: Chrome, panel: WebElement, shelf: Shelf, text: str) -> None:
    tokenizer = shelf.get("pretrained").tokenizer
    ids = tokenizer.encode(text, allowed_special="all")
    write(browser, panel, text)
    wait_for(browser, lambda: column(panel, "id") == [str(token) for token in ids])
    shown = b"".join(bytes.fromhex(one) for one in column(panel, "bytes"))
    assert shown == b"".join(map(tokenizer.decode_single_token_bytes, ids)) == text.encode()
    names, values = ([one.text for one in panel.find_elements(By.TAG_NAME, tag)] for tag in ("dt", "dd"))
    counts = dict(zip(names, values, strict=True))
    assert counts["characters"] == str(len(text))
    assert counts["bytes"] == str(len(text.encode()))
    assert counts["tokens"] == str(len(ids))
    assert panel.find_elements(By.CSS_SELECTOR, "img, b") == []
    n_special = len(panel.find_elements(By.CSS_SELECTOR, ".pieces .special"))
    assert n_special == text.count("<|endoftext|>")


def test_blanks_and_parts_of_characters_can_be_seen(browser: Chrome, panel: WebElement) -> None:
    write(browser, panel, " é\n")
    wait_for(browser, lambda: "\\n" in column(panel, "piece"))
    assert column(panel, "piece") == ["␣", "\\xc3", "\\xa9", "\\n"]
    assert len(panel.find_elements(By.CSS_SELECTOR, ".pieces .partial")) == 2
    assert "only some bytes of a character" in panel.text


@pytest.mark.slow
def test_emptying_the_text_brings_back_the_explanation(browser: Chrome, panel: WebElement) -> None:
    write(browser, panel, "the cat")
    wait_for(browser, lambda: column(panel, "id"))
    write(browser, panel, "")
    wait_for(browser, lambda: panel.find_element(By.CLASS_NAME, "empty").is_displayed())
    assert column(panel, "id") == []


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_on_each_tint_has_enough_contrast(browser: Chrome, panel: WebElement, scheme: str) -> None:
    """4.5:1, as WCAG 2.2 asks for (1.4.3)."""
    browser.execute_cdp_cmd(
        "Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
    )
    write(browser, panel, "the cat sat é")
    wait_for(browser, lambda: len(column(panel, "id")) > 5)
    tints = browser.execute_script("""
        return [...document.querySelectorAll(".pieces li")].map((one) => getComputedStyle(one).backgroundColor);
    """)
    found = contrasts(browser)
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})
    assert len(set(tints)) == 4
    assert min(found[text] for name in ("piece", "id", "bytes") for text in column(panel, name)) >= 4.5
