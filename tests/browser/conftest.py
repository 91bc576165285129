"""Chromium without a network, and the server with tiny models for it to look at."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator

import pytest
from selenium import webdriver
from selenium.webdriver import Chrome
from served_shelf import serve_in_thread
from tiny_project import make_project

from scratchlm.serving.shelf import Shelf

LOGS = {"browser": "ALL", "performance": "ALL"}
ARGUMENTS = (
    "--headless=new",
    "--no-sandbox",  # containers run tests as root
    "--disable-dev-shm-usage",
    "--disable-gpu",
    "--window-size=1200,900",
    # No name but this machine's address can be resolved, and the browser itself asks nobody either.
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
    "--disable-background-networking",
    "--disable-component-update",
    "--no-first-run",
    "--no-proxy-server",
)


@pytest.fixture(scope="session")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shelf]:
    """The models of a finished project; those that the server below uses."""
    root = tmp_path_factory.mktemp("project")
    make_project(root)
    shelf = Shelf(root)
    yield shelf
    shelf.close()


@pytest.fixture(scope="session")
def address(shelf: Shelf) -> Iterator[str]:
    """The address of a server with tiny models, such as http://127.0.0.1:41234."""
    with serve_in_thread(shelf) as address:
        yield address


@pytest.fixture(scope="session")
def chromium() -> Iterator[Chrome]:
    """One browser for all tests of a process: starting it takes longer than a test."""
    places = {name: shutil.which(name) for name in ("chromium", "chromedriver")}
    missing = [name for name, place in places.items() if place is None]
    if missing:
        pytest.skip(f"no {' and no '.join(missing)} on PATH: the page is not tested")
    options = webdriver.ChromeOptions()
    options.binary_location = places["chromium"]
    options.set_capability("goog:loggingPrefs", LOGS)
    for argument in ARGUMENTS:
        options.add_argument(argument)
    driver = webdriver.Chrome(options, webdriver.ChromeService(places["chromedriver"]))
    yield driver
    driver.quit()


@pytest.fixture
def browser(chromium: Chrome, address: str) -> Iterator[Chrome]:
    """Chromium with nothing open. After the test: it asked no other host, and the page reported no error."""
    chromium.get("about:blank")
    for log in LOGS:
        chromium.get_log(log)  # what is read is gone: only this test's entries remain
    chromium.set_window_size(1200, 900)
    yield chromium
    asked = requested_urls(chromium)
    assert [url for url in asked if not url.startswith((address, "about:", "data:", "blob:"))] == []
    assert asked, "the test has loaded no page"
    # A refused request (4xx) is reported too; tests of errors expect just these.
    assert [entry["message"] for entry in chromium.get_log("browser") if "status of 4" not in entry["message"]] == []


def requested_urls(browser: Chrome) -> list[str]:
    """Return the addresses that the browser asked since this was called last."""
    events = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    return [event["params"]["request"]["url"] for event in events if event["method"] == "Network.requestWillBeSent"]
