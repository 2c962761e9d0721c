"""Run Python code in a separate process, if it must not run in that of the tests."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent


def run_python(code):
    """Run code to its end."""
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, cwd=ROOT
    )


def start_python(code, *args):
    """Start code and wait for the line that it prints when it is ready."""
    process = subprocess.Popen(
        [sys.executable, "-c", code, *map(str, args)], stdin=subprocess.PIPE,
        stdout=subprocess.PIPE, cwd=ROOT,
    )
    assert process.stdout.readline()
    return process
