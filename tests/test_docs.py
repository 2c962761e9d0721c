"""The documents are true: commands run, quoted code exists, settings have their defaults."""

from __future__ import annotations

import ast
import io
import os
import re
import shlex
import subprocess
import sys
import tokenize
from pathlib import Path

import click
import numpy as np
import pytest

import charrnn
from charrnn.cli.main import cli
from charrnn.config.parsing import resolve
from charrnn.config.settings import FIELDS, Config
from charrnn.config.yaml_file import read_yaml
from charrnn.inference.sampling import PrimeReader
from charrnn.storage import checkpoint

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
PACKAGE = Path(charrnn.__file__).parent
QUOTED = ("nn/parameters.py", "nn/cells/rnn.py", "nn/cells/gru.py", "nn/cells/lstm.py",
          "nn/network.py", "nn/loss.py", "nn/optimizers.py", "training/step.py",
          "training/loop.py")  # by docs/derivation.md
DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), ROOT / "corpora/README.md"])


def blocks(text, language):
    return re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)


def test_the_readme_mentions_every_command_and_the_main_make_targets():
    for name in cli.commands:
        assert f"charrnn {name}" in README
    for target in ("make demo", "make test", "make train", "make sample", "make eval"):
        assert target in README


def readme_commands():
    """The charrnn commands of the README that need only the texts that ship."""
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


def test_the_python_example_of_the_readme_runs(tmp_path):
    (tmp_path / "corpora").symlink_to(ROOT / "corpora")
    (example,) = blocks(README, "python")
    quick = 'out="play.npz", steps=3, threads=1, hidden_size=8, progress=False'
    assert example.count('out="play.npz"') == 1
    result = subprocess.run(
        [sys.executable, "-c", example.replace('out="play.npz"', quick)], cwd=tmp_path,
        capture_output=True, text=True, timeout=60, env=os.environ | {"PYTHONPATH": str(ROOT)})
    assert result.returncode == 0, result.stderr
    assert result.stdout.startswith("Enter ")


# The project's former vocabulary; readers expect that of the field.
FORMER_TERMS = re.compile(
    r"\b(?:lanes?|held[- ]out|go(?:es|ing)? on|went on|anew"
    r"|let it write|best so far|line[- ]ends?|likeliest|whole or not|naive twin|storms?|seal(?:ed)?"
    r"|learn(?:s|ed|t) from|is there already|mistake in charrnn|mended|wishes|nobody"
    r"|stands? (?:in|at))\b".replace(" ", r"\s+"), re.IGNORECASE)


@pytest.mark.parametrize("former", [
    "B lanes", "was held out", "held-out text", "the run goes on", "it begins anew",
    "let\nit write", "the best so far", "a line end", "CRLF line ends", "the likeliest symbol",
    "a sealed file", "learned from the\ntext", "characters learned\nfrom it",
])
def test_the_former_terms_are_recognized(former):
    assert len(FORMER_TERMS.findall(former)) == 1


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda p: p.name)
def test_the_documents_use_the_terms_of_the_field(path):
    text = path.read_text(encoding="utf-8")
    prose = re.sub(r"^```.*?^```|`[^`]*`", "", text, flags=re.DOTALL | re.MULTILINE)
    assert FORMER_TERMS.findall(prose) == []


def comments(source):
    """The comments of a program; those that follow one another are one text."""
    found, last = [], -2
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            text = token.string.lstrip("# ")
            if token.start[0] == last + 1 and token.line.lstrip().startswith("#"):
                text = f"{found.pop()} {text}"
            found.append(text)
            last = token.start[0]
    return found


def test_comments_over_several_lines_are_one_text():
    assert comments("x = 1  # a\n# b\n# c\ny = 2  # d\n") == ["a b c", "d"]


@pytest.mark.parametrize("path", sorted(PACKAGE.glob("**/*.py")),
                         ids=lambda p: p.relative_to(PACKAGE).as_posix())
def test_the_code_uses_the_terms_of_the_field(path):
    source = path.read_text(encoding="utf-8")
    texts = [text for text in strings(source) if text != "lanes"]  # a key of the checkpoint's JSON
    assert [text for text in [*texts, *comments(source)] if FORMER_TERMS.search(text)] == []


def test_the_report_page_uses_the_terms_of_the_field():
    text = (PACKAGE / "analysis/page.html").read_text(encoding="utf-8")
    assert FORMER_TERMS.findall(text) == []


def test_the_default_config_gives_every_setting_its_default_and_a_reason():
    text = (ROOT / "configs/default.yaml").read_text()
    assert resolve(read_yaml(str(ROOT / "configs/default.yaml")), {}) == Config()
    for key in FIELDS:
        assert re.search(rf"^{key}: \S+ +# \S+", text, re.MULTILINE), key


@pytest.mark.parametrize("path", sorted(ROOT.glob("configs/*.yaml")), ids=lambda p: p.name)
def test_every_config_loads_and_states_its_purpose(path):
    resolve(read_yaml(str(path)), {})
    assert path.read_text().startswith("# ")


def test_the_code_that_the_derivation_quotes_is_the_code():
    def squeezed(line):
        return re.sub(r"\s+", "", line.split("#")[0])

    source = {squeezed(line) for name in QUOTED
              for line in (PACKAGE / name).read_text().splitlines()}
    quoted = [line for block in blocks((ROOT / "docs/derivation.md").read_text(), "python")
              for line in block.splitlines() if squeezed(line)]
    assert len(quoted) > 10
    for line in quoted:
        assert squeezed(line) in source, line


@pytest.mark.parametrize("cell", ["rnn", "gru", "lstm"])
def test_the_model_in_a_few_lines_of_numpy_computes_what_charrnn_does(tmp_path, cell):
    corpus = tmp_path / "a.txt"
    corpus.write_text("to be or not to be\n" * 20)
    path, text = str(tmp_path / "a.npz"), "not to"
    settings = ["--cell", cell, "--steps", "30", "--hidden-size", "12", "--layers", "3", "--quiet"]
    command = [sys.executable, "-m", "charrnn", "train", str(corpus), "-o", path, *settings]
    subprocess.run(command, check=True)
    examples = blocks((ROOT / "docs/checkpoint.md").read_text(), "python")
    (example,) = [block for block in examples if "np.load" in block]
    code = "\n".join(line for line in example.splitlines()
                     if not re.match(r"(path|text)\s*=", line))
    (step,) = re.findall(r"def step.*?\n\n", code, re.DOTALL)
    others = [block for block in examples if f"# cell {cell}" in block and block != example]
    (own,) = others or [step]
    code = code.replace(step, f"{own}\n")
    assert len([line for line in code.splitlines() if line and not line.startswith("#")]) <= 22
    names = {"path": path, "text": text}
    exec(compile(code, "docs/checkpoint.md", "exec"), names)
    run = checkpoint.load(Path(path))
    prime = np.concatenate([[run.vocabulary.start], run.vocabulary.encode_text(text)])
    reader = PrimeReader(run.best)
    reader.read(prime)
    logits = reader.finish()[1][0]
    expected = np.exp(logits - logits.max())
    np.testing.assert_allclose(names["p"], expected / expected.sum(), rtol=1e-4)


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda p: p.name)
def test_links_to_files_are_not_broken(path):
    for target in re.findall(r"\]\(([^)#]+)[^)]*\)", path.read_text(encoding="utf-8")):
        if "://" not in target:
            assert (path.parent / target).exists(), target


def test_the_import_rules_in_contributing_are_the_tested_ones():
    from test_layout import MAY_IMPORT

    text = (ROOT / "CONTRIBUTING.md").read_text()
    (table,) = re.findall(r"\| sub-package \|.*\n\|[-|]+\n((?:\|.*\n)+)", text)
    rows = [re.fullmatch(r"\| `(\w+)` \|.*\| (.*?) \|", row) for row in table.splitlines()]
    assert [row[1] for row in rows] == [name for name in MAY_IMPORT if name in {
        row[1] for row in rows}], "both are in the same order"
    above, documented = set(), {"__init__": set(), "errors": set(), "__main__": {"cli", "system"}}
    for row in rows:
        name, imports = row[1], row[2].partition(", which")[0]
        named = set(re.sub(r"[^a-z ]", " ", " ".join(re.findall(r"`(.*?)`", imports))).split())
        documented[name] = above - named if imports.startswith("all") else named
        assert named or imports in ("nothing", "all of these"), imports
        above.add(name)
    assert documented == {name: rooms - {"errors"} for name, rooms in MAY_IMPORT.items()}
    assert "all but `nn` may import `errors`" in text
    rules = {name for name, rooms in MAY_IMPORT.items() if "errors" in rooms}
    assert rules == {row[1] for row in rows} - {"nn"}


def test_every_promise_names_tests_that_exist():
    text = (ROOT / "docs/reliability.md").read_text()
    source = "".join(path.read_text() for path in ROOT.glob("tests/**/test_*.py"))
    named = set(re.findall(r"`(test_[a-z0-9_]+)`", text))
    assert len(named) > 50
    assert [name for name in sorted(named) if f"def {name}(" not in source] == []
    for table in re.split(r"\n\n", text):
        for row in table.splitlines()[2:] if table.startswith("|") else []:
            assert "`test_" in row, row


# On the public index the name belongs to another project.


def public_installs(text):
    """The commands in ``text`` that install the package called charrnn on the public index."""
    lines = text.replace("\\\n", " ").splitlines()
    spans = [" ".join(span.split()) for span in re.findall(r"`([^`]+)`", text)]
    found = re.findall(r"\bcharrnn\[.*?\]", text)  # with extras, in any command
    for line in [*lines, *spans]:
        for arguments in re.findall(r"\b(?:pip3?|pipx|uv|conda)\b[^`]*? (?:install|add)\b([^`]*)",
                                    line):
            command = re.split(r"&&|[;|#]", arguments)[0]
            if any(re.fullmatch(r"[\"'(]*charrnn(?:[=<>~!@].*|[^\w/-]*)", word)
                   for word in command.split()):
                found.append(line)
    return found


@pytest.mark.parametrize(("text", "count"), [
    ("pip install charrnn", 1), ("`pip install -U charrnn`, then", 2), ("pip3 install charrnn.", 1),
    ("python -m pip install 'charrnn>=0.1' numpy", 1), ("pip install \\\n    charrnn", 1),
    ("pip install numpy 'charrnn[mpi]' mpich", 1), ("`pip install --no-binary\nmpi4py charrnn`", 1),
    ("pipx install charrnn", 1), ("uv pip install charrnn==0.1.0", 1), ("MPI (`charrnn[mpi]`)", 1),
    ("pip install .", 0), ("pip install '.[mpi]' mpich && mpiexec -n 4 charrnn train a.txt", 0),
    ("pip install mpi4py mpich\ncharrnn train a.txt", 0), ("`pip install .`, then `charrnn`", 0),
    ("pip install . # charrnn is a command now", 0), ("pip install dist/charrnn-0.1.0.whl", 0),
])
def test_commands_that_install_from_the_public_index_are_recognized(text, count):
    assert len(public_installs(text)) == count


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda p: p.name)
def test_no_document_installs_charrnn_from_the_public_index(path):
    assert public_installs(path.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize("name", ["charrnn", *cli.commands])
def test_no_help_installs_charrnn_from_the_public_index(name):
    command = cli.commands.get(name, cli)
    shown = command.get_help(click.Context(command, info_name=name, max_content_width=10_000))
    assert "Usage:" in shown
    assert public_installs(shown) == []


def strings(source):
    """Every string of a program; of formatted strings, the constant parts."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.JoinedStr):
            yield "".join(part.value if isinstance(part, ast.Constant) else "{}"
                          for part in node.values)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value


def test_no_string_of_the_package_installs_charrnn_from_the_public_index():
    paths = list(PACKAGE.glob("**/*.py"))
    texts = [text for path in paths for text in strings(path.read_text(encoding="utf-8"))]
    assert any("pip install mpi4py" in text for text in texts), "strings are found"
    texts += [path.read_text(encoding="utf-8") for path in PACKAGE.glob("**/*.html")]
    assert [found for text in texts for found in public_installs(text)] == []
