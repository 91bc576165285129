"""The list of what can be downloaded."""

from __future__ import annotations

import hashlib
import re
from dataclasses import replace
from pathlib import Path

import pytest

from scratchlm.download import sources
from scratchlm.download.fetch import fetch


def test_every_source_has_its_own_name_and_https_urls() -> None:
    assert len({source.name for source in sources.ALL}) == len(sources.ALL)
    for source in sources.ALL:
        assert source.urls or source.archive or (source.requirement and source.sha256 and source.size_bytes)
        assert all(url.startswith("https://") for url in source.urls)
        assert source.sha256 is None or re.fullmatch("[0-9a-f]{64}", source.sha256)


@pytest.mark.mirror
def test_every_pinned_source_in_the_real_mirror_verifies(
    mirror: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SCRATCHLM_MIRROR", str(mirror))
    present = [source for source in sources.ALL if source.sha256 and (mirror / source.name).exists()]
    assert {"the-verdict.txt", "SMSSpamCollection"} <= {source.name for source in present}
    for source in present:
        path = fetch(replace(source, urls=(), archive=None), tmp_path / source.name)
        assert hashlib.sha256(path.read_bytes()).hexdigest() == source.sha256
