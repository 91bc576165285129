"""The view Attention in Chromium: layer, head and token chosen with the keyboard, and the numbers that are shown."""

from __future__ import annotations

import pytest
from looking import held_answers, hold_answers, release_answers, wait_for
from selenium.webdriver import Chrome, Keys
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.ui import Select

from scratchlm.anatomy.inside import attention_maps
from scratchlm.serving.shelf import Shelf

TEXT = "the dog ran over the <b>hill</b>"


def all_of(browser: Chrome, selector: str) -> list[WebElement]:
    return browser.find_elements(By.CSS_SELECTOR, f"#view-attention {selector}")


def shown_text(browser: Chrome) -> str:
    script = "return [...document.querySelectorAll('#view-attention .token')].map((one) => one.textContent).join('')"
    return str(browser.execute_script(script))


def open_with(browser: Chrome, address: str, text: str = TEXT) -> None:
    browser.get(f"{address}/#attention")
    wait_for(browser, lambda: all_of(browser, ".token"))
    (box,) = all_of(browser, "input[type=text]")
    box.clear()
    box.send_keys(text)
    wait_for(browser, lambda: shown_text(browser) == text)


def shares(browser: Chrome) -> list[float]:
    return [float(one.get_attribute("value")) for one in all_of(browser, ".bars meter")]


def expected(shelf: Shelf, layer: int, head: int, token: int, model: str = "pretrained") -> list[float]:
    served = shelf.get(model)
    row = attention_maps(served.model, served.tokenizer.encode_ordinary(TEXT))[layer, head, token, : token + 1]
    return sorted(row.tolist(), reverse=True)[:6]


def test_keys_choose_token_head_and_layer(browser: Chrome, address: str, shelf: Shelf) -> None:
    open_with(browser, address)
    tokens, heads = all_of(browser, ".token"), all_of(browser, ".head")
    last = len(tokens) - 1
    assert shares(browser) == pytest.approx(expected(shelf, 0, 0, last), abs=2e-6)
    browser.execute_script("arguments[0].focus()", tokens[last])
    tokens[last].send_keys(Keys.ARROW_LEFT)
    assert browser.switch_to.active_element == tokens[last - 1]
    assert shares(browser) == pytest.approx(expected(shelf, 0, 0, last - 1), abs=2e-6)
    heads[0].send_keys(Keys.ARROW_LEFT)  # from the first to the last
    assert browser.switch_to.active_element == heads[-1]
    assert [one.get_attribute("aria-checked") for one in heads] == ["false"] * 3 + ["true"]
    assert shares(browser) == pytest.approx(expected(shelf, 0, 3, last - 1), abs=2e-6)
    (layer,) = all_of(browser, "input[type=range]")
    layer.send_keys(Keys.ARROW_RIGHT)
    assert layer.get_attribute("aria-valuetext") == all_of(browser, "output")[0].text == "layer 2 of 2"
    in_second = pytest.approx(expected(shelf, 1, 3, last - 1), abs=2e-6)
    wait_for(browser, lambda: shares(browser) == in_second)
    (status,) = all_of(browser, "[role=status]")
    assert status.get_property("textContent").startswith("Head 4: what ")

    Select(all_of(browser, "select")[0]).select_by_value("assistant")
    wait_for(browser, lambda: shares(browser) != in_second)
    assert shares(browser) == pytest.approx(expected(shelf, 1, 3, last - 1, "assistant"), abs=2e-6)
    assert (layer.get_property("value"), layer.get_attribute("aria-valuetext")) == ("2", "layer 2 of 2")


def test_an_emptied_sentence_has_no_maps(browser: Chrome, address: str) -> None:
    """Nor those of what was asked just before."""
    open_with(browser, address)
    (box,) = all_of(browser, "input[type=text]")
    hold_answers(browser, "/page/attention")
    box.send_keys(" a")
    wait_for(browser, lambda: held_answers(browser) == 1)
    box.send_keys(Keys.CONTROL + "a", Keys.NULL, Keys.DELETE)
    wait_for(browser, lambda: not all_of(browser, ".heads")[0].is_displayed())
    release_answers(browser)
    browser.execute_async_script("setTimeout(arguments[0], 100)")
    assert not all_of(browser, ".heads")[0].is_displayed()
    box.send_keys("z" * 80)
    (error,) = all_of(browser, ".error")
    wait_for(browser, lambda: error.text)
    box.send_keys(Keys.CONTROL + "a", Keys.NULL, Keys.DELETE)
    wait_for(browser, lambda: not error.text)


def test_the_map_has_a_square_for_each_weight_and_none_for_what_comes_later(browser: Chrome, address: str) -> None:
    open_with(browser, address, "the dog ran")
    n = len(all_of(browser, ".token"))
    alphas = browser.execute_script(
        """const canvas = document.querySelector("#view-attention .map canvas"), n = arguments[0];
        const cell = canvas.width / n, context = canvas.getContext("2d");
        const { data } = context.getImageData(0, 0, canvas.width, canvas.height);
        const at = (x, y) => data[4 * (Math.floor((y + 0.5) * cell) * canvas.width + Math.floor((x + 0.5) * cell)) + 3];
        return Array.from({ length: n }, (_, y) => Array.from({ length: n }, (_, x) => at(x, y)));""",
        n,
    )
    assert alphas[0][0] == 255, "the first token looks at itself alone"
    for y, row in enumerate(alphas):
        assert [alpha > 0 for alpha in row] == [x <= y for x in range(n)]
        assert sum((alpha / 255) ** 2 for alpha in row) == pytest.approx(1, abs=0.03)


def test_too_long_a_sentence_says_the_limit(browser: Chrome, address: str) -> None:
    open_with(browser, address)
    (box,) = all_of(browser, "input[type=text]")
    box.send_keys("z" * 80)
    (error,) = all_of(browser, ".error")
    wait_for(browser, lambda: "wanted 1 to 64" in error.text)
    assert not all_of(browser, ".heads")[0].is_displayed()
    box.clear()
    box.send_keys("the dog")
    wait_for(browser, lambda: shown_text(browser) == "the dog")
    assert error.text == ""
