"""How fast charrnn is, compared with alternatives and with the limit of the processor.

    python benchmarks/bench.py                 all sections, in about ten minutes
    python benchmarks/bench.py train sample    some sections

Each contender does the same work in its own process. They take turns, in several rounds; the
figures are medians, and a ratio is the median of the ratios of each round. Environment variables
that configure BLAS are cleared. Prints Markdown.
"""

from __future__ import annotations

import argparse
import importlib.util
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

import measure
from measure import Worker, environment, rounds

HERE = Path(__file__).parent
MISSING = "PyTorch is not installed, so its columns are empty; `make bench-peers` installs it."
V = 65  # symbols of the vocabulary, where a benchmark does not vary it


def with_torch() -> bool:
    return importlib.util.find_spec("torch") is not None


def table(*head: str) -> None:
    print("| " + " | ".join(head) + " |\n|" + "---|" * len(head))


def row(*cells: str) -> None:
    print("| " + " | ".join(cells) + " |", flush=True)


BLOCKS = {"rnn": 1, "gru": 3, "lstm": 4}  # blocks of H columns in the matrices of a cell


def flops(L: int, H: int, V: int, cell: str = "rnn") -> int:
    """FLOPs of training on one character: 6 per weight, except the first W_xh, a look-up."""
    return 6 * (BLOCKS[cell] * (2 * L - 1) * H * H + L * H * V)


def bound(threads: int) -> float:
    """GFLOP/s of the fastest matrix product."""
    shapes = [(2048, 2048, 2048, 1), (4096, 512, 512, 1), (32, 256, 64, 4), (32, 512, 32, 16)]
    best = 0.0
    with Worker("blas") as worker:
        for rows, inner, columns, blocks in shapes:
            worker.prepare("product", threads=threads, rows=rows, inner=inner, columns=columns,
                           blocks=blocks)
            best = max(best, *(worker.rate(0.5) for _ in range(5)))
    return best / 1e9


def train(threads: int, repeat: int) -> None:
    """Training steps"""
    torch = with_torch()
    limit = bound(threads)
    print(f"Bound: the fastest matrix product, {limit:.0f} GFLOP/s.\n")
    table("layers x H, B, T, V", "charrnn, chars/s", "GFLOP/s", "share of the bound",
          "PyTorch, chars/s", "ratio", "plain loop, chars/s", "ratio")
    works = [(1, 128, 50, 50, V), (1, 256, 64, 64, V), (1, 512, 64, 64, V), (1, 1024, 64, 64, V),
             (2, 256, 32, 64, V), (1, 100, 1, 25, V), (1, 256, 32, 64, 5000)]
    for L, H, B, T, symbols in works:
        names = ["charrnn", *["torch"] * torch, *["loop"] * (B == 1)]
        work = {"threads": threads, "L": L, "H": H, "B": B, "T": T, "V": symbols}
        rates = measure.alternate(dict.fromkeys(names, ("train", work)), repeat)
        ours = rates["charrnn"]
        speed = median(ours) * flops(L, H, symbols) / 1e9
        cells = [f"{L} x {H}, {B}, {T}, {symbols:,}", f"{median(ours):,.0f}", f"{speed:.0f}",
                 f"{speed / limit:.0%}"]
        for name in ("torch", "loop"):
            theirs = rates.get(name)
            cells += [f"{median(theirs):,.0f}", ratio(ours, theirs)] if theirs else ["", ""]
        row(*cells)
    work = {"threads": threads, "L": 2, "H": 256, "B": 64, "T": 32, "V": V}
    defaults = work | {"dropout": 0.02, "weight_decay": 0.1}
    ours = measure.alternate({"charrnn": ("train", defaults)}, repeat)["charrnn"]
    speed = median(ours) * flops(2, 256, V) / 1e9
    row("the defaults: 2 x 256, 64, 32, 65, with dropout and weight decay",
        f"{median(ours):,.0f}", f"{speed:.0f}", f"{speed / limit:.0%}", "", "", "", "")


def gates(threads: int, repeat: int) -> None:
    """Gated cells: training steps, and sampling one sequence"""
    torch = with_torch()
    limit = bound(threads)
    print(f"Bound: the fastest matrix product, {limit:.0f} GFLOP/s.\n")
    table("cell", "layers x H, B, T", "charrnn, chars/s", "GFLOP/s", "share of the bound",
          "PyTorch, chars/s", "ratio")
    for cell in ("gru", "lstm"):
        for H in (256, 512):
            work = {"threads": threads, "L": 1, "H": H, "B": 64, "T": 64, "V": V, "cell": cell}
            rates = measure.alternate(
                dict.fromkeys(["charrnn", *["torch"] * torch], ("train", work)), repeat)
            ours, theirs = rates["charrnn"], rates.get("torch")
            speed = median(ours) * flops(1, H, V, cell) / 1e9
            row(cell, f"1 x {H}, 64, 64", f"{median(ours):,.0f}", f"{speed:.0f}",
                f"{speed / limit:.0%}",
                *([f"{median(theirs):,.0f}", ratio(ours, theirs)] if theirs else ["", ""]))
    print()
    table("cell", "layers x H", "charrnn, chars/s", "its products alone", "share",
          "PyTorch (modules)", "ratio", "PyTorch (cells)", "ratio")
    for cell in BLOCKS:
        model = {"threads": threads, "L": 2, "H": 256, "V": V, "cell": cell}
        work = model | {"streams": 1}
        rates = measure.alternate({
            "charrnn": ("sample", work), "charrnn products": ("products", model),
        } | ({
            "torch": ("sample", work | {"cells": False}),
            "torch cells": ("sample", work | {"cells": True}),
        } if torch else {}), repeat)
        alone = rates["charrnn products"]
        share = median(a / b for a, b in zip(rates["charrnn"], alone, strict=True))
        cells = [cell, "2 x 256", f"{median(rates['charrnn']):,.0f}", f"{median(alone):,.0f}",
                 f"{share:.0%}"]
        for name in ("torch", "torch cells"):
            theirs = rates.get(name)
            cells += ([f"{median(theirs):,.0f}", ratio(rates["charrnn"], theirs)] if theirs
                      else ["", ""])
        row(*cells)


def products(threads: int, repeat: int) -> None:
    """Products of the loop over time, whole and in blocks"""
    table("rows x units", "whole, GFLOP/s", "in blocks, GFLOP/s", "ratio")
    with Worker("blas") as whole, Worker("blas") as split:
        for rows, units, width in ((25, 128, 128), (16, 256, 128), (32, 256, 64), (32, 384, 64),
                                   (32, 512, 32), (32, 1024, 16)):
            work = {"threads": 1, "rows": rows, "inner": units}
            whole.prepare("product", columns=units, blocks=1, **work)
            split.prepare("product", columns=width, blocks=units // width, **work)
            rates = rounds({"whole": whole.rate, "split": split.rate}, repeat)
            row(f"{rows} x {units}", *(f"{median(rate) / 1e9:.0f}" for rate in rates.values()),
                ratio(rates["split"], rates["whole"]))


def ratio(ours: list[float], theirs: list[float]) -> str:
    return f"{median(a / b for a, b in zip(ours, theirs, strict=True)):.2f}"


def whole(threads: int, repeat: int) -> None:
    """`charrnn train` compared with its bare training step"""
    table("2 x 256, B = 64, T = 32", "chars/s", "ratio")
    steps, chars = 300, 64 * 32
    with tempfile.TemporaryDirectory() as folder, Worker("charrnn") as worker:
        text = Path(folder, "text.txt")
        write_text(text, 1_000_000)
        worker.prepare("train", threads=threads, L=2, H=256, B=64, T=32, V=V, dropout=0.02,
                       weight_decay=0.1)

        def run(steps: int, *options: str) -> float:
            command = [measure.charrnn(), "train", str(text), "-o", str(Path(folder, "m.npz")),
                       "--overwrite", "--steps", str(steps), "--threads", str(threads),
                       "--eval-every", "150", *options]
            return measure.seconds(command, terminal=True)

        def difference(*options: str) -> float:
            """Chars/s of the extra steps of a run of 600 steps over one of 300."""
            return steps * chars / (run(2 * steps, *options) - run(steps, *options))

        bare, without, scored = [], [], []
        for _ in range(repeat):
            bare.append(worker.rate(2.0))
            without.append(difference("--val-fraction", "0"))
            scored.append(difference("--val-fraction", "0.03"))
    row("the bare step, in a loop", f"{median(bare):,.0f}", "")
    row("`charrnn train` without validation", f"{median(without):,.0f}", ratio(without, bare))
    row("`charrnn train`, validation on 3 % every 150 steps", f"{median(scored):,.0f}",
        ratio(scored, bare))


def write_text(path: Path, chars: int) -> None:
    """A text of random characters from V symbols, in which all of them occur."""
    import random

    symbols = [chr(32 + i) for i in range(V - 1)] + ["\n"]
    path.write_text("".join(symbols) + "".join(random.Random(1).choices(symbols, k=chars - V)))


def sample(threads: int, repeat: int) -> None:
    """Sampling, one sequence and many at once"""
    torch = with_torch()
    table("layers x H", "sequences", "charrnn, chars/s", "PyTorch (nn.RNN)", "ratio",
          "PyTorch (RNNCell)", "ratio")
    for L, H in ((2, 256), (1, 512)):
        one: list[float] = []
        for streams in (1, 64):
            work = {"threads": threads, "L": L, "H": H, "V": V, "streams": streams}
            rates = measure.alternate({"charrnn": ("sample", work)} | ({
                "torch": ("sample", work | {"cells": False}),
                "torch cells": ("sample", work | {"cells": True}),
            } if torch else {}), repeat)
            ours = rates["charrnn"]
            one = one or ours
            against = "" if streams == 1 else f" ({ratio(ours, one)} x one)"
            cells = [f"{L} x {H}", f"{streams}", f"{median(ours):,.0f}{against}"]
            for name in ("torch", "torch cells"):
                theirs = rates.get(name)
                cells += [f"{median(theirs):,.0f}", ratio(ours, theirs)] if theirs else ["", ""]
            row(*cells)


def score(threads: int, repeat: int) -> None:
    """Evaluation compared with training"""
    table("layers x H, B, T of training", "training, chars/s", "evaluation, chars/s", "ratio")
    for L, H, B, T in ((1, 128, 50, 50), (2, 256, 64, 32), (1, 512, 64, 64), (4, 384, 64, 32)):
        work = {"threads": threads, "L": L, "H": H, "V": V}
        rates = measure.alternate({
            "charrnn": ("train", work | {"B": B, "T": T}), "charrnn again": ("evaluate", work),
        }, repeat)
        training, scoring = rates["charrnn"], rates["charrnn again"]
        row(f"{L} x {H}, {B}, {T}", f"{median(training):,.0f}", f"{median(scoring):,.0f}",
            ratio(scoring, training))


def start(threads: int, repeat: int) -> None:
    """Startup time"""
    with tempfile.TemporaryDirectory() as folder:
        text, model = Path(folder, "text.txt"), Path(folder, "model.npz")
        write_text(text, 100_000)
        measure.seconds([measure.charrnn(), "train", str(text), "-o", str(model), "--steps", "1"])
        commands = {
            "`python -c pass`": [sys.executable, "-c", "pass"],
            '`python -c "import numpy"`': [sys.executable, "-c", "import numpy"],
            "`charrnn --help`": [measure.charrnn(), "--help"],
            "`charrnn sample --length 1`, a model of the default size":
                [measure.charrnn(), "sample", "-m", str(model), "--length", "1"],
        }
        for command in commands.values():
            measure.seconds(command)  # writes the compiled modules and warms the file cache
        times = rounds({name: lambda c=command: measure.seconds(c)
                        for name, command in commands.items()}, 3 * repeat)
    bare, numpy = (times[name] for name in list(commands)[:2])
    table("whole process", "ms", "more than `pass`, ms", "more than `import numpy`, ms")
    for name, took in times.items():
        more = [median(a - b for a, b in zip(took, other, strict=True)) for other in (bare, numpy)]
        row(name, f"{1e3 * median(took):.0f}", *(f"{1e3 * each:+.0f}" for each in more))


def read(threads: int, repeat: int) -> None:
    """Reading and encoding UTF-8"""
    table("characters of", "MB/s")
    scripts = {"1 byte (ASCII)": (32, 127), "2 bytes (Cyrillic)": (0x410, 0x450),
               "3 bytes (Chinese)": (0x4E00, 0x4E00 + 3000)}
    with tempfile.TemporaryDirectory() as folder, Worker("charrnn") as worker:
        for name, (first, last) in scripts.items():
            path = Path(folder, "text.txt")
            line = "".join(map(chr, range(first, last))) + "\n"
            text = line.encode()
            path.write_bytes(text * (50_000_000 // len(text)))
            worker.prepare("read", path=str(path))
            row(name, f"{median(worker.rate(0.5) for _ in range(repeat)) / 1e6:.0f}")


def memory(threads: int, repeat: int) -> None:
    """Memory of training"""
    table("characters", "peak memory, MB", "peak less one byte per character, MB")
    with tempfile.TemporaryDirectory() as folder:
        for chars in (10**6, 10**7, 10**8):
            path = Path(folder, "text.txt")
            write_text(path, 10**6)
            path.write_text(path.read_text() * (chars // 10**6))
            command = [measure.charrnn(), "train", str(path), "-o", str(Path(folder, "m.npz")),
                       "--overwrite", "--steps", "20", "--val-fraction", "0.001"]
            peak = measure.peak_memory(command) / 1e6
            row(f"{chars:,}", f"{peak:.0f}", f"{peak - chars / 1e6:.0f}")


def flat(threads: int, repeat: int) -> None:
    """Cost per character when the work grows tenfold"""
    table("what grows", "from", "to", "microseconds per character at first", "then", "ratio")
    base = {"threads": threads, "L": 1, "H": 256, "B": 32, "T": 32, "V": V, "chars": 1_000_000}
    for name, letter, first in (
        ("T, steps of a window", "T", 32), ("B, sequences of the batch", "B", 32),
        ("n, characters of the text", "chars", 1_000_000),
        ("L, layers (the ratio is of the cost per weight)", "L", 1),
    ):
        works = {"charrnn": base | {letter: first}, "charrnn again": base | {letter: 10 * first}}
        rates = measure.alternate({key: ("train", work) for key, work in works.items()}, repeat)
        few, many = ([1e6 / rate for rate in rates[key]] for key in works)
        weights = flops(10, 256, V) / flops(1, 256, V) if letter == "L" else 1
        row(name, f"{first:,}", f"{10 * first:,}", f"{median(few):.2f}", f"{median(many):.2f}",
            ratio([each / weights for each in many], few))


SECTIONS = {
    "train": train, "gates": gates, "products": products, "whole": whole, "sample": sample,
    "eval": score, "start": start, "read": read, "memory": memory, "flat": flat,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("sections", nargs="*", metavar="SECTION",
                        help=f"some of {', '.join(SECTIONS)}; all of them by default")
    parser.add_argument("--repeat", type=int, default=7, help="rounds (default: 7)")
    parser.add_argument("--threads", type=int, default=2,
                        help="threads of every contender (default: 2)")
    args = parser.parse_args()
    if unknown := set(args.sections) - set(SECTIONS):
        parser.error(f"no section {', '.join(sorted(unknown))}; there are {', '.join(SECTIONS)}")
    start_time = time.perf_counter()
    print(environment(args.threads), flush=True)
    if not with_torch():
        print(f"\n{MISSING}")
    for name in args.sections or SECTIONS:
        print(f"\n## {SECTIONS[name].__doc__}\n", flush=True)
        SECTIONS[name](args.threads, args.repeat)
    print(f"\n{args.repeat} rounds, {(time.perf_counter() - start_time) / 60:.0f} minutes.")


if __name__ == "__main__":
    main()
