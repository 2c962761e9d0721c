"""Mutation testing of the numerics: change one place at a time, and expect a test to fail.

    python tests/mutants.py                        all mutants, as make mutants does
    python tests/mutants.py nn/network.backward    those of a function or a module
    python tests/mutants.py --list                 list the mutants

In the functions of TARGETS, each mutant flips a sign, drops a term or a call without a used result,
increments a number (also an index), or changes an operator, a comparison, a function or a
transpose. It is run in a copy of the project against the tests of its module until one fails.
EQUIVALENT lists the mutants that behave like the original, with the reason. Exits with 1 if any
other mutant survives.
"""

from __future__ import annotations

import argparse
import ast
import copy
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).parent.parent
TIMEOUT = 300  # seconds; a mutant that hangs counts as detected

# The functions and classes that compute, and the tests that must fail, the fastest ones first.
TARGETS = {
    "nn/network": (
        ["forward", "backward", "add_by_symbol", "Activations"],
        ["nn/test_network.py", "nn/test_cells.py", "inference/test_sampling.py", "training"],
    ),
    "nn/cells/rnn": (
        ["slope_of_tanh", "relu", "slope_of_relu", "Rnn", "orthogonal"],
        ["nn/test_rnn.py", "nn/test_network.py", "nn/test_cells.py", "nn", "training"],
    ),
    "nn/cells/gates": (["initialize_gates", "scales", "sigmoid_from_tanh"],
                       ["nn/test_gates.py"]),
    "nn/cells/gru": (["Gru"], ["nn/test_gates.py", "nn/test_cells.py"]),
    "nn/cells/lstm": (["Lstm", "times_slope_of_sigmoid"],
                      ["nn/test_gates.py", "nn/test_cells.py"]),
    "nn/stepper": (["Stepper"], ["nn/test_stepper.py", "nn/test_cells.py", "inference"]),
    "nn/loss": (["cross_entropy", "surprisal"], ["nn", "training"]),
    "nn/parameters": (["Architecture", "Parameters", "initialize"], ["nn", "training"]),
    "nn/matmul": (["repeated_product", "sum_of_products", "block_width"], ["nn"]),
    "nn/optimizers": (
        ["adam", "rmsprop", "adagrad", "sgd", "norm", "clip", "learning_rate"],
        ["nn/test_optimizers.py", "training"],
    ),
    "nn/rng": (["generator", "uniform_rows"], ["nn/test_rng.py", "training"]),
    "text/split": (["DocumentStarts", "whole", "split", "training_size"],
                   ["text", "training", "cli/test_eval.py"]),
    "text/batches": (["Batches"], ["text", "training"]),
    "training/step": (["TrainingStep", "epoch_offset"], ["training"]),
    "training/processes": (["ProcessGroup", "_sum"], ["training"]),
    "training/validation": (["score_together"], ["training"]),
    "inference/scoring": (
        ["score", "total", "score_blocks", "score_stream", "_score_block", "score_lines"],
        ["inference", "training", "cli"],
    ),
    "inference/ensemble": (["Ensemble", "reader", "stepper", "log_mean"],
                           ["inference/test_ensemble.py"]),
    "inference/sampling": (["choose", "PrimeReader"], ["inference/test_sampling.py"]),
    "analysis/diagnostics": (
        ["trace", "most_likely", "hardest", "worst"], ["analysis/test_diagnostics.py"],
    ),
    "analysis/reach": (["reach"], ["analysis/test_reach.py"]),
    "inference/dynamic": (
        ["evaluate", "update"], ["inference/test_dynamic.py", "nn/test_cells.py"],
    ),
}

# Mutants that behave like the original, as "module.function: the change, in the source line".
EQUIVALENT: dict[str, str] = {
    (
        "inference/sampling.PrimeReader: len(self.waiting) >= WINDOW another comparison, in "
        "while len(self.waiting) >= WINDOW:"
    ): "finish reads the last window",
    (
        "inference/sampling.PrimeReader: 1 one more, in self.read_window = "
        "reader(network, WINDOW, 1)"
    ): "memory that is not used",
    "inference/sampling.choose: top_p < 1 another comparison, in if top_p < 1:":
        "at 1 the branch drops no symbol",
    (
        "inference/sampling.choose: np.count_nonzero(others) < len(logits) * (logits.shape[1]"
        " - top_k) another comparison, in if np.count_nonzero(others) < len(logits) * "
        "(logits.shape[1] - top_k):  # there are ties"
    ): "without ties the branch changes nothing",
    "inference/sampling.choose: 1 one more, in if top_p < 1:":
        "at 1 the branch drops no symbol",
    (
        "inference/sampling.choose: logits.shape[1] - top_k another operator, in if "
        "np.count_nonzero(others) < len(logits) * (logits.shape[1] - top_k):  # there are "
        "ties"
    ): "without ties the branch changes nothing",
    (
        "inference/sampling.choose: logits.shape[1] - top_k without its second term, in if "
        "np.count_nonzero(others) < len(logits) * (logits.shape[1] - top_k):  # there are "
        "ties"
    ): "without ties the branch changes nothing",
    (
        "analysis/diagnostics.trace: max another function, in rows = max(WINDOW, AT_ONCE // "
        "arch.vocabulary_size)"
    ): "blocks of another size give the same result",
    (
        "analysis/diagnostics.trace: AT_ONCE // arch.vocabulary_size another operator, in "
        "rows = max(WINDOW, AT_ONCE // arch.vocabulary_size)"
    ): "blocks of another size give the same result",
    (
        "analysis/diagnostics.trace: filled + len(z) > len(logits) another comparison, in if "
        "filled + len(z) > len(logits):"
    ): "blocks of another size give the same result",
    (
        "analysis/diagnostics.trace: 1 one more, in activations, state = Activations(arch, "
        "WINDOW, 1), params.zero_state(1)"
    ): "memory that is not used",
    (
        "analysis/diagnostics.trace: min another function, in logits, filled = "
        "np.empty((min(rows, len(ids)), arch.vocabulary_size), arch.dtype), 0"
    ): "blocks of another size give the same result",
    (
        "analysis/diagnostics.trace: 0 one more, in summaries.append(_summarize("
        "logits[:filled], ids, max(0, t + 1 - first) - filled))"
    ): "blocks of another size give the same result",
    (
        "analysis/diagnostics.hardest: 12 one more, in def hardest(trace: Trace, top: int = "
        "12) -> list[tuple[int, float, int]]:"
    ): "how much is shown is a choice",
    (
        "analysis/diagnostics.worst: 10 one more, in def worst(trace: Trace, top: int = 10, "
        "apart: int = 40) -> list[int]:"
    ): "how much is shown is a choice",
    (
        "analysis/diagnostics.worst: 40 one more, in def worst(trace: Trace, top: int = 10, "
        "apart: int = 40) -> list[int]:"
    ): "how much is shown is a choice",
    (
        "analysis/reach.reach: params.arch.vocabulary_size > LARGE another comparison, "
        "in narrow = params.arch.vocabulary_size > LARGE"
    ): "both branches give the same result; the threshold only saves memory",
    (
        "analysis/reach.reach: 1 one more, in forward(params, passages[:-1], "
        "params.zero_state(PLACES), activations)"
    ): "the state after the last step is not used",
    "nn/network.Activations: 0 one more, in self.arch, self._shape = arch, (0, 0)":
        "no window has the other shape either",
    (
        "nn/network.forward: 1 one more, in states[:, 0] = state.reshape(B, cell.n_states, "
        "-1).swapaxes(0, 1)"
    ): "NumPy infers a dimension for any negative size",
    (
        "nn/network.backward: 1 one more, in before = np.where(reset.reshape(-1, 1), 0, "
        "before)"
    ): "NumPy infers a dimension for any negative size",
    (
        "nn/cells/rnn.orthogonal: q * np.sign(np.diag(r)) another operator, in W: ndarray = q "
        "* np.sign(np.diag(r))"
    ): "a sign is its own inverse",
    (
        "nn/stepper.Stepper: 1 one more, in carried = state.reshape(B, cell.n_states, "
        "-1).swapaxes(0, 1)"
    ): "NumPy infers a dimension for any negative size",
    "training/step.epoch_offset: 1 one more, in @functools.lru_cache(maxsize=1)":
        "a larger cache gives the same results",
    "nn/network.backward: 0 one more, in dstate: ndarray = np.empty_like(states[:, 0])":
        "every row has the same shape",
    (
        "nn/network.add_by_symbol: V <= 128 another comparison, in if V <= 128:"
        "  # a small product is faster than sorting; measured at B*T = 2048"
    ): "both branches give the same result; the threshold only saves time",
    (
        "nn/network.add_by_symbol: 128 one more, in if V <= 128:  # a small product is"
        " faster than sorting; measured at B*T = 2048"
    ): "both branches give the same result; the threshold only saves time",
    (
        "nn/stepper.Stepper: 2 one more, in above = slice(layer + 1, layer + 2)  # empty for "
        "the top layer"
    ): "a wider product, of which the same columns are used",
    (
        "nn/matmul.block_width: 1 one more, in return min(range(widest, narrowest - 1, "
        "-REGISTER), key=lambda width: -K % width)"
    ): "there is no multiple of a register between the two ends",
    "nn/optimizers.clip: length > clip_norm another comparison, in if length > clip_norm:":
        "a gradient of exactly that norm is multiplied by 1",
    (
        "nn/optimizers.clip: clip_value > 0 another comparison, in length = norm(grad) if "
        "clip_value > 0 else before"
    ): "the norm is computed again with the same result",
    (
        "nn/optimizers.learning_rate: 1 one more, in done = (step - 1 - warmup) / max(1, "
        "total_steps - warmup)"
    ): "the numerator is 0 there",
    "nn/rng.uniform_rows: 1 one more, in chosen: ndarray = draws[before:].reshape(-1, width)":
        "NumPy infers a dimension for any negative size",
    (
        "text/split.default_fraction: 1 one more, in return min(0.1, LARGEST_VALIDATION "
        "/ max(1, size))"
    ): "the result is a tenth in both cases",
    "training/step.TrainingStep: 0 one more, in if p == 0:":
        "a mask of ones, which only costs time",
    "training/step.TrainingStep: b - a another operator, in widest = max(b - a for a, b in edges)":
        "activations with more memory than is used",
    (
        "training/step.TrainingStep: b - a without its second term, in widest = max(b - a for"
        " a, b in edges)"
    ): "activations with more memory than is used",
    (
        "training/step.TrainingStep: 16 one more, in width = -(-(arch.size + TAIL) // 16) * "
        "16  # whole cache lines"
    ): "memory that is not used",
    (
        "training/step.TrainingStep: -(arch.size + TAIL) // 16 another operator, in width = "
        "-(-(arch.size + TAIL) // 16) * 16  # whole cache lines"
    ): "memory that is not used",
    (
        "training/step.TrainingStep: draws >= p another comparison, in return ((draws >= p) /"
        " (1 - p)).astype(arch.dtype)"
    ): "a draw of exactly p, one in 16 million",
    (
        "inference/dynamic.evaluate: 1 one more, in activations, grad = Activations(arch, "
        "CONTEXT, 1), Parameters(arch)"
    ): "activations with more memory than is used",
}

OPERATORS = {ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult,
             ast.FloorDiv: ast.Mult, ast.Mod: ast.Mult, ast.Pow: ast.Mult}
COMPARISONS = {ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt,
               ast.Eq: ast.NotEq, ast.NotEq: ast.Eq}
FUNCTIONS = {"add": "subtract", "subtract": "add", "multiply": "divide", "divide": "multiply",
             "maximum": "minimum", "minimum": "maximum", "greater": "less", "tanh": "sin",
             "exp": "exp2", "log": "log2", "sqrt": "square", "min": "max", "max": "min"}


def changes(node: ast.AST) -> Iterator[tuple[str, ast.AST]]:
    """The mutations of a node, each with a description."""
    if isinstance(node, ast.BinOp | ast.AugAssign) and type(node.op) in OPERATORS:
        other = copy.deepcopy(node)
        other.op = OPERATORS[type(node.op)]()
        yield "another operator", other
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add | ast.Sub):
        yield "without its second term", node.left
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        yield "another sign", node.operand
    if isinstance(node, ast.AugAssign) or (
        isinstance(node, ast.Expr) and isinstance(node.value, ast.Call)
    ):
        yield "dropped", ast.Pass()
    if isinstance(node, ast.Constant) and type(node.value) in (int, float):
        yield "one more", ast.Constant(node.value + 1)
    if isinstance(node, ast.Compare) and len(node.ops) == 1 and type(node.ops[0]) in COMPARISONS:
        other = copy.deepcopy(node)
        other.ops = [COMPARISONS[type(node.ops[0])]()]
        yield "another comparison", other
    if isinstance(node, ast.Attribute) and node.attr == "T":
        yield "not transposed", node.value
    if isinstance(node, ast.Attribute) and node.attr in FUNCTIONS:
        other = copy.deepcopy(node)
        other.attr = FUNCTIONS[node.attr]
        yield "another function", other
    if isinstance(node, ast.Name) and node.id in ("min", "max"):
        yield "another function", ast.Name(FUNCTIONS[node.id], node.ctx)
    if isinstance(node, ast.Call) and ast.unparse(node.func) == "reversed":
        yield "not reversed", node.args[0]


class Replace(ast.NodeTransformer):
    def __init__(self, target: ast.AST, other: ast.AST) -> None:
        self.target, self.other = target, other

    def visit(self, node: ast.AST) -> ast.AST:
        if node is self.target:
            return ast.copy_location(self.other, node)
        return self.generic_visit(node)


def mutants(module: str) -> Iterator[tuple[str, str]]:
    """The mutants of a module: a description and the mutated source."""
    source = (ROOT / "charrnn" / f"{module}.py").read_text()
    tree = ast.parse(source)
    for item in tree.body:
        if getattr(item, "name", None) not in TARGETS[module][0]:
            continue
        hidden = {id(part) for annotation in annotations(item) for part in ast.walk(annotation)}
        for node in ast.walk(item):
            if id(node) in hidden:
                continue
            for what, other in changes(node):
                line = source.splitlines()[node.lineno - 1].strip()
                name = f"{module}.{item.name}: {ast.unparse(node)} {what}, in {line}"
                mutated = Replace(node, other).visit(copy_but(tree, node))
                yield name, ast.unparse(ast.fix_missing_locations(mutated))


def annotations(item: ast.AST) -> Iterator[ast.AST]:
    """The type annotations in ``item``, which are not mutated."""
    for node in ast.walk(item):
        for annotation in (getattr(node, "annotation", None), getattr(node, "returns", None)):
            if annotation is not None:
                yield annotation


def copy_but(tree: ast.AST, kept: ast.AST) -> ast.AST:
    """A copy of a tree that shares one node, so that the node can be found in it."""
    return copy.deepcopy(tree, {id(kept): kept})


def survives(name: str, source: str, workplace: Path) -> bool:
    """Whether all tests pass with this source in place of the module's."""
    module = name.partition(".")[0]
    path = workplace / "charrnn" / f"{module}.py"
    original = path.read_text()
    path.write_text(source)
    environment = dict(os.environ, PYTHONPATH=str(workplace), PYTHONDONTWRITEBYTECODE="1",
                       OPENBLAS_NUM_THREADS="1")
    try:
        for test in TARGETS[module][1]:
            command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider",
                       "-m", "not slow and not mpi", f"tests/{test}"]
            ran = subprocess.run(command, cwd=workplace, env=environment, timeout=TIMEOUT,
                                 stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            if ran.returncode != 0:
                return False
        return True
    except subprocess.TimeoutExpired:
        return False
    finally:
        path.write_text(original)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("only", nargs="*", help="modules, or functions as MODULE.FUNCTION")
    parser.add_argument("--list", action="store_true", help="list the mutants and exit")
    args = parser.parse_args()
    work = [(name, source) for module in TARGETS for name, source in mutants(module)
            if not args.only or any(name.startswith((f"{only}.", f"{only}:"))
                                    for only in args.only)]
    if args.list:
        print("\n".join(name for name, _ in work))
        return
    start, threads = time.monotonic(), os.cpu_count() or 1
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(threads) as pool:
        free = []
        for number in range(threads):
            free.append(Path(folder, str(number)))
            shutil.copytree(ROOT, free[-1], ignore=shutil.ignore_patterns(
                ".*", "*.egg-info", "checkpoints", "__pycache__"))

        def run(mutant: tuple[str, str]) -> tuple[str, bool]:
            workplace = free.pop()
            try:
                return mutant[0], survives(*mutant, workplace)
            finally:
                free.append(workplace)

        survivors = []
        for number, (name, survived) in enumerate(pool.map(run, work), start=1):
            if survived:
                survivors.append(name)
                print("survives" if name not in EQUIVALENT else "equivalent", name, flush=True)
            elif number % 50 == 0:
                print(f"{number} of {len(work)}", flush=True)
    unknown = [name for name in survivors if name not in EQUIVALENT]
    print(f"{len(work)} mutants, {len(work) - len(survivors)} detected, "
          f"{len(survivors) - len(unknown)} equivalent, {len(unknown)} not detected; "
          f"{(time.monotonic() - start) / 60:.0f} minutes")
    sys.exit(1 if unknown else 0)


if __name__ == "__main__":
    main()
