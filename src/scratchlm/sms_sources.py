"""Collecting the labelled messages: the embedded sample, the UCI collection, or a table of the user's own."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pandas as pd

from scratchlm.download import fetch, fetch_url, from_root
from scratchlm.sample import sms as sample_sms
from scratchlm.sms import read_messages
from scratchlm.sources import SMS_SPAM


def collect_messages(source: str) -> pd.DataFrame:
    """Return the messages of `source`: `sample`, `uci`, or a file or URL; columns Label and Text.

    Raises InputError as `read_messages` and `fetch` do.
    """
    if source == "sample":
        return pd.DataFrame(sample_sms.messages(), columns=["Label", "Text"])
    if source != "uci" and "://" not in source:
        return read_messages(from_root(source))
    with tempfile.TemporaryDirectory() as folder:
        if source == "uci":
            return read_messages(fetch(SMS_SPAM, Path(folder) / SMS_SPAM.name))
        return read_messages(fetch_url(source, Path(folder) / Path(source).name))
