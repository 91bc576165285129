"""The view Spam in Chromium: a message is classified, and its tokens tell what they add, by pointer and keyboard."""

from __future__ import annotations

from looking import wait_for
from selenium.webdriver import ActionChains, Chrome, Keys
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement

TEXT = "win <img src=x onerror=alert(1)> now"


def all_of(browser: Chrome, selector: str) -> list[WebElement]:
    return browser.find_elements(By.CSS_SELECTOR, f"#view-spam {selector}")


def shown_text(browser: Chrome) -> str:
    script = "return [...document.querySelectorAll('#view-spam .token')].map((one) => one.textContent).join('')"
    return str(browser.execute_script(script))


def classify(browser: Chrome, address: str, text: str = TEXT) -> list[WebElement]:
    browser.get(f"{address}/#spam")
    (box,) = wait_for(browser, lambda: all_of(browser, "textarea"))
    wait_for(browser, lambda: all_of(browser, ".token"))  # of the example that it begins with
    box.clear()
    box.send_keys(text + Keys.ENTER)
    wait_for(browser, lambda: shown_text(browser) == text)  # as typed: it did not become HTML
    return all_of(browser, ".token")


def test_a_message_shows_its_label_its_tokens_and_the_reading(browser: Chrome, address: str) -> None:
    tokens = classify(browser, address)
    (label,) = all_of(browser, ".label")
    assert label.text in ("ham", "spam")
    (share,) = all_of(browser, ".share")
    assert float(share.text.removesuffix(" %")) >= 50
    assert {"for" in one.get_attribute("class").split() for one in tokens} == {True, False}
    (curve,) = all_of(browser, "polyline")
    assert len(curve.get_attribute("points").split()) == len(tokens)
    (picture,) = all_of(browser, "svg")
    assert share.text in picture.accessible_name


def test_arrow_keys_and_the_pointer_choose_a_token(browser: Chrome, address: str) -> None:
    tokens = classify(browser, address)
    assert [one.get_attribute("tabindex") for one in tokens].count("0") == 1
    browser.execute_script("arguments[0].focus()", tokens[0])
    tokens[0].send_keys(Keys.ARROW_RIGHT)
    assert browser.switch_to.active_element == tokens[1]
    (detail,) = all_of(browser, ".detail")
    for token in (tokens[1], tokens[-1]):
        ActionChains(browser).move_to_element(token).perform()
        assert token.get_attribute("aria-selected") == "true"
        number = token.accessible_name.split(": ", 1)[1].split()[0]
        assert number in detail.text
        assert len([one for one in tokens if one.get_attribute("aria-selected") == "true"]) == 1
    tokens[-1].send_keys(Keys.HOME)
    assert browser.switch_to.active_element == tokens[0]


def test_the_pointer_on_the_curve_chooses_the_nearest_token(browser: Chrome, address: str) -> None:
    tokens = classify(browser, address)
    (plot,), (dot,) = all_of(browser, ".plot"), all_of(browser, ".dot")
    half = plot.size["width"] // 2
    ActionChains(browser).move_to_element_with_offset(plot, half - 2, 0).perform()
    assert tokens[-1].get_attribute("aria-selected") == "true"
    assert dot.rect["x"] > plot.rect["x"] + half
    ActionChains(browser).move_to_element_with_offset(plot, 2 - half, 0).perform()
    assert tokens[0].get_attribute("aria-selected") == "true"
    assert dot.rect["x"] < plot.rect["x"] + half


def test_an_example_is_classified_at_once(browser: Chrome, address: str) -> None:
    classify(browser, address)
    button = all_of(browser, ".example")[0]
    button.click()
    (box,) = all_of(browser, "textarea")
    assert box.get_attribute("value") == button.text == "the cat sat on the mat"
    wait_for(browser, lambda: shown_text(browser) == button.text)


def test_a_message_that_cannot_be_read_says_why(browser: Chrome, address: str) -> None:
    classify(browser, address)
    (box,) = all_of(browser, "textarea")
    box.clear()
    box.send_keys(Keys.ENTER)
    (error,) = all_of(browser, ".error")
    wait_for(browser, lambda: "0 tokens" in error.text)
    assert all_of(browser, ".token") == []


def test_what_cannot_be_seen_is_escaped_and_turns_no_line_around(browser: Chrome, address: str) -> None:
    classify(browser, address)
    (box,) = all_of(browser, "textarea")
    browser.execute_script(
        "arguments[0].value = 'win \\u202e\\u05e9\\u05dc now'; arguments[0].form.requestSubmit()", box
    )
    wait_for(browser, lambda: "\\u202e" in shown_text(browser))
    assert "\u202e" not in shown_text(browser)
    lefts = [one.rect["x"] for one in all_of(browser, ".token")]
    assert lefts == sorted(lefts)
    (label,), (share,) = all_of(browser, ".label"), all_of(browser, ".share")
    (status,) = all_of(browser, "[role=status]")
    assert status.get_property("textContent") == f"{label.text}, {share.text}"


def test_a_long_label_does_not_widen_the_page(browser: Chrome, address: str) -> None:
    browser.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride", {"width": 320, "height": 800, "deviceScaleFactor": 1, "mobile": True}
    )
    try:
        classify(browser, address)
        for one in all_of(browser, ".label, .legend span, h3"):
            browser.execute_script("arguments[0].textContent = 'x'.repeat(50)", one)
        assert browser.execute_script("return document.documentElement.scrollWidth") == 320
    finally:
        browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
