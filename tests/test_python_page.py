"""The code of docs/python.md runs, from its beginning to its end, and shows all there is."""

from __future__ import annotations

import inspect
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import charrnn
from charrnn.nn.network import Activations, forward

PAGE = (Path(__file__).parents[1] / "docs/python.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
LAST = next(i for i, block in enumerate(BLOCKS) if "import torch" in block)


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def run(blocks, names):
    """Run blocks of the page one after the other, as a notebook does."""
    for block in blocks:
        exec(compile(block, "docs/python.md", "exec"), names)
    return names


def test_the_code_of_the_page_runs(capsys):
    names = run(BLOCKS[:LAST], {})
    shown = capsys.readouterr().out
    assert "holds another run (hidden_size 32 there, 64 now" in shown
    assert "<charrnn.Model 'checkpoints/poem.npz': 2 x 32 rnn units" in shown
    assert "☃" in shown and 'unknown="skip"' in shown
    (vocabulary,) = re.findall(r'model\.vocabulary +# "(.*?)"', PAGE)
    assert vocabulary.replace("\\n", "\n") == names["model"].vocabulary
    assert names["best"] == "m"


def test_a_program_of_the_page_runs_without_a_warning(tmp_path):
    (tmp_path / "page.py").write_text("".join(BLOCKS[:LAST]), encoding="utf-8")
    ran = subprocess.run([sys.executable, "-W", "error", "page.py"], capture_output=True, text=True,
                         timeout=60, env=os.environ | {"PYTHONUTF8": "1"})
    assert ran.returncode == 0, ran.stderr


def test_the_page_shows_every_name_and_every_argument():
    for name in charrnn.__all__:
        assert f"charrnn.{name}" in PAGE or name.endswith(("Error", "__")), name
    members = [name for name in vars(charrnn.Model) if not name.startswith("_")]
    for name in members:
        assert f"model.{name}" in PAGE, name
    flat = re.sub(r"\s+", " ", PAGE)
    sample = charrnn.Model.sample
    for function, name in ((charrnn.train, "charrnn.train"), (sample, "model.sample")):
        (arguments,) = re.findall(rf"`{re.escape(name)}\((.*?)\)`", flat)[:1]
        shown = [part.split("=") for part in arguments.split(", ")]
        signature = inspect.signature(function).parameters.values()
        expected = [
            [("**" if each.kind is each.VAR_KEYWORD else "") + each.name,
             *([repr(each.default).replace("'", '"')] * (each.default is not each.empty))]
            for each in signature if each.name != "self"
        ]
        assert [part for part in shown if part != ["*"]] == expected
        keyword_only = [each.name for each in signature if each.kind is each.KEYWORD_ONLY]
        assert shown[shown.index(["*"]) + 1][0] == keyword_only[0]
    for error in (name for name in charrnn.__all__ if name.endswith("Error")):
        assert re.search(rf"^\| `{error}`", PAGE, re.MULTILINE), error


@pytest.mark.peers
@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 1e-6), ("float64", 1e-12)])
@pytest.mark.parametrize(("cell", "activation"), [
    ("rnn", "tanh"), ("rnn", "relu"), ("gru", "tanh"), ("lstm", "tanh")])
@pytest.mark.parametrize("layers", [1, 2, 3])
def test_pytorch_computes_the_same_logits(dtype, tolerance, cell, activation, layers):
    torch = pytest.importorskip("torch")
    Path("poem.txt").write_text("Row, row, row your boat,\ngently down the stream.\n" * 200)
    model = charrnn.train(
        "poem.txt", out="a.npz", hidden_size=32, layers=layers, steps=100, dtype=dtype,
        cell=cell, activation=activation, learning_rate=1e-3, progress=False)
    names = run(BLOCKS[LAST:], {"model": model, "np": np})
    params, T, B = model._model.parameters, 50, 3
    ids = np.random.default_rng(1).integers(len(model.vocabulary), size=(T, B))
    logits, _ = forward(params, ids, params.zero_state(B), Activations(params.arch, T, B))
    found = names["CharRNN"](model)(torch.tensor(ids)).detach().numpy()
    assert found.dtype == dtype
    largest = abs(logits).max()
    np.testing.assert_allclose(found.reshape(logits.shape) / largest, logits / largest, rtol=0,
                               atol=tolerance)
