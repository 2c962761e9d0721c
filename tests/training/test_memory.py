"""The estimate of a run's memory, against measured memory, and the refusals based on it."""

from __future__ import annotations

import json
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
from commands import ENVIRONMENT
from training_runs import prepared

from charrnn.errors import UsageError
from charrnn.nn.parameters import Architecture
from charrnn.text.batches import Batches
from charrnn.training import prepare
from charrnn.training.memory import Demand

# Started by a small process, because Linux counts a parent's memory as that of its child.
PEAK = """
import resource, subprocess, sys
ran = subprocess.run([sys.executable, "-m", "charrnn", *sys.argv[1:]], stdout=subprocess.PIPE)
sys.stdout.buffer.write(ran.stdout.splitlines()[0] + b"\\n")
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024)
"""


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    """A function: the estimate of a run, and its memory beyond that of a tiny run, in bytes."""
    folder = tmp_path_factory.mktemp("memory")

    def run(V, N, options):
        codes = np.concatenate([np.arange(V), np.random.default_rng(1).integers(0, V, N - V)])
        text = "".join(map(chr, codes + (0x10000 if V > 99 else 97)))
        (folder / "text.txt").write_text(text, "utf-8")
        ran = subprocess.run(
            [sys.executable, "-c", PEAK, "train", "text.txt", "-o", "a.npz", "--overwrite",
             "--json", "--quiet", "--steps", "2", *options.split()],
            cwd=folder, capture_output=True, text=True, check=True, env=ENVIRONMENT)
        start, peak = ran.stdout.splitlines()
        return json.loads(start)["memory_bytes"], int(peak)

    _, baseline = run(5, 3000, "--hidden-size 4 --layers 1 --threads 1 --batch-size 4")

    def measure(V, N, options):
        estimate, peak = run(V, N, options)
        return estimate, peak - baseline

    return measure


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="units differ")
@pytest.mark.parametrize(("V", "N", "options"), [
    (60, 60_000, "--threads 1"),
    (60, 60_000, "--threads 8"),
    (60, 60_000, "--layers 1 --hidden-size 512 --batch-size 1024 --seq-length 16 --deterministic "
                 "--threads 2"),
    (60, 60_000, "--layers 1 --hidden-size 1536 --batch-size 8 --threads 1"),
    (60, 60_000, "--hidden-size 384 --threads 2 --dropout 0.3 --optimizer sgd --dtype float64"),
    (60, 300_000, "--hidden-size 64 --threads 2 --batch-size 512 --seq-length 128"),
    (60, 1_500_000, "--threads 2"),
    (60, 1_500_000, "--threads 2 --val-fraction 0"),
    (60, 1_500_000, "--threads 64 --batch-size 512"),
    (60, 60_000, "--cell lstm --hidden-size 512 --threads 2"),
    (60, 60_000, "--cell gru --hidden-size 384 --batch-size 256 --threads 1"),
    (2_000, 200_000, "--threads 16 --hidden-size 64 --layers 1"),
    (20_000, 200_000, "--threads 2 --hidden-size 64"),
    (20_000, 150_000, "--threads 16 --hidden-size 8 --layers 1 --batch-size 8 --seq-length 4"),
    (100_000, 200_000, "--threads 1 --hidden-size 16 --layers 1 --batch-size 8 --seq-length 8"),
])
def test_a_run_takes_at_most_30_percent_or_20_mb_more_than_estimated(measured, V, N, options):
    estimate, took = measured(V, N, options)
    assert took < max(estimate / 0.7, estimate + 20e6)
    assert estimate < 3 * took + 50e6, "a run that fits would be refused"


def test_a_process_needs_memory_only_for_its_own_sequences():
    arch = Architecture(50, 64, 1, "tanh", "float32")

    def needed(B, processes):
        batches = SimpleNamespace(T=100, B=B, max_shards=B // Batches.SEQUENCES_PER_SHARD)
        return Demand(arch, batches, 2, processes=processes).bytes

    assert needed(4000, 4) == needed(1000, 1) < needed(4000, 1)


@pytest.mark.parametrize(("characters", "settings", "named", "other"), [
    (30, {"hidden_size": 2000}, "choose a smaller --hidden-size", "--threads"),
    (5000, {"hidden_size": 64}, "a higher --min-count (the text has 5,000 distinct characters)",
     "--threads"),
    (30, {"hidden_size": 64, "threads": 64, "batch_size": 512}, "fewer --threads (now 64)",
     "--min-count"),
    (30, {"hidden_size": 200, "deterministic": True, "batch_size": 1024, "seq_length": 2},
     "choose --no-deterministic, or a smaller", "--threads"),
])
def test_a_refusal_for_lack_of_memory_names_the_settings_to_change(
    tmp_path, monkeypatch, characters, settings, named, other
):
    codes = [*range(0x4E00, 0x4E00 + characters)] * (200_000 // characters)
    (tmp_path / "a.txt").write_text("".join(map(chr, codes)), "utf-8")
    settings = {"seq_length": 16, "val_fraction": 0.0, "threads": 1} | settings
    monkeypatch.setattr(prepare, "available_memory", lambda: 1_000_000)
    with pytest.raises(UsageError) as error:
        prepared(tmp_path / "a.txt", tmp_path / "a.npz", **settings)
    assert named in str(error.value)
    assert other not in str(error.value)
