"""The recipes work: every command of docs/recipes.md, in the order of the page."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

RECIPES = (Path(__file__).parent.parent / "docs/recipes.md").read_text(encoding="utf-8")

ENGLISH = "the sea was calm and the old clock on the wall told the hour to nobody at all.\n"
GERMAN = "das meer war ruhig, und die alte uhr an der wand sagte niemandem, wie spät es war.\n"
NAMES = ["anna", "bertha", "carla", "dora", "emma", "frieda", "greta", "hanna", "ida", "johanna"]


@pytest.mark.skipif(shutil.which("bash") is None or shutil.which("make") is None,
                    reason="bash or make is not installed")
def test_every_command_of_the_recipes_runs(tmp_path):
    (tmp_path / "english.txt").write_text(ENGLISH * 40)
    (tmp_path / "german.txt").write_text(GERMAN * 40, encoding="utf-8")
    (tmp_path / "names.txt").write_text("\n".join(NAMES * 20) + "\n")
    (tmp_path / "lines.txt").write_text(
        "the clock told the hour\ndie uhr an der wand sagte\nthe old sea on the wall\n")
    log = [f"12:{i:02d} job {i % 5} done in {i % 7} s\n" for i in range(60)] * 3
    log[77] = "12:17 job 2 FAILED!! disk /dev/sdx?\n"
    (tmp_path / "log.txt").write_text("".join(log))
    (makefile,) = re.findall(r"```make\n(.*?)```", RECIPES, re.DOTALL)
    (tmp_path / "Makefile").write_text(makefile)
    script = "\n".join(re.findall(r"```sh\n(.*?)```", RECIPES, re.DOTALL))
    assert script.count("charrnn ") > 15
    # Run the charrnn and python3 of the tests, whatever the PATH.
    (tmp_path / "bin").mkdir()
    for name, command in (("charrnn", '-m charrnn "$@"'), ("python3", '"$@"')):
        program = tmp_path / "bin" / name
        program.write_text(f'#!/bin/sh\nexec "{sys.executable}" {command}\n')
        program.chmod(0o755)
    environment = os.environ | {"PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}",
                                "LC_ALL": "C", "OPENBLAS_NUM_THREADS": "1"}
    ran = subprocess.run(["bash", "-euc", script], cwd=tmp_path, env=environment, timeout=300,
                         capture_output=True)
    assert ran.returncode == 0, ran.stderr.decode()
    assert (tmp_path / "classes.tsv").read_text().split("\n")[:3] == [
        "english\tthe clock told the hour", "german\tdie uhr an der wand sagte",
        "english\tthe old sea on the wall",
    ]
    rates = (tmp_path / "rates.tsv").read_text().split("\n")[:2]
    assert sorted(row.split("\t")[0] for row in rates) == ["2e-3", "8e-3"]
    assert float(rates[0].split("\t")[1]) <= float(rates[1].split("\t")[1])
    shown = ran.stdout.decode()
    assert "FAILED" in shown
    assert "8-gram" in shown
    assert len((tmp_path / "story.txt").read_text()) >= 300
    assert (tmp_path / "english.html").stat().st_size > 10_000
