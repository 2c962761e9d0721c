"""What the documents say is so: commands run, code lines exist, settings have their defaults."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import charrnn
from charrnn import checkpoint, config, configfile, sampling

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), ROOT / "corpora/README.md"])


def blocks(text, language):
    return re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)


def test_every_command_and_make_target_stands_in_the_readme():
    from charrnn.cli import cli

    for name in cli.commands:
        assert f"charrnn {name}" in README
    for target in ("make demo", "make test", "make train", "make sample", "make eval"):
        assert target in README


def readme_commands():
    """The charrnn commands of the README that need no text but the play."""
    lines = [line for block in blocks(README, "sh") for line in block.splitlines()]
    commands = [line.split("#")[0].strip() for line in lines if line.startswith("charrnn ")]
    return [command for command in commands if "YOUR" not in command and "|" not in command]


def test_the_commands_of_the_readme_run(tmp_path):
    (tmp_path / "corpora").symlink_to(ROOT / "corpora")
    (tmp_path / "configs").symlink_to(ROOT / "configs")
    commands = readme_commands()
    assert len(commands) >= 5
    for command in commands:
        words = shlex.split(command)[1:]
        if words[0] == "train":
            words += ["--steps", "3", "--threads", "1", "--hidden-size", "8"]
            words += ["--overwrite"] * ("--init-from" not in words)
            words = [w for w in words if w not in ("--epochs", "20")]
        result = subprocess.run([sys.executable, "-m", "charrnn", *words], cwd=tmp_path,
                                capture_output=True, text=True, timeout=60)
        assert result.returncode == 0, (command, result.stderr)


def test_every_setting_stands_in_the_default_config_with_a_reason():
    text = (ROOT / "configs/default.yaml").read_text()
    assert config.resolve(configfile.read_yaml(str(ROOT / "configs/default.yaml")), {}) == (
        config.Config()
    )
    for key in config.FIELDS:
        assert re.search(rf"^{key}: \S+ +# \S+", text, re.MULTILINE), key


@pytest.mark.parametrize("path", sorted(ROOT.glob("configs/*.yaml")), ids=lambda p: p.name)
def test_every_config_loads_and_says_what_it_is_for(path):
    config.resolve(configfile.read_yaml(str(path)), {})
    assert path.read_text().startswith("# ")


def test_the_code_that_the_derivation_quotes_is_the_code():
    def squeezed(line):
        return re.sub(r"\s+", "", line.split("#")[0])

    source = {squeezed(line) for name in ("parameters.py", "model.py", "optim.py", "training.py")
              for line in (Path(charrnn.__file__).parent / name).read_text().splitlines()}
    quoted = [line for block in blocks((ROOT / "docs/derivation.md").read_text(), "python")
              for line in block.splitlines() if squeezed(line)]
    assert len(quoted) > 10
    for line in quoted:
        assert squeezed(line) in source, line


def test_the_model_in_ten_lines_of_numpy_computes_what_charrnn_does(tmp_path):
    corpus = tmp_path / "a.txt"
    corpus.write_text("to be or not to be\n" * 20)
    path, text = str(tmp_path / "a.npz"), "not to"
    settings = ["--steps", "30", "--hidden-size", "12", "--layers", "3", "--quiet"]
    command = [sys.executable, "-m", "charrnn", "train", str(corpus), "-o", path, *settings]
    subprocess.run(command, check=True)
    document = (ROOT / "docs/checkpoint.md").read_text()
    examples = [block for block in blocks(document, "python") if "np.load" in block]
    (example,) = examples
    code = "\n".join(line for line in example.splitlines()
                     if not re.match(r"(path|text)\s*=", line))
    assert len([line for line in code.splitlines() if line and not line.startswith("#")]) <= 20
    names = {"path": path, "text": text}
    exec(compile(code, "docs/checkpoint.md", "exec"), names)
    run = checkpoint.load(Path(path))
    prime = np.concatenate([[run.vocabulary.start], run.vocabulary.encode_text(text)])
    logits = sampling.read(run.best, [prime])[1][0]
    expected = np.exp(logits - logits.max())
    np.testing.assert_allclose(names["p"], expected / expected.sum(), rtol=1e-4)


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda p: p.name)
def test_links_to_files_lead_somewhere(path):
    for target in re.findall(r"\]\(([^)#]+)[^)]*\)", path.read_text(encoding="utf-8")):
        if "://" not in target:
            assert (path.parent / target).exists(), target


def test_the_import_order_that_contributors_read_is_the_tested_one():
    from test_layout import ORDER

    text = (ROOT / "CONTRIBUTING.md").read_text()
    positions = [text.find(f"| `{module}` |") for module in ORDER]
    assert -1 not in positions
    assert positions == sorted(positions)


def test_every_promise_names_tests_that_exist():
    text = (ROOT / "docs/reliability.md").read_text()
    source = "".join(path.read_text() for path in ROOT.glob("tests/test_*.py"))
    named = set(re.findall(r"`(test_[a-z0-9_]+)`", text))
    assert len(named) > 50
    assert [name for name in sorted(named) if f"def {name}(" not in source] == []
    for table in re.split(r"\n\n", text):
        for row in table.splitlines()[2:] if table.startswith("|") else []:
            assert "`test_" in row, row
