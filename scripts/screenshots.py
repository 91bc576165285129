"""Take pictures of the page's six views, as a user of a finished run sees them."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Thread

from chromium import open_chromium
from PIL import Image, PngImagePlugin
from selenium.webdriver import Chrome, Keys
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.wait import WebDriverWait

from scratchlm.files.atomic import atomic_path
from scratchlm.serving.app import make_app
from scratchlm.serving.server import listen, make_server
from scratchlm.serving.shelf import Shelf

WIDTH, LEAST_HEIGHT = 1100, 500  # pixels
COLORS = 256  # of a picture: it is then half as large, and no difference is seen
PATIENCE_S = 60
DARK = {"chat"}  # one view shows the dark colours
MESSAGE = "You are a winner! Text CASH to 80086 now"
SENTENCE = "Rosa opens the door and Tom closes it."
# The outs that decide the pictures, beside the page itself.
SERVED = ("models/pretrained", "models/bases", "models/assistant", "models/preferred", "models/classifier")

Panel = WebElement


def wait_to_see(browser: Chrome, panel: Panel, selector: str, n: int = 1) -> None:
    """Wait until at least `n` such elements are shown."""
    script = "return [...arguments[0].querySelectorAll(arguments[1])].filter((one) => one.checkVisibility()).length"
    wait(browser).until(lambda _: browser.execute_script(script, panel, selector) >= n)


def wait_to_read(browser: Chrome, panel: Panel, text: str) -> None:
    """Wait until the line of tokens is this text."""
    script = "return [...arguments[0].querySelectorAll('.token')].map((one) => one.textContent).join('')"
    wait(browser).until(lambda _: browser.execute_script(script, panel) == text)


def wait(browser: Chrome) -> WebDriverWait[Chrome]:
    return WebDriverWait(browser, PATIENCE_S)


def complete(browser: Chrome, panel: Panel) -> None:
    """Begin a text, at a lower temperature, so that bars and marks differ."""
    panel.find_element(By.TAG_NAME, "textarea").send_keys("Clara took the")
    wait_to_see(browser, panel, ".candidates button")
    panel.find_element(By.CSS_SELECTOR, 'input[type="range"]').send_keys(Keys.ARROW_LEFT * 8)


def spam(browser: Chrome, panel: Panel) -> None:
    """Classify the message of the README."""
    field = panel.find_element(By.TAG_NAME, "textarea")
    field.clear()
    field.send_keys(MESSAGE + Keys.ENTER)
    wait_to_read(browser, panel, MESSAGE)


def chat(browser: Chrome, panel: Panel) -> None:
    """Ask the three models, and show what one of them reads."""
    instruction, text = panel.find_elements(By.TAG_NAME, "textarea")
    text.send_keys("Rosa opens the door.")
    instruction.send_keys("Make this sentence passive." + Keys.ENTER)
    wait_to_see(browser, panel, '.reply[aria-busy="false"]', n=3)
    panel.find_element(By.CSS_SELECTOR, '[data-model="assistant"] summary').click()


def compare(browser: Chrome, panel: Panel) -> None:
    """Wait for the first question."""
    wait_to_see(browser, panel, ".words", n=2)


def tokens(browser: Chrome, panel: Panel) -> None:
    """Cut the example with the rarest characters."""
    panel.find_elements(By.CLASS_NAME, "example")[-1].click()
    wait_to_see(browser, panel, ".pieces li")


def attention(browser: Chrome, panel: Panel) -> None:
    """Look at a sentence that has several words to look back at."""
    field = panel.find_element(By.CSS_SELECTOR, 'input[type="text"]')
    field.clear()
    field.send_keys(SENTENCE)
    wait_to_read(browser, panel, SENTENCE)


VIEWS = (complete, spam, chat, compare, tokens, attention)
SCREENSHOTS = tuple(f"docs/page-{view.__name__}.png" for view in VIEWS)


def take_screenshots(root: Path, project: Path, description: str) -> None:
    """Write `SCREENSHOTS` below `root`, of the models in a project's folder; `description` is stored in each file.

    Chromium must be there, see `missing_programs`.
    """
    browser = open_chromium()
    try:
        with served(project) as address:
            for view, picture in zip(VIEWS, SCREENSHOTS, strict=True):
                content = photograph(browser, address, view)
                with atomic_path(root / picture) as temporary:
                    write_small(temporary, content, description)
    finally:
        browser.quit()


@contextmanager
def served(project: Path) -> Iterator[str]:
    """Yield the address of a server for a project."""
    shelf = Shelf(project)
    server = make_server(make_app(shelf))
    with listen(0) as listener:
        thread = Thread(target=server.run, args=([listener],))
        thread.start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join()
            shelf.close()


def photograph(browser: Chrome, address: str, view: Callable[[Chrome, Panel], None]) -> bytes:
    """Return a PNG file of a view, from the top of the page to the end of what it shows."""
    name = view.__name__
    scheme = {"name": "prefers-color-scheme", "value": "dark" if name in DARK else "light"}
    still = {"name": "prefers-reduced-motion", "value": "reduce"}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [scheme, still]})
    size = {"width": WIDTH, "height": LEAST_HEIGHT, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    browser.get("about:blank")
    browser.get(f"{address}/#{name}")
    panel = browser.find_element(By.ID, f"view-{name}")
    if name != "compare":
        wait_to_see(browser, panel, ".example")
    view(browser, panel)
    browser.execute_async_script("setTimeout(arguments[0], 500)")  # the last answers, and what is drawn of them
    browser.execute_script("document.activeElement.blur(); scrollTo(0, 0)")
    height = browser.execute_script("return Math.ceil(document.querySelector('main').getBoundingClientRect().bottom)")
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size | {"height": max(LEAST_HEIGHT, height)})
    return base64.b64decode(browser.execute_cdp_cmd("Page.captureScreenshot", {"format": "png"})["data"])


def write_small(path: Path, content: bytes, description: str) -> None:
    """Write a PNG file again with few colours."""
    information = PngImagePlugin.PngInfo()
    information.add_text("Description", description)
    few = Image.open(io.BytesIO(content)).convert("RGB").quantize(COLORS, dither=Image.Dither.NONE)
    few.save(path, format="PNG", optimize=True, pnginfo=information)
