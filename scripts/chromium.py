"""A Chromium that looks at pages of this machine and can reach no other."""

from __future__ import annotations

import shutil

from selenium import webdriver
from selenium.webdriver import Chrome

PROGRAMS = ("chromium", "chromedriver")
LOGS = {"browser": "ALL", "performance": "ALL"}  # what the page reported, and what was asked
ARGUMENTS = (
    "--headless=new",
    "--no-sandbox",  # containers run everything as root
    "--disable-dev-shm-usage",
    "--disable-gpu",
    "--hide-scrollbars",
    # No name but this machine's address can be resolved, and the browser itself asks nobody either.
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
    "--disable-background-networking",
    "--disable-component-update",
    "--no-first-run",
    "--no-proxy-server",
)


def missing_programs() -> str:
    """Return why there can be no browser, such as "no chromium on PATH"; empty if there can."""
    missing = [name for name in PROGRAMS if shutil.which(name) is None]
    return f"no {' and no '.join(missing)} on PATH" if missing else ""


def open_chromium() -> Chrome:
    """Start a browser without a window; `missing_programs` must be empty. It runs until its `quit`."""
    browser, driver = map(shutil.which, PROGRAMS)
    options = webdriver.ChromeOptions()
    options.binary_location = str(browser)
    options.set_capability("goog:loggingPrefs", LOGS)
    for argument in ARGUMENTS:
        options.add_argument(argument)
    return webdriver.Chrome(options, webdriver.ChromeService(driver))
