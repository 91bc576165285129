"""Collecting the labelled messages: the embedded sample, the UCI collection, or a table of the user's own."""

from __future__ import annotations

import pandas as pd

from scratchlm.download import opened_source
from scratchlm.sample import sms as sample_sms
from scratchlm.sms import read_messages
from scratchlm.sources import SMS_SPAM


def collect_messages(source: str) -> pd.DataFrame:
    """Return the messages of `source`: `sample`, `uci`, or a file or URL; columns Label and Text.

    Raises InputError as `read_messages` and `fetch` do.
    """
    if source == "sample":
        return pd.DataFrame(sample_sms.messages(), columns=["Label", "Text"])
    with opened_source(source, {"uci": SMS_SPAM}) as path:
        return read_messages(path)
