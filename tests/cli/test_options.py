"""Options: completion in shells."""

from __future__ import annotations

import pytest
from commands import run_charrnn


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_shell_completion_works(home, shell):
    script = run_charrnn(cwd=home, env={"_CHARRNN_COMPLETE": f"{shell}_source"})
    assert b"_CHARRNN_COMPLETE" in script.stdout
    words = {"COMP_WORDS": "charrnn train --opti", "COMP_CWORD": "2"}
    if shell == "fish":
        words = {"COMP_WORDS": "charrnn train --opti", "COMP_CWORD": "--opti"}
    offered = run_charrnn(cwd=home, env={"_CHARRNN_COMPLETE": f"{shell}_complete"} | words)
    assert b"--optimizer" in offered.stdout
    words["COMP_WORDS"] = "charrnn train --optimizer a"
    words["COMP_CWORD"] = "a" if shell == "fish" else "3"
    offered = run_charrnn(cwd=home, env={"_CHARRNN_COMPLETE": f"{shell}_complete"} | words)
    assert b"adagrad" in offered.stdout and b"sgd" not in offered.stdout
