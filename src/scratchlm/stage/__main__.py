"""Run one stage: `python -m scratchlm.stage stages/pretrain.py`, as dvc.yaml does."""

import sys
from pathlib import Path

from scratchlm.stage.environment import share_cores
from scratchlm.stage.run import run

if __name__ == "__main__":
    if len(sys.argv) != 2 or not (Path(sys.argv[1]).is_file() and sys.argv[1].endswith(".py")):
        sys.exit(f"stage: error: got {sys.argv[1:]}, wanted one stage script, such as stages/pretrain.py")
    share_cores()
    run(Path(sys.argv[1]))
