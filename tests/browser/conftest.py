"""Chromium without a network, and the server with tiny models for it to look at."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from chromium import LOGS, missing_programs, open_chromium
from selenium.webdriver import Chrome
from served_shelf import serve_in_thread
from tiny_project import make_project

from scratchlm.serving.shelf import Shelf


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
    if reason := missing_programs():
        pytest.skip(f"{reason}: the page is not tested")
    driver = open_chromium()
    yield driver
    driver.quit()


@pytest.fixture
def browser(chromium: Chrome, address: str) -> Iterator[Chrome]:
    """Chromium with nothing open. After the test: it asked no other host, and the page reported no error."""
    with watched(chromium, address):
        yield chromium
    # A refused request (4xx) is reported too; tests of errors expect just these.
    assert [entry["message"] for entry in chromium.get_log("browser") if "status of 4" not in entry["message"]] == []


@pytest.fixture
def file_browser(chromium: Chrome) -> Iterator[Chrome]:
    """The same for pages that are files: they ask no host at all. Vega's warnings are no errors."""
    with watched(chromium, "file:"):
        yield chromium
    assert [entry["message"] for entry in chromium.get_log("browser") if entry["level"] != "WARNING"] == []


@contextmanager
def watched(chromium: Chrome, own: str) -> Iterator[None]:
    """Empty the browser; after the block, check that all addresses which it asked begin with `own`."""
    chromium.get("about:blank")
    for log in LOGS:
        chromium.get_log(log)  # what is read is gone: only this test's entries remain
    chromium.set_window_size(1200, 900)
    yield
    asked = requested_urls(chromium)
    assert [url for url in asked if not url.startswith((own, "about:", "data:", "blob:"))] == []
    assert asked, "the test has loaded no page"


def requested_urls(browser: Chrome) -> list[str]:
    """Return the addresses that the browser asked since this was called last."""
    events = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    return [event["params"]["request"]["url"] for event in events if event["method"] == "Network.requestWillBeSent"]
