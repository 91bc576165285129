"""Chat: three models beside each other, streamed, stopped, and the prompt as the model sees it."""

from __future__ import annotations

import pytest
from looking import (
    button,
    held_answers,
    hold_answers,
    labelled,
    lose_server,
    open_view,
    release_answers,
    slow_model,
    wait_for,
)
from selenium.webdriver import Chrome, Keys
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement

from scratchlm.assistant.instructions import Entry, format_prompt
from scratchlm.generation.decode import Sampling, generate
from scratchlm.serving.shelf import Shelf

NAMES = ["base", "assistant", "preferred"]
N_NEW = 256  # as the page asks for
HOSTILE = "<img src=x onerror=alert(1)><script>alert(2)</script>"


@pytest.fixture
def panel(browser: Chrome, address: str) -> WebElement:
    return open_view(browser, address, "chat")


def cards(panel: WebElement) -> dict[str, WebElement]:
    """Return the answers to the newest question by model."""
    exchange = panel.find_element(By.CLASS_NAME, "exchange")
    found = exchange.find_elements(By.CSS_SELECTOR, "[data-model]")
    return {card.get_attribute("data-model"): card for card in found}


def text_of(card: WebElement) -> str:
    return str(card.find_element(By.CLASS_NAME, "reply").get_property("textContent"))


def ended(panel: WebElement) -> bool:
    return button(panel, "Ask").is_enabled() and not button(panel, "Stop").is_enabled()


def expected_answer(shelf: Shelf, name: str, instruction: str, input: str) -> tuple[str, str]:
    """Return the prompt and the text that a model must answer."""
    served = shelf.get(name)
    prompt = format_prompt(Entry(instruction=instruction, input=input, output=""), served.style)
    ids = served.tokenizer.encode_ordinary(prompt)
    (found,) = generate(served.model, [ids], N_NEW, served.tokenizer.stop_ids, Sampling(), batch_size=1)
    before = served.tokenizer.decode(ids)
    return prompt, served.tokenizer.decode(ids + found.ids)[len(before) :]


@pytest.mark.parametrize("input", ["", "The dog runs."])
def test_three_models_answer_beside_each_other(browser: Chrome, panel: WebElement, shelf: Shelf, input: str) -> None:
    labelled(panel, "Input (optional)").send_keys(input)
    labelled(panel, "Instruction").send_keys("Name the colour of the hill." + Keys.ENTER)
    wait_for(browser, lambda: cards(panel) and ended(panel))
    found = cards(panel)
    assert list(found) == NAMES
    tops = {card.location["y"] for card in found.values()}
    lefts = [card.location["x"] for card in found.values()]
    assert len(tops) == 1 and lefts == sorted(set(lefts))
    for name, card in found.items():
        prompt, answer = expected_answer(shelf, name, "Name the colour of the hill.", input)
        assert text_of(card) == answer
        seen = card.find_element(By.CLASS_NAME, "prompt")
        assert not seen.is_displayed()
        card.find_element(By.TAG_NAME, "summary").click()
        assert seen.is_displayed() and seen.get_property("textContent") == prompt


@pytest.mark.slow
def test_only_chosen_models_are_asked(browser: Chrome, panel: WebElement) -> None:
    labelled(panel, "base").click()
    labelled(panel, "preferred").send_keys(Keys.SPACE)
    labelled(panel, "Instruction").send_keys("Name the hill." + Keys.ENTER)
    wait_for(browser, lambda: cards(panel) and ended(panel))
    assert list(cards(panel)) == ["assistant"]
    labelled(panel, "assistant").click()
    button(panel, "Ask").click()
    assert panel.find_element(By.CSS_SELECTOR, "form .error").text == "Choose at least one model."


@pytest.mark.slow
def test_a_question_stands_alone_and_the_newest_is_first(browser: Chrome, panel: WebElement, shelf: Shelf) -> None:
    for question in ("Name the cat.", "Name the dog."):
        field = labelled(panel, "Instruction")
        field.clear()
        field.send_keys(question + Keys.ENTER)
        wait_for(browser, lambda: cards(panel) and ended(panel))
    assert [one.text for one in panel.find_elements(By.CSS_SELECTOR, ".question h3")] == [
        "Name the dog.",
        "Name the cat.",
    ]
    assert text_of(cards(panel)["assistant"]) == expected_answer(shelf, "assistant", "Name the dog.", "")[1]


@pytest.mark.slow
@pytest.mark.parametrize("how", ["button", "Escape"])
def test_stop_frees_the_models(browser: Chrome, panel: WebElement, shelf: Shelf, how: str) -> None:
    field = labelled(panel, "Instruction")
    with slow_model(shelf.get("base").model) as steps:
        field.send_keys("Name the sea." + Keys.ENTER)
        wait_for(browser, lambda: len(text_of(cards(panel)["base"])) > 3)
        assert not button(panel, "Ask").is_enabled()
        if how == "button":
            button(panel, "Stop").click()
        else:
            field.send_keys(Keys.ESCAPE)
        wait_for(browser, lambda: ended(panel))
        browser.execute_async_script("setTimeout(arguments[0], 100)")
        n_steps = len(steps)
        browser.execute_async_script("setTimeout(arguments[0], 200)")
        assert len(steps) == n_steps < N_NEW, "the model went on"
    assert cards(panel)["base"].text.count("stopped by you") == 1
    assert cards(panel)["base"].find_element(By.CLASS_NAME, "reply").get_attribute("aria-busy") == "false"


def test_shift_and_enter_is_a_new_line(browser: Chrome, panel: WebElement) -> None:
    field = labelled(panel, "Instruction")
    field.send_keys("Name", Keys.SHIFT + Keys.ENTER + Keys.NULL, "it.")
    assert field.get_property("value") == "Name\nit."
    assert panel.find_elements(By.CLASS_NAME, "exchange") == []


def test_an_empty_instruction_is_not_sent(browser: Chrome, panel: WebElement) -> None:
    labelled(panel, "Instruction").send_keys("  " + Keys.ENTER)
    assert panel.find_element(By.CSS_SELECTOR, "form .error").text == "Write an instruction first."
    assert panel.find_elements(By.CLASS_NAME, "exchange") == []


@pytest.mark.slow
def test_an_error_is_told_where_the_answer_would_be(browser: Chrome, panel: WebElement, shelf: Shelf) -> None:
    n_context = shelf.get("base").model.config.context_length
    browser.execute_script("arguments[0].value = '~'.repeat(arguments[1])", labelled(panel, "Instruction"), n_context)
    button(panel, "Ask").click()
    wait_for(browser, lambda: cards(panel) and ended(panel))
    for card in cards(panel).values():
        told = card.find_element(By.CSS_SELECTOR, '[role="alert"]').text
        assert f"takes 1 to {n_context - 1}" in told or str(n_context) in told


def test_what_people_and_models_write_never_becomes_html(browser: Chrome, panel: WebElement) -> None:
    browser.execute_script(
        """
        const real = window.fetch;
        window.fetch = (path, options) => path !== "/v1/completions" ? real(path, options) : Promise.resolve(
          new Response([JSON.stringify({ choices: [{ text: arguments[0], finish_reason: "stop" }] }), "[DONE]"]
            .map((data) => `data: ${data}\\n\\n`).join("")));
        """.replace("arguments[0]", repr(HOSTILE))
    )
    labelled(panel, "Input (optional)").send_keys(HOSTILE)
    labelled(panel, "Instruction").send_keys(HOSTILE + Keys.ENTER)
    wait_for(browser, lambda: cards(panel) and ended(panel))
    assert [text_of(card) for card in cards(panel).values()] == [HOSTILE] * 3
    assert panel.find_element(By.CSS_SELECTOR, ".question h3").text == HOSTILE
    assert panel.find_elements(By.CSS_SELECTOR, "img, script") == []


@pytest.mark.slow
def test_columns_are_below_each_other_on_a_phone(browser: Chrome, address: str) -> None:
    browser.set_window_size(500, 900)  # the narrowest window that Chromium makes
    panel = open_view(browser, address, "chat")
    labelled(panel, "Instruction").send_keys("Name the hill." + Keys.ENTER)
    wait_for(browser, lambda: cards(panel) and ended(panel))
    assert len({card.location["x"] for card in cards(panel).values()}) == 1
    assert browser.execute_script("return document.documentElement.scrollWidth <= innerWidth")


def test_examples_are_the_projects_own(browser: Chrome, panel: WebElement) -> None:
    example = button(panel, "Put it into the past tense. — The dog runs.")
    example.click()
    assert labelled(panel, "Instruction").get_property("value") == "Put it into the past tense."
    assert labelled(panel, "Input (optional)").get_property("value") == "The dog runs."
    wait_for(browser, lambda: cards(panel) and ended(panel))


def test_focus_goes_to_stop_and_escape_stops_from_anywhere(browser: Chrome, panel: WebElement, shelf: Shelf) -> None:
    labelled(panel, "Instruction").send_keys("Name the sea.")
    with slow_model(shelf.get("base").model):
        button(panel, "Ask").send_keys(Keys.ENTER)
        wait_for(browser, lambda: len(text_of(cards(panel)["base"])) > 3)
        assert browser.switch_to.active_element == button(panel, "Stop")
        labelled(panel, "base").send_keys(Keys.ESCAPE)
        wait_for(browser, lambda: ended(panel))
    assert "stopped by you" in cards(panel)["base"].text
    said = panel.find_element(By.CSS_SELECTOR, "form [role=status]").get_property("textContent")
    assert all(f"{name}: " in said for name in NAMES), "an answer without its model's name"


def test_two_enters_ask_once(browser: Chrome, panel: WebElement) -> None:
    hold_answers(browser, "/page/prompt")
    labelled(panel, "Instruction").send_keys("Name the sea." + Keys.ENTER + Keys.ENTER)
    wait_for(browser, lambda: held_answers(browser) == 3)
    assert len(panel.find_elements(By.CLASS_NAME, "exchange")) == 1
    assert "token" not in cards(panel)["base"].text, "it counts what is not there"
    release_answers(browser)
    wait_for(browser, lambda: ended(panel))


def test_a_question_without_a_server_says_so_and_counts_nothing(browser: Chrome, panel: WebElement) -> None:
    lose_server(browser)
    labelled(panel, "Instruction").send_keys("Name the sea." + Keys.ENTER)
    wait_for(browser, lambda: cards(panel) and ended(panel))
    for card in cards(panel).values():
        assert "The server does not answer." in card.text and "token" not in card.text
