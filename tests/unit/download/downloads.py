"""What the download tests share: two files, a source of the first, and downloads that must fail."""

from __future__ import annotations

import hashlib
import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from scratchlm.download.fetch import fetch
from scratchlm.download.sources import Source
from scratchlm.download.web import Limits
from scratchlm.errors import InputError

BODY = random.Random(1).randbytes(300_000)
OTHER = random.Random(2).randbytes(300_000)
QUICK = Limits(connect_s=1, read_s=0.3, total_s=10, tries=3, backoff_s=0.01)

SetLimits = Callable[..., None]  # the fixture `limits`


def pinned(*urls: str) -> Source:
    return Source("file.bin", urls, len(BODY), hashlib.sha256(BODY).hexdigest())


def failure(source: Source, target: Path) -> str:
    """Return the one line that `fetch` fails with; nothing may be left at the target."""
    with pytest.raises(InputError) as caught:
        fetch(source, target)
    assert not target.exists()
    assert not target.parent.exists() or list(target.parent.iterdir()) == []
    assert "\n" not in str(caught.value)
    return str(caught.value)


FETCH = """
import resource, sys
from pathlib import Path
from scratchlm.download import fetch
from scratchlm.download.sources import Source
from scratchlm.download.web import Limits
from scratchlm.errors import InputError

fetch.LIMITS = Limits(read_s=5, backoff_s=0.01)

def attempt(source, target):
    try:
        fetch.fetch(source, Path(target))
    except InputError as error:
        print(error)
"""


def run_python(body: str, *command: str) -> str:
    """Run Python code in a process of its own and return its output."""
    ended = subprocess.run([*command, sys.executable, "-c", FETCH + body], capture_output=True, text=True, timeout=60)
    assert ended.returncode == 0, ended.stderr
    return ended.stdout
