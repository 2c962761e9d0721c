"""Measure contenders, which take turns, each in its own process and a clean environment."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
SECONDS = 0.6  # of work per contender and round
REST = 0.05  # seconds between contenders, because idle threads keep spinning for a while

# Some machines preset slower kernels, or a number of threads; contenders start without these.
PRESET = ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE", "OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS",
          "MKL_NUM_THREADS", "PYTHONDONTWRITEBYTECODE")
CLEAN = {name: value for name, value in os.environ.items() if name not in PRESET}


class Worker:
    """A contender's process; worker.py describes the requests and answers."""

    def __init__(self, contender: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, str(HERE / f"{contender}_worker.py")], env=CLEAN, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        )

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.stdin.close()
        self.process.wait()
        self.process.stdout.close()

    def ask(self, **question: Any) -> dict[str, float]:
        print(json.dumps(question), file=self.process.stdin, flush=True)
        answer = self.process.stdout.readline()
        if not answer:
            sys.exit(f"{self.process.args[1]} failed")
        return json.loads(answer)

    def prepare(self, task: str, **numbers: Any) -> None:
        self.ask(task=task, **numbers)
        self.rate(0.2)

    def rate(self, seconds: float = SECONDS) -> float:
        """Characters per second, measured over at least ``seconds``."""
        time.sleep(REST)
        answer = self.ask(seconds=seconds)
        return answer["chars"] / answer["seconds"]


def alternate(works: Mapping[str, tuple[str, dict]], repeat: int) -> dict[str, list[float]]:
    """The rates of contenders that take turns, in characters per second.

    The keys of ``works`` start with the contender's name; the values are its task and the task's
    arguments.
    """
    workers = {name: Worker(name.split()[0]) for name in works}
    try:
        for name, (task, numbers) in works.items():
            workers[name].prepare(task, **numbers)
        return rounds({name: worker.rate for name, worker in workers.items()}, repeat)
    finally:
        for worker in workers.values():
            worker.__exit__()


def rounds(measures: Mapping[str, Callable[[], float]], repeat: int) -> dict[str, list[float]]:
    """The results of every measure in each round; every second round runs in reverse order."""
    results: dict[str, list[float]] = {name: [] for name in measures}
    for turn in range(repeat):
        for name in list(measures)[:: -1 if turn % 2 else 1]:
            results[name].append(measures[name]())
    return results


def charrnn() -> str:
    """The charrnn program that is installed next to this Python."""
    program = Path(sys.executable).with_name("charrnn")
    if not program.exists():
        sys.exit(f"{program} does not exist: run the benchmarks with make bench")
    return str(program)


def seconds(command: list[str], terminal: bool = False) -> float:
    """The seconds that a process takes; with ``terminal`` it runs on one and draws its bar."""
    if not terminal:
        start = time.perf_counter()
        subprocess.run(command, env=CLEAN, check=True, stdout=subprocess.DEVNULL,
                       stderr=subprocess.DEVNULL)
        return time.perf_counter() - start
    import pty  # not on Windows

    master, slave = pty.openpty()
    start = time.perf_counter()
    process = subprocess.Popen(command, env=CLEAN, stdout=slave, stderr=slave)
    os.close(slave)
    drain = threading.Thread(target=read_all, args=(master,))
    drain.start()
    code = process.wait()
    took = time.perf_counter() - start
    drain.join()
    os.close(master)
    if code:
        sys.exit(f"{' '.join(command)} exited with code {code}")
    return took


def read_all(descriptor: int) -> None:
    try:
        while os.read(descriptor, 1 << 16):
            pass
    except OSError:  # raised by Linux when the other end is closed
        pass


def peak_memory(command: list[str]) -> int:
    """The peak memory of a process, in bytes."""
    process = subprocess.Popen(command, env=CLEAN, stdout=subprocess.DEVNULL,
                               stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        sys.exit(f"{' '.join(command)} exited with code {process.returncode}")
    return usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def environment(threads: int) -> str:
    """The machine, the versions and the kernel, in a few lines."""
    script = ("import numpy, threadpoolctl, json; "
              "print(json.dumps([numpy.__version__, threadpoolctl.threadpool_info()]))")
    ran = subprocess.run([sys.executable, "-c", script], env=CLEAN, capture_output=True,
                         text=True, check=True)
    numpy, pools = json.loads(ran.stdout)
    blas = ", ".join(f"{pool['internal_api']} {pool['version']}, kernel "
                     f"{pool.get('architecture', 'unknown')}" for pool in pools
                     if pool["user_api"] == "blas") or "BLAS unknown"
    versions = [f"Python {platform.python_version()}", f"NumPy {numpy} ({blas})"]
    torch = subprocess.run([sys.executable, "-c", "import torch; print(torch.__version__)"],
                           env=CLEAN, capture_output=True, text=True)
    if torch.returncode == 0:
        versions.append(f"PyTorch {torch.stdout.strip()}")
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return (f"{processor()}, {cores} cores, {platform.system()}; {', '.join(versions)}; "
            f"{threads} threads where a contender has such a setting.")


def processor() -> str:
    """The name of the processor, if the system provides it."""
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()
