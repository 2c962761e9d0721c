"""The house: who may import whom, who may print, what importing may do."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import charrnn

PACKAGE = Path(charrnn.__file__).parent
ORDER = (
    "errors", "runtime", "parallel", "lock", "randomness", "vocabulary", "files",
    "encoded", "remarks", "corpus", "lanes", "ngram", "baselines",
    "novelty", "parameters", "products", "model", "optim", "config", "configfile",
    "archive", "checkpoint", "sampling", "evaluation", "dynamic", "request", "preparation",
    "events",
    "trainer", "training", "console", "views", "insight", "page", "report", "options",
    "cli_eval", "cli_report", "cli", "__main__",
)
MODULES = [*ORDER, "__init__"]


def tree(module):
    return ast.parse((PACKAGE / f"{module}.py").read_text())


def imported(module):
    """Modules of the package that ``module`` imports, anywhere in it."""
    names = set()
    for node in ast.walk(tree(module)):
        if isinstance(node, ast.ImportFrom) and node.module == "charrnn":
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("charrnn."):
            names.add(node.module.split(".")[1])
        elif isinstance(node, ast.Import):
            names |= {a.name.split(".")[1] for a in node.names if a.name.startswith("charrnn.")}
    return names & set(ORDER)


def test_every_module_has_its_place_in_the_order():
    assert {path.stem for path in PACKAGE.glob("*.py")} == set(MODULES)


@pytest.mark.parametrize("module", ORDER)
def test_a_module_imports_only_from_those_before_it(module):
    assert imported(module) <= set(ORDER[: ORDER.index(module)])


@pytest.mark.parametrize("module", [m for m in MODULES if m not in ("report", "console")])
def test_only_the_report_and_the_console_print(module):
    calls = [node.func.id for node in ast.walk(tree(module))
             if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)]
    assert "print" not in calls


def test_below_training_only_its_preparation_sees_the_config():
    below = ORDER[: ORDER.index("training")]
    users = {module for module in below if "Config" in {
        node.id for node in ast.walk(tree(module)) if isinstance(node, ast.Name)}}
    assert users == {"config", "request", "preparation"}


@pytest.mark.parametrize("module", MODULES)
def test_no_module_is_much_longer_than_a_few_screens(module):
    assert len((PACKAGE / f"{module}.py").read_text().splitlines()) <= 300


def run(code):
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    ).stdout


def test_the_help_is_shown_without_numpy_tqdm_or_yaml():
    code = "import sys, charrnn.cli; print({'numpy', 'tqdm', 'yaml'} & set(sys.modules))"
    assert run(code).strip() == "set()"


def test_importing_everything_changes_no_environment_and_no_signal_handler():
    modules = ", ".join(f"charrnn.{module}" for module in ORDER if module != "__main__")
    code = (
        "import os, signal; before = dict(os.environ), signal.getsignal(signal.SIGINT);"
        f"import {modules};"
        "print(before == (dict(os.environ), signal.getsignal(signal.SIGINT)))"
    )
    assert run(code).strip() == "True"
