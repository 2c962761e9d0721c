"""The cost and the benefit of dividing the batch among processes that MPI started.

    python benchmarks/scaling.py                 measure, in about five minutes
    python benchmarks/scaling.py --cores 16      threads against processes, up to so many
    python benchmarks/scaling.py steps ...       the work of each of the processes

Runs the mpiexec next to this Python with one and with two processes in turn, in several rounds. The
figures are medians, and a ratio is the median of the ratios of each round. Prints Markdown.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

from charrnn.system import machine

MPIEXEC = Path(sys.executable).parent / "mpiexec"
WORKERS = [  # processes, threads of each, deterministic
    (1, 1, False), (1, 2, False), (2, 1, False), (2, 1, True),
]
NETWORKS = [(1, 128, 64, 64), (2, 256, 64, 32), (4, 384, 64, 64), (2, 1024, 64, 64)]  # L, H, B, T
SIZES = [4, 200_000, 1_000_000, 8_000_000]  # parameters
MANY_CORES = [("rnn", (2, 256, 64, 32)), ("rnn", (4, 384, 64, 32)), ("gru", (2, 256, 64, 32))]
BATCH_SIZES = [64, 32, 16, 8, 4, 2, 1]
SHARED = [(2, 256, 32), (2, 1024, 32)]  # L, H, T, measured with each of BATCH_SIZES


def ask(processes: int, task: str, *numbers: object) -> dict[str, float]:
    """Run a task in so many processes; returns what the first of them printed."""
    environment = {key: value for key, value in os.environ.items()
                   if key not in (*machine.BLAS_VARIABLES, "OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE")}
    command = [MPIEXEC, "-n", processes, sys.executable, __file__, task, *numbers]
    done = subprocess.run([*map(str, command)], env=environment, stdout=subprocess.PIPE,
                          check=True, text=True)
    found: dict[str, float] = json.loads(done.stdout)
    return found


def timed(
    work: Callable[[], object], broadcast: Callable[[bool], bool], seconds: float
) -> float:
    """The median time of ``work`` in seconds; all processes repeat it for about ``seconds``.

    ``broadcast`` makes them stop together.
    """
    times: list[float] = []
    end = time.perf_counter() + seconds
    while broadcast(time.perf_counter() < end or len(times) < 5):
        begin = time.perf_counter()
        work()
        times.append(time.perf_counter() - begin)
    return median(times)


def steps(
    L: int, H: int, B: int, T: int, threads: int, deterministic: int, seconds: float, cell: str
) -> None:
    """Time training steps."""
    machine.use_one_blas_thread()
    import tempfile

    import numpy as np

    from charrnn.config.settings import Config
    from charrnn.training import processes
    from charrnn.training.prepare import prepare
    from charrnn.training.run import Request
    from charrnn.training.step import TrainingStep

    group = processes.join()
    settings = Config(
        cell=cell, layers=L, hidden_size=H, batch_size=B, seq_length=T, threads=threads,
        val_fraction=0.0, learning_rate=1e-4, dropout=0.0, deterministic=bool(deterministic))
    with tempfile.TemporaryDirectory() as folder:
        ids = np.random.default_rng(1).integers(65, size=max(300_000, 4 * B * T))
        Path(folder, "text.txt").write_bytes((ids + 32).astype(np.uint8).tobytes())
        run = prepare(
            Request([str(Path(folder, "text.txt"))], Path(folder, "model.npz"), settings), group)
    checkpoint, one = run.checkpoint, TrainingStep(run)
    checkpoint.state = checkpoint.state[one.sequences]

    def step() -> None:
        checkpoint.progress.step += 1
        update = one.update(checkpoint.last, checkpoint.moments, checkpoint.state,
                            checkpoint.progress.step, 10**9)
        checkpoint.state = update.gradient.state

    step()
    found = timed(step, group.broadcast, seconds)
    if group.is_first:
        print(json.dumps({"seconds": found, "chars": B * T,
                          "parameters": checkpoint.last.flat.size}))


def sums(size: int, seconds: float) -> None:
    """Time the all-reduce of ``size`` float32 numbers, and the update that follows it."""
    machine.use_one_blas_thread()
    import numpy as np

    from charrnn.nn import optimizers
    from charrnn.training import processes

    group = processes.join()
    parts, moments = np.zeros((1, size), np.float32), np.zeros((2, size), np.float32)
    theta, grad = np.random.default_rng(1).normal(size=(2, size)).astype(np.float32)

    def update() -> None:
        optimizers.clip(grad, 1.0, 0.0)
        theta[:] *= 1 - 1e-4
        optimizers.adam(theta, grad, moments, 100, 1e-4)

    broadcast = group.broadcast
    found = {"plain": timed(lambda: group.allreduce(parts), broadcast, seconds),
             "ordered": timed(lambda: group.allreduce_in_order(parts), broadcast, seconds),
             "update": timed(update, broadcast, seconds)}
    if group.is_first:
        print(json.dumps(found))


def measure(repeat: int, seconds: float) -> None:
    """Print all tables. P x t is P processes of t threads."""
    print("| layers x H, B, T | parameters | 1 process x 1 thread, chars/s | 1 x 2 | 2 x 1 "
          "| 2 x 1 / 1 x 2 | 2 x 1 / 1 x 1 | 2 x 1, deterministic / 2 x 1 |")
    print("|" + "---|" * 8)
    for network in NETWORKS:
        rounds = [[ask(n, "steps", *network, threads, int(ordered), seconds, "rnn")
                   for n, threads, ordered in WORKERS] for _ in range(repeat)]
        rates = [[each["chars"] / each["seconds"] for each in one] for one in rounds]
        one, two, ranks, _ = map(median, zip(*rates, strict=True))
        ratios = [median(r[a] / r[b] for r in rates) for a, b in ((2, 1), (2, 0), (3, 2))]
        L, H, B, T = network
        print(f"| {L} x {H}, {B}, {T} | {rounds[0][0]['parameters']:,} | {one:,.0f} | {two:,.0f} "
              f"| {ranks:,.0f} | {ratios[0]:.2f} | {ratios[1]:.2f} | {ratios[2]:.2f} |", flush=True)
    print("\n| parameters | sum over 2 processes, ms | GB/s | in fixed order, ms | update, ms |\n"
          "|---|---|---|---|---|")
    for size in SIZES:
        found = [ask(2, "sums", size, seconds) for _ in range(repeat)]
        plain, ordered, update = (median(each[kind] for each in found)
                                  for kind in ("plain", "ordered", "update"))
        print(f"| {size:,} | {1e3 * plain:.3f} | {4 * size / plain / 1e9:.2f} "
              f"| {1e3 * ordered:.3f} | {1e3 * update:.3f} |", flush=True)
    heads = [f"step of {L} x {H}, T = {T}, ms | chars/s" for L, H, T in SHARED]
    print("\n| B, with one thread | " + " | ".join(heads) + " |")
    print("|" + "---|" * (1 + 2 * len(heads)))
    for B in BATCH_SIZES:
        cells = [str(B)]
        for L, H, T in SHARED:
            found = [ask(1, "steps", L, H, B, T, 1, 0, seconds, "rnn") for _ in range(repeat)]
            spent = median(each["seconds"] for each in found)
            cells += [f"{1e3 * spent:.2f}", f"{B * T / spent:,.0f}"]
        print("| " + " | ".join(cells) + " |", flush=True)


def measure_cores(cores: int, repeat: int, seconds: float) -> None:
    """Print the speed of 1, 2, 4, ... threads of one process, and of as many processes."""
    counts = [2**i for i in range(cores.bit_length()) if 2**i <= cores]
    for cell, network in MANY_CORES:
        L, H, B, T = network
        rounds = []
        for _ in range(repeat):
            threads = [ask(1, "steps", *network, n, 0, seconds, cell) for n in counts]
            processes = [ask(n, "steps", *network, 1, 0, seconds, cell) for n in counts]
            rounds.append([[each["chars"] / each["seconds"] for each in kind]
                           for kind in (threads, processes)])
        print(f"\n{cell}, {L} x {H}, B = {B}, T = {T}\n")
        print("| n | n threads, chars/s | compared with 1 | n processes, chars/s | compared with 1 "
              "| processes / threads |\n" + "|---" * 6 + "|")
        for i, n in enumerate(counts):
            one, other = (median(r[kind][i] for r in rounds) for kind in (0, 1))
            gains = [median(r[kind][i] / r[kind][0] for r in rounds) for kind in (0, 1)]
            ratio = median(r[1][i] / r[0][i] for r in rounds)
            print(f"| {n} | {one:,.0f} | {gains[0]:.2f} | {other:,.0f} | {gains[1]:.2f} "
                  f"| {ratio:.2f} |", flush=True)


if __name__ == "__main__":
    if sys.argv[1:2] == ["steps"]:
        L, H, B, T, threads, ordered = map(int, sys.argv[2:8])
        steps(L, H, B, T, threads, ordered, float(sys.argv[8]), sys.argv[9])
    elif sys.argv[1:2] == ["sums"]:
        sums(int(sys.argv[2]), float(sys.argv[3]))
    else:
        parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
        parser.add_argument("--repeat", type=int, default=5)
        parser.add_argument("--seconds", type=float, default=2.0)
        parser.add_argument("--cores", type=int, help="compare 1, 2, 4, ... threads and processes")
        arguments = parser.parse_args()
        if arguments.cores:
            measure_cores(arguments.cores, arguments.repeat, arguments.seconds)
        else:
            measure(arguments.repeat, arguments.seconds)
