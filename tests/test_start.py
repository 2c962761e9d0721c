"""The tests do not depend on how they are started."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
# Those that send signals to what they start, and those that run make.
SOME = ["system/test_signals.py", "cli/test_train.py", "cli/test_streams.py", "test_corpora.py"]
CHOSEN = "signal or terminal or interrupt or make or usr1"


@pytest.mark.skipif(os.name != "posix", reason="POSIX only")
def test_tests_pass_under_nohup_and_in_the_background_of_another_make(tmp_path):
    outer = {"VENV": "/elsewhere", "PYTHON": "/nowhere/python", "ARGS": "--no-such-option",
             "PRIME": "Z", "MAKEFLAGS": "n -- VENV=/elsewhere", "MAKELEVEL": "1",
             "PIP_CONSTRAINT": "/nowhere", "CHARRNN_CHECKPOINT": "/nowhere", "PMI_RANK": "0",
             "PMI_SIZE": "2"}
    command = [sys.executable, "-m", "pytest", "-m", "not slow", "-k", CHOSEN, "-p",
               "no:cacheprovider", "--rootdir", str(TESTS.parent), "-c",
               str(TESTS.parent / "setup.cfg"), *(str(TESTS / name) for name in SOME)]
    ran = subprocess.run(["bash", "-c", 'trap "" INT HUP TERM USR1; exec "$@"', "bash", *command],
                         cwd=TESTS.parent, capture_output=True, text=True, timeout=300,
                         env=os.environ | outer)
    assert ran.returncode == 0, ran.stdout[-3000:]
    assert " passed" in ran.stdout or "100%" in ran.stdout
