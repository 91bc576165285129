"""The page's frame: tabs by mouse and keyboard, the address, and nothing from elsewhere."""

from __future__ import annotations

from functools import partial

import pytest
from looking import button, contrasts, labelled, lose_server, open_view, release_answers, wait_for
from selenium.webdriver import Chrome, Keys
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement

TITLES = ["Complete", "Spam", "Chat", "Compare", "Tokens", "Attention"]
# What a view shows of an example.
VIEWS = {
    **{"complete": ".candidates button", "spam": ".token", "chat": ".reply[aria-busy=false]"},
    **{"compare": ".words", "tokens": ".pieces li", "attention": ".token"},
}


def chosen(browser: Chrome) -> str:
    (tab,) = browser.find_elements(By.CSS_SELECTOR, '[role="tab"][aria-selected="true"]')
    (panel,) = [one for one in browser.find_elements(By.CSS_SELECTOR, '[role="tabpanel"]') if one.is_displayed()]
    assert panel.get_attribute("aria-labelledby") == tab.get_attribute("id")
    assert tab.get_attribute("aria-controls") == panel.get_attribute("id")
    assert browser.title == f"{tab.text} · scratchlm"
    return tab.text


def test_a_tab_shows_its_view_and_the_address_keeps_it(browser: Chrome, address: str) -> None:
    browser.get(address)
    tabs = wait_for(browser, lambda: browser.find_elements(By.CSS_SELECTOR, '[role="tablist"] [role="tab"]'))
    assert [tab.text for tab in tabs] == TITLES
    assert chosen(browser) == "Complete"
    for tab in tabs:
        tab.click()
        assert chosen(browser) == tab.text
        assert browser.current_url == f"{address}/#{tab.text.lower()}"
    browser.back()
    assert chosen(browser) == "Tokens"
    browser.refresh()
    assert chosen(browser) == "Tokens"


def test_arrow_keys_home_and_end_move_along_the_tabs(browser: Chrome, address: str) -> None:
    browser.get(f"{address}/#chat")
    for key, title in [
        *((Keys.ARROW_RIGHT, "Compare"), (Keys.ARROW_LEFT, "Chat"), (Keys.END, "Attention")),
        *((Keys.ARROW_RIGHT, "Complete"), (Keys.ARROW_LEFT, "Attention"), (Keys.HOME, "Complete")),
    ]:
        browser.find_element(By.CSS_SELECTOR, '[role="tab"][tabindex="0"]').send_keys(key)
        assert chosen(browser) == title
        assert browser.switch_to.active_element.text == title


def test_keys_of_the_browser_are_left_to_it_and_arrows_leave_no_trail(browser: Chrome, address: str) -> None:
    browser.get(f"{address}/#chat")
    tab = wait_for(browser, lambda: browser.find_element(By.ID, "tab-chat"))
    tab.send_keys(Keys.CONTROL + Keys.ARROW_RIGHT + Keys.NULL)
    assert chosen(browser) == "Chat"
    n_before = browser.execute_script("return history.length")
    tab.send_keys(Keys.ARROW_RIGHT)
    assert browser.current_url == f"{address}/#compare"
    assert browser.execute_script("return history.length") == n_before


# These views ask for the models first. Others ask for the examples, which all views keep.
@pytest.mark.parametrize(
    "name", ["chat", "tokens", *(pytest.param(name, marks=pytest.mark.slow) for name in ("complete", "attention"))]
)
def test_a_view_opened_without_a_server_works_once_there_is_one(name: str, browser: Chrome, address: str) -> None:
    other = "tokens" if name == "complete" else "complete"
    browser.get(f"{address}/#{other}")
    browser.refresh()
    wait_for(browser, lambda: browser.find_elements(By.CSS_SELECTOR, f"#view-{other} h2"))
    lose_server(browser)
    panel = browser.find_element(By.ID, f"view-{name}")
    browser.find_element(By.ID, f"tab-{name}").click()
    wait_for(browser, lambda: "The server does not answer." in panel.text)
    release_answers(browser)

    def tried_again() -> bool:
        again = browser.find_element(By.ID, f"tab-{name}") if name == "chat" else button(panel, "Try again")
        again.click()
        return True

    wait_for(browser, tried_again)
    wait_for(browser, lambda: panel.find_elements(By.CLASS_NAME, "example"))
    assert "The server does not answer." not in panel.text
    assert len(panel.find_elements(By.TAG_NAME, "h2")) == 1


@pytest.mark.parametrize("name", VIEWS)
def test_a_phone_needs_no_sideways_scrolling(name: str, browser: Chrome, address: str) -> None:
    browser.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride", {"width": 390, "height": 800, "deviceScaleFactor": 1, "mobile": True}
    )
    try:
        show_example(browser, address, name)
        assert browser.execute_script("return [innerWidth, document.documentElement.scrollWidth]") == [390, 390]
    finally:
        browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


@pytest.mark.parametrize("name", VIEWS)
def test_every_control_has_a_name(name: str, browser: Chrome, address: str) -> None:
    panel = show_example(browser, address, name)

    def named() -> dict[str, str]:  # of each control, by its HTML
        shown = panel.find_elements(By.CSS_SELECTOR, "button, input, select, textarea, [role]")
        return {
            control.get_attribute("outerHTML"): control.accessible_name
            for control in shown
            if control.is_displayed() and control.get_attribute("role") not in ("alert", "status", "log", "none")
        }

    names = wait_for(browser, named)  # once more if the view changed meanwhile
    assert [html for html, name in names.items() if not name] == []


def shows(panel: WebElement, selector: str) -> bool:
    return any(one.is_displayed() for one in panel.find_elements(By.CSS_SELECTOR, selector))


def show_example(browser: Chrome, address: str, name: str) -> WebElement:
    """Show a view with what it says of its last example."""
    panel = open_view(browser, address, name)
    for example in panel.find_elements(By.CLASS_NAME, "example")[-1:]:
        # What the view shows by itself gets a mark, and what replaces or fills it does not have it.
        before = panel.find_elements(By.CSS_SELECTOR, VIEWS[name])
        browser.execute_script("for (const one of arguments[0]) one.dataset.before = 1", before)
        example.click()
        new = f":is({VIEWS[name]}):not([data-before])" if name in ("spam", "attention") else VIEWS[name]
        wait_for(browser, partial(shows, panel, new))
    return panel


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_has_enough_contrast_in_light_and_dark(browser: Chrome, address: str, scheme: str) -> None:
    """4.5:1, as WCAG 2.2 asks for (1.4.3); controls that cannot be used may have less."""
    features = [
        {"name": "prefers-color-scheme", "value": scheme},
        {"name": "prefers-reduced-motion", "value": "reduce"},
    ]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
    try:
        for title in TITLES:
            panel = show_example(browser, address, title.lower())
            # The first token looks at itself alone: it has the most colour.
            browser.execute_script("arguments[0].querySelector('.token')?.focus()", panel)
            pale = {text: ratio for text, ratio in contrasts(browser).items() if ratio < 4.5}
            assert pale == {}, title
    finally:
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})


@pytest.mark.slow
def test_nothing_moves_for_those_who_want_no_motion(browser: Chrome, address: str) -> None:
    moving = "return [...document.querySelectorAll('*')].filter((one) => !/^0s(, 0s)*$/.test(" + (
        "getComputedStyle(one).transitionDuration)).length"
    )
    open_view(browser, address, "complete")
    assert browser.execute_script(moving) > 0
    features = [{"name": "prefers-reduced-motion", "value": "reduce"}]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
    try:
        assert browser.execute_script(moving) == 0
    finally:
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})


@pytest.mark.slow
def test_focus_can_be_seen(browser: Chrome, address: str) -> None:
    panel = open_view(browser, address, "complete")
    browser.find_element(By.TAG_NAME, "body").send_keys(Keys.TAB)
    seen = set()
    while (focused := browser.switch_to.active_element).tag_name != "body":
        outline = browser.execute_script("return getComputedStyle(arguments[0]).outline", focused)
        assert "solid" in outline or "auto" in outline, focused.get_attribute("outerHTML")
        seen.add(focused.id)
        focused.send_keys(Keys.TAB)
    assert labelled(panel, "Text").id in seen and button(panel, "Let it write").id in seen
