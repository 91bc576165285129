"""Complete: bars are the server's probabilities, a token that is taken stays that token, writing streams and stops."""

from __future__ import annotations

from typing import Any

import pytest
import torch
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
from torch import Tensor

from scratchlm.generation.decode import Sampling, generate
from scratchlm.generation.next_token import expect_token
from scratchlm.serving.shelf import Served, Shelf

OWN = Sampling(temperature=1.0)
ROWS = """
    return [...document.querySelectorAll("#view-complete .candidates li:not([hidden]) button")]
      .filter((button) => button.checkVisibility()).map((button) => ({
      id: Number(button.dataset.id), probability: Number(button.dataset.probability),
      label: button.querySelector(".piece").textContent, percent: button.querySelector(".percent").textContent,
      part: Number(getComputedStyle(button.querySelector(".fill")).getPropertyValue("--part")),
    }));
"""


@pytest.fixture
def served(shelf: Shelf) -> Served:
    return shelf.get("pretrained")


@pytest.fixture
def panel(browser: Chrome, address: str) -> WebElement:
    return open_view(browser, address, "complete")


def rows(browser: Chrome) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = browser.execute_script(ROWS)
    return found


def shows(browser: Chrome, probabilities_V: Tensor) -> bool:
    """Whether the bars are these probabilities, of the 12 likeliest tokens."""
    found = rows(browser)
    right = [abs(row["probability"] - float(probabilities_V[row["id"]])) < 1e-6 for row in found]
    return len(found) == 12 and all(right)


def likeliest(probabilities_V: Tensor) -> list[int]:
    order: list[int] = probabilities_V.sort(descending=True, stable=True).indices[:12].tolist()
    return order


def cut_otherwise(served: Served) -> tuple[str, int]:
    """Return a text and one of its likeliest next tokens which, if both were typed, would be cut into others."""
    encode, decode = served.tokenizer.encode_ordinary, served.tokenizer.decode
    return next(
        (text, token)
        for text in ("th", "h", "do", "s", "o", "ru", "m", "hi")
        for token in likeliest(expect_token(served.model, encode(text), OWN))
        if encode(text + decode([token])) != [*encode(text), token] and "�" not in decode([token])
    )


def test_the_bars_are_the_probabilities_and_move_with_temperature_and_top_k(
    browser: Chrome, panel: WebElement, served: Served
) -> None:
    labelled(panel, "Text").send_keys("the cat")
    ids = served.tokenizer.encode_ordinary("the cat")
    own_V = expect_token(served.model, ids, OWN)
    wait_for(browser, lambda: shows(browser, own_V))
    assert [row["id"] for row in rows(browser)] == likeliest(own_V)
    for row in rows(browser):
        assert row["part"] == row["probability"]
        assert row["percent"].endswith(" %") and abs(float(row["percent"][:-2]) / 100 - row["probability"]) < 6e-5

    labelled(panel, "Temperature").send_keys(Keys.ARROW_LEFT * 10)
    assert panel.find_element(By.CSS_SELECTOR, "output").text == "0.50"
    wait_for(browser, lambda: shows(browser, expect_token(served.model, ids, Sampling(0.5))))

    labelled(panel, "Top-k").send_keys(Keys.HOME + 2 * Keys.ARROW_RIGHT)
    wait_for(browser, lambda: shows(browser, expect_token(served.model, ids, Sampling(0.5, 3))))
    assert [row["probability"] > 0 for row in rows(browser)] == [True] * 3 + [False] * 9
    assert [row["id"] for row in rows(browser)] == likeliest(own_V), "the rows must stay, so that their bars move"

    labelled(panel, "Temperature").send_keys(Keys.HOME)
    wait_for(browser, lambda: [row["probability"] for row in rows(browser)] == [1.0] + 11 * [0.0])


def test_a_taken_token_is_appended_as_that_token(browser: Chrome, panel: WebElement, served: Served) -> None:
    """Also where its text would be cut otherwise if it had been typed."""
    encode, decode = served.tokenizer.encode_ordinary, served.tokenizer.decode
    typed, token = cut_otherwise(served)
    text = labelled(panel, "Text")
    text.send_keys(typed)
    wait_for(browser, lambda: shows(browser, expect_token(served.model, encode(typed), OWN)))
    panel.find_element(By.CSS_SELECTOR, f'button[data-id="{token}"]').click()
    wait_for(browser, lambda: shows(browser, expect_token(served.model, [*encode(typed), token], OWN)))
    assert text.get_property("value") == typed + decode([token])

    button(panel, "Undo").click()
    wait_for(browser, lambda: text.get_property("value") == typed)
    wait_for(browser, lambda: shows(browser, expect_token(served.model, encode(typed), OWN)))
    assert not button(panel, "Undo").is_enabled()


@pytest.mark.slow
def test_edited_text_is_typed_text(browser: Chrome, panel: WebElement, served: Served) -> None:
    text = labelled(panel, "Text")
    text.send_keys("the")
    wait_for(browser, lambda: rows(browser))
    button_of_first = panel.find_element(By.CSS_SELECTOR, ".candidates button")
    button_of_first.click()
    wait_for(browser, lambda: text.get_property("value") != "the")
    text.send_keys(" dog")
    value = text.get_property("value")
    assert value.endswith(" dog")
    expected_V = expect_token(served.model, served.tokenizer.encode(value, allowed_special="all"), OWN)
    wait_for(browser, lambda: shows(browser, expected_V))


def test_it_works_by_keyboard_alone(browser: Chrome, panel: WebElement, served: Served) -> None:
    decode, text = served.tokenizer.decode, labelled(panel, "Text")
    text.send_keys("the cat")
    wait_for(browser, lambda: rows(browser))

    def press(keys: str) -> None:
        browser.switch_to.active_element.send_keys(keys)

    def taken(token: int) -> None:
        wait_for(browser, lambda: text.get_property("value") == before + decode([token]))
        wait_for(browser, lambda: text.get_property("readOnly") is False)

    before = "the cat"
    press(Keys.ESCAPE)
    second = rows(browser)[1]["id"]
    press(Keys.ARROW_DOWN)
    press(Keys.ENTER)
    taken(second)
    before += decode([second])
    fourth = rows(browser)[3]["id"]
    press("4")
    taken(fourth)
    press(Keys.BACKSPACE)
    wait_for(browser, lambda: text.get_property("value") == before)
    press(Keys.ESCAPE)
    assert browser.switch_to.active_element == text


def test_it_writes_token_by_token_and_stops(browser: Chrome, panel: WebElement, served: Served) -> None:
    text = labelled(panel, "Text")
    text.send_keys("the cat")
    wait_for(browser, lambda: rows(browser))
    with slow_model(served.model) as steps:
        button(panel, "Let it write").click()
        lengths = {len("the cat")}
        wait_for(browser, lambda: lengths.add(len(text.get_property("value"))) or len(lengths) > 4)
        button(panel, "Stop").click()
        wait_for(browser, lambda: button(panel, "Let it write"))
        wait_for(browser, lambda: shows_nothing_new(browser, steps))
        assert len(steps) < 200, "it went on to its limit"
    written = text.get_property("value")
    assert written.startswith("the cat") and len(written) > len("the cat")
    assert panel.find_element(By.CSS_SELECTOR, '[role="status"]').get_property("textContent").startswith("Wrote: ")
    assert button(panel, "Undo").is_enabled()


def shows_nothing_new(browser: Chrome, steps: list[int]) -> bool:
    """Whether the model has stopped: its place is free again."""
    before = len(steps)
    browser.execute_async_script("setTimeout(arguments[0], 200)")
    return len(steps) == before


@pytest.mark.slow
def test_what_is_written_is_a_draw_at_these_settings(browser: Chrome, panel: WebElement, served: Served) -> None:
    labelled(panel, "Temperature").send_keys(Keys.HOME)
    text = labelled(panel, "Text")
    text.send_keys("the cat")
    wait_for(browser, lambda: rows(browser))
    button(panel, "Let it write").click()
    ids = served.tokenizer.encode_ordinary("the cat")
    (expected,) = generate(served.model, [ids], 200, served.tokenizer.stop_ids, Sampling(), batch_size=1)
    whole = served.tokenizer.decode(ids + expected.ids)
    wait_for(browser, lambda: text.get_property("value") == whole)
    assert "ended its text" not in panel.text


@pytest.mark.slow
def test_it_says_when_the_model_ends_its_text(
    browser: Chrome, panel: WebElement, served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else nothing would seem to happen where the end is the likeliest token."""
    bias = torch.zeros(served.model.config.vocab_size)
    bias[served.tokenizer.eot_token] = 100.0
    monkeypatch.setattr(served.model, "head", lambda features: served.model.lm_head(features) + bias)
    labelled(panel, "Text").send_keys("the cat")
    wait_for(browser, lambda: rows(browser))
    assert "special" in panel.find_element(By.CSS_SELECTOR, ".candidates .piece").get_attribute("class")
    button(panel, "Let it write").click()
    wait_for(browser, lambda: "The model ended its text here." in panel.text)
    assert labelled(panel, "Text").get_property("value") == "the cat"


def test_another_model_gets_the_text_not_the_ids(
    browser: Chrome, panel: WebElement, served: Served, shelf: Shelf
) -> None:
    """It may have another vocabulary."""
    other = shelf.get("assistant")
    typed, token = cut_otherwise(served)
    text = labelled(panel, "Text")
    text.send_keys(typed)
    wait_for(browser, lambda: rows(browser))
    panel.find_element(By.CSS_SELECTOR, f'button[data-id="{token}"]').click()
    whole = typed + served.tokenizer.decode([token])
    wait_for(browser, lambda: text.get_property("value") == whole)
    labelled(panel, "Model").send_keys("assistant")
    expected_V = expect_token(other.model, other.tokenizer.encode_ordinary(whole), OWN)
    wait_for(browser, lambda: shows(browser, expected_V))


@pytest.mark.slow
def test_a_text_that_fills_the_context_says_so(browser: Chrome, panel: WebElement, served: Served) -> None:
    labelled(panel, "Text").send_keys("~" * served.model.config.context_length)
    wait_for(browser, lambda: "fills what the model can see" in panel.text)
    assert rows(browser) == []


def test_one_question_at_a_time_and_only_the_newest_answer_counts(browser: Chrome, panel: WebElement) -> None:
    """A slider that is dragged would else have the server work on every place that it passes."""
    asked, shown = browser.execute_async_script("""
        const done = arguments[0];
        import("/api.js").then(async ({ latest }) => {
          const asked = [], shown = [];
          const answer = (name) => {
            asked.push(name);
            return new Promise((resolve) => setTimeout(() => resolve(name), 20));
          };
          const ask = latest(answer, (name) => shown.push(name), (error) => shown.push(error));
          await Promise.all([ask("first"), ask("second"), ask("third")]);
          await ask("fourth");
          ask("dropped");
          ask.drop();
          await ask("last");
          done([asked, shown]);
        });
    """)
    assert asked == ["first", "third", "fourth", "dropped", "last"]
    assert shown == ["third", "fourth", "last"]


def test_the_cursor_stays_where_someone_writes(browser: Chrome, panel: WebElement, served: Served) -> None:
    text = labelled(panel, "Text")
    text.send_keys("the cat\n" * 30 + Keys.CONTROL + Keys.HOME + Keys.NULL + "a ")
    value = "a " + "the cat\n" * 30
    expected_V = expect_token(served.model, served.tokenizer.encode_ordinary(value), OWN)
    wait_for(browser, lambda: shows(browser, expected_V))
    assert text.get_property("value") == value
    assert text.get_property("selectionStart") == 2
    assert text.get_property("scrollTop") < 50, "it scrolled down to the end"


def test_a_token_taken_without_a_server_can_be_taken_later(browser: Chrome, panel: WebElement, served: Served) -> None:
    text = labelled(panel, "Text")
    text.send_keys("the cat")
    wait_for(browser, lambda: rows(browser))
    first, decode = rows(browser)[0]["id"], served.tokenizer.decode
    lose_server(browser)
    panel.find_element(By.CSS_SELECTOR, ".candidates button").click()
    wait_for(browser, lambda: "server does not answer" in panel.text)
    assert text.get_property("value") == "the cat"
    assert not button(panel, "Undo").is_enabled()
    release_answers(browser)
    labelled(panel, "Temperature").send_keys(Keys.ARROW_LEFT * 10)
    ids = served.tokenizer.encode_ordinary("the cat")
    wait_for(browser, lambda: shows(browser, expect_token(served.model, ids, Sampling(0.5))))
    assert text.get_property("value") == "the cat", "it was taken although that had failed"
    panel.find_element(By.CSS_SELECTOR, ".candidates button").click()
    wait_for(browser, lambda: text.get_property("value") != "the cat")
    assert text.get_property("value") == "the cat" + decode([first]), "it was taken twice"
    assert "server does not answer" not in panel.text
    said = panel.find_element(By.CSS_SELECTOR, '[role="status"]').get_property("textContent")
    assert said.startswith(f"Taken: {decode([first])}. Next: ")


def test_a_token_taken_just_before_writing_is_in_the_text(browser: Chrome, panel: WebElement, served: Served) -> None:
    text = labelled(panel, "Text")
    text.send_keys("the cat")
    wait_for(browser, lambda: rows(browser))
    first = rows(browser)[0]["id"]
    labelled(panel, "Temperature").send_keys(Keys.HOME)  # so that it does not end by chance
    with slow_model(served.model) as steps:
        browser.execute_script(
            "arguments[0].click(); arguments[1].click()",
            panel.find_element(By.CSS_SELECTOR, ".candidates button"),
            button(panel, "Let it write"),
        )
        begin = "the cat" + served.tokenizer.decode([first])
        wait_for(browser, lambda: text.get_property("value") != "the cat")
        assert text.get_property("value").startswith(begin)
        candidates = panel.find_element(By.CLASS_NAME, "candidates")
        assert candidates.get_attribute("aria-busy") == "true"
        assert float(candidates.value_of_css_property("opacity")) < 1, "the bars are of an earlier text"
        wait_for(browser, lambda: int(panel.find_element(By.CLASS_NAME, "count").text.split()[0]) > 5)
        button(panel, "Stop").send_keys(Keys.ESCAPE)
        wait_for(browser, lambda: button(panel, "Let it write"))
        assert len(steps) < 200, "it went on to its limit"
    wait_for(browser, lambda: candidates.get_attribute("aria-busy") == "false")
    assert text.get_property("value").startswith(begin)


def test_bars_of_an_earlier_text_are_not_shown_and_give_no_token(
    browser: Chrome, panel: WebElement, served: Served
) -> None:
    text, encode = labelled(panel, "Text"), served.tokenizer.encode_ordinary
    text.send_keys("the cat")
    wait_for(browser, lambda: rows(browser))
    hold_answers(browser, "/page/next_token")
    text.send_keys(" ran")
    wait_for(browser, lambda: held_answers(browser) == 1)
    type_on = """
        const [text, words] = arguments;
        text.value += words;
        text.dispatchEvent(new Event("input"));
    """
    browser.execute_script(
        """
        const count = document.querySelector("#view-complete .count");
        window.counts = [];
        new MutationObserver(() => counts.push(count.textContent)).observe(count, { childList: true });
        """
        + type_on,
        *(text, " on the"),
    )
    release_answers(browser)  # while nothing new has been asked yet
    whole = "the cat ran on the"
    wait_for(browser, lambda: shows(browser, expect_token(served.model, encode(whole), OWN)))
    context = served.model.config.context_length
    assert set(browser.execute_script("return counts")) == {f"{len(encode(whole))} of {context} tokens"}

    take = "document.querySelector('#view-complete .candidates button').click()"
    browser.execute_script(type_on + take, text, " hill")
    wait_for(browser, lambda: shows(browser, expect_token(served.model, encode(whole + " hill"), OWN)))
    assert text.get_property("value") == whole + " hill"


def test_the_keyboard_goes_on_where_the_text_fills_the_context(
    browser: Chrome, panel: WebElement, served: Served
) -> None:
    text = labelled(panel, "Text")
    text.send_keys("~" * (served.model.config.context_length - 1))
    wait_for(browser, lambda: rows(browser))
    text.send_keys(Keys.ESCAPE)
    browser.switch_to.active_element.send_keys(Keys.ENTER)
    wait_for(browser, lambda: "fills what the model can see" in panel.text)
    assert browser.switch_to.active_element == button(panel, "Undo")
    browser.switch_to.active_element.send_keys(Keys.ENTER)
    wait_for(browser, lambda: rows(browser))
    assert browser.switch_to.active_element == text


def test_an_answer_without_an_end_and_a_full_server_are_told(browser: Chrome, panel: WebElement) -> None:
    """Parts of an event may come one by one; a stream that breaks off is no finished answer."""
    told = browser.execute_async_script("""
        const done = arguments[0], real = window.fetch, event = 'data: {"n": 1}\\r\\n\\r\\n';
        const body = (parts, error) => new ReadableStream({
          async start(controller) {
            for (const part of parts) {
              controller.enqueue(new TextEncoder().encode(part));
              await new Promise((resolve) => setTimeout(resolve));
            }
            await new Promise((resolve) => setTimeout(resolve, 30)); // an error would take the parts with it
            if (error) controller.error(new TypeError("network error")); else controller.close();
          },
        });
        const full = new Response('{"error": {"message": "too many wait: ask later"}}', { status: 429 });
        const answers = [
          new Response(body([event.slice(0, 9), event.slice(9, 17), event.slice(17), "data: [DONE]\\n\\n"])),
          new Response(body([event])), new Response(body([event], true)), full,
          new Response("", { status: 413 }),
        ];
        import("/api.js").then(async ({ stream }) => {
          const told = [];
          for (const answer of answers) {
            window.fetch = async () => answer;
            let said = "";
            try {
              for await (const { n } of stream("/v1/completions", {})) said += n;
              said += " end";
            } catch (error) {
              said += ` ${error.message}`;
            }
            told.push(said);
          }
          window.fetch = real;
          done(told);
        });
    """)
    cut = "1 The answer was cut off: the server has stopped. Does `scratchlm serve` still run?"
    long = " This text is longer than the server takes. Shorten it."
    assert told == ["1 end", cut, cut, " too many wait: ask later", long]


def test_a_slider_that_is_dragged_asks_once(browser: Chrome, panel: WebElement, served: Served) -> None:
    labelled(panel, "Text").send_keys("the cat")
    wait_for(browser, lambda: rows(browser))
    hold_answers(browser, "/page/next_token")
    browser.execute_script(
        "for (let place = 0; place < 20; place++) { arguments[0].value = place; "
        "arguments[0].dispatchEvent(new Event('input')); }",
        labelled(panel, "Temperature"),
    )
    wait_for(browser, lambda: held_answers(browser))
    browser.execute_script("performance.clearResourceTimings()")
    release_answers(browser)
    ids = served.tokenizer.encode_ordinary("the cat")
    wait_for(browser, lambda: shows(browser, expect_token(served.model, ids, Sampling(19 / 20))))
    assert browser.execute_script("return performance.getEntriesByType('resource').length") == 1
