"""Python in processes of its own, for code that must not run in the process of the tests."""

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
    """Start code, which prints a line when it is ready, and wait for that line."""
    process = subprocess.Popen(
        [sys.executable, "-c", code, *map(str, args)], stdin=subprocess.PIPE,
        stdout=subprocess.PIPE, cwd=ROOT,
    )
    assert process.stdout.readline()
    return process
