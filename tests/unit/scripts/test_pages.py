"""Printing pages: marked blocks run one after the other, long output is shortened, chance is taken out."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from pages import rewritten, settled, shortened

PAGE = """# A page

<!-- printed by `make docs`, after
echo one > first
echo two > second
-->
```console
$ cat first
old
$ cat second; pwd
```

```console
$ echo unmarked
```

<!-- printed by `make docs` -->
```console
$ rm first second
$ ls
old
```
"""


def test_marked_blocks_run_in_order_and_get_their_output(tmp_path: Path) -> None:
    printed = PAGE.replace("first\nold\n", "first\none\n").replace("; pwd\n", "; pwd\ntwo\n/...\n")
    assert rewritten(PAGE, tmp_path, os.environ) == printed.replace("$ ls\nold\n", "$ ls\n")


def test_printing_again_changes_nothing(tmp_path: Path) -> None:
    once = rewritten(PAGE, tmp_path, os.environ)
    assert rewritten(once, tmp_path, os.environ) == once


def test_a_failure_that_was_not_announced_stops_with_its_output(tmp_path: Path) -> None:
    page = "<!-- printed by `make docs` -->\n```console\n$ echo why; false\n```\n"
    with pytest.raises(RuntimeError, match=r"\$ echo why; false\nwhy\npages: error: exit code 1, expected 0"):
        rewritten(page, tmp_path, os.environ)


def test_an_announced_failure_is_shown_and_must_happen(tmp_path: Path) -> None:
    page = "<!-- printed by `make docs`, fails -->\n```console\n$ echo why; false\n```\n"
    assert rewritten(page, tmp_path, os.environ) == page.replace("false\n", "false\nwhy\n")
    with pytest.raises(RuntimeError, match="exit code 0, expected a failure"):
        rewritten(page.replace("false", "true"), tmp_path, os.environ)


def test_a_failure_among_the_commands_before_a_block_stops(tmp_path: Path) -> None:
    page = "<!-- printed by `make docs`, after\nfalse\ntrue\n-->\n```console\n$ pwd\n```\n"
    with pytest.raises(RuntimeError, match="exit code 1"):
        rewritten(page, tmp_path, os.environ)


def test_long_output_is_shortened_to_the_lines_that_count() -> None:
    output = "Stage 'a' didn't change\nStage 'b' didn't change\nRunning stage 'c':\n> python\n\nRan experiment(s): x\n"
    assert shortened("dvc exp run -S a=1", output) == "...\nRunning stage 'c':\n...\nRan experiment(s): x\n"
    assert shortened("scratchlm shapes", output) == output


def test_what_differs_from_run_to_run_is_replaced(tmp_path: Path) -> None:
    queue = "Task     Name    Created    Status\n8ea1751  warmer  04:27 AM   Success\n"
    table = "| ├── 0ea175f [warmer]   | 75.937 |\n"
    output = f"file://{tmp_path}/dvc_plots/index.html\n{queue}{table}make: *** [Makefile:21: repro] Error 1\n"
    first = settled(output, tmp_path)
    later = output.replace("8ea1751", "1234567").replace("0ea175f", "abcdef0").replace("04:27", "11:59")
    assert settled(later, tmp_path) == first
    assert first.splitlines()[0] == "file:///.../dvc_plots/index.html"
    number = first.splitlines()[2].split()[0]
    assert len(number) == 7 and f"{number} [warmer]" in first
    assert "Makefile" not in first
