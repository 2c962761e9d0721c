"""Create the texts that do not ship: ``python corpora/make.py NAME FILE``.

Uses only the standard library, so that it runs before anything is installed. A text is written
to a temporary file, which is renamed when it is complete.
"""

from __future__ import annotations

import argparse
import hashlib
import math
import random
import sys
import sysconfig
import urllib.request
from collections.abc import Iterator
from pathlib import Path

PYTHON_BYTES = 2_000_000
SHAKESPEARE_SHA256 = "86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed"

# Reber 1967, as in Cleeremans et al. 1989: two transitions from each state, equally probable.
REBER: dict[int, list[tuple[str, int]]] = {
    0: [("T", 1), ("P", 2)],
    1: [("S", 1), ("X", 3)],
    2: [("T", 2), ("V", 4)],
    3: [("X", 2), ("S", 5)],
    4: [("P", 3), ("V", 5)],
}
REBER_END = 5

# Strings to recall: a cue, so many random letters, a colon, and the cue again.
DISTANCES = (20, 50, 100)
CUES, LETTERS = "ABCDEFGHIJKLMNOP", "abcdefgh"


def python_library() -> bytes:
    """The first 2 MB of the standard library's modules, in the order of their paths."""
    library = Path(sysconfig.get_paths()["stdlib"])
    left_out = {"site-packages", "test", "tests", "idle_test", "__pycache__", "lib2to3"}
    parts: list[bytes] = []
    size = 0
    for path in sorted(library.rglob("*.py"), key=lambda p: p.relative_to(library).as_posix()):
        if left_out.intersection(path.relative_to(library).parts):
            continue
        source = path.read_bytes().replace(b"\r\n", b"\n")
        try:
            source.decode("utf-8")
        except UnicodeDecodeError:
            continue
        parts.append(source)
        size += len(source)
        if size >= PYTHON_BYTES:
            break
    # The last character is left out if the limit divides it.
    text = b"".join(parts)[:PYTHON_BYTES].decode("utf-8", "ignore").encode()
    if not text:
        sys.exit(f"make: {library} contains no Python files")
    return text


def reber_string(rng: random.Random) -> str:
    """One string of the grammar, from B to E."""
    state, letters = 0, ["B"]
    while state != REBER_END:
        letter, state = rng.choice(REBER[state])
        letters.append(letter)
    return "".join([*letters, "E"])


def embedded_string(rng: random.Random) -> str:
    """A string of the plain grammar between two equal letters, T or P."""
    outer = rng.choice("TP")
    return f"B{outer}{reber_string(rng)}{outer}E"


def bits(string: str, embedded: bool) -> int:
    """-log2 of the string's probability: one bit for each choice.

    Each letter between the B and E of the plain string is one choice. An embedded string has
    one more: of the four letters around the plain string, one is a choice.
    """
    return len(string) - 5 if embedded else len(string) - 2


def strings(embedded: bool, count: int, seed: int) -> Iterator[str]:
    """``count`` strings, the same for the same seed."""
    rng = random.Random(seed)
    for _ in range(count):
        yield embedded_string(rng) if embedded else reber_string(rng)


def recall_strings(count: int, seed: int) -> Iterator[str]:
    """``count`` strings that end with their first character, the same for the same seed."""
    rng = random.Random(seed)
    for _ in range(count):
        cue, distance = rng.choice(CUES), rng.choice(DISTANCES)
        yield f"{cue}{''.join(rng.choices(LETTERS, k=distance))}:{cue}"


def recall_bits(string: str) -> float:
    """-log2 of the string's probability: of the cue, the distance and the letters between."""
    letters = len(string) - 3
    return math.log2(len(CUES)) + math.log2(len(DISTANCES)) + letters * math.log2(len(LETTERS))


def shakespeare(url: str) -> bytes:
    """The text at ``url``; exits if it is not the expected one."""
    try:
        with urllib.request.urlopen(url, timeout=60) as answer:
            text: bytes = answer.read()
    except (OSError, ValueError) as error:
        sys.exit(f"make: {url} cannot be fetched ({error}): connect to a network, or set "
                 "another location with make SHAKESPEARE_URL=file:///...")
    digest = hashlib.sha256(text).hexdigest()
    if digest != SHAKESPEARE_SHA256:
        sys.exit(f"make: {url} is not the expected text: its SHA-256 is {digest}, "
                 f"not {SHAKESPEARE_SHA256}")
    return text


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "name", choices=["python", "reber", "embedded_reber", "recall", "shakespeare"])
    parser.add_argument("file", type=Path)
    parser.add_argument("url", nargs="?", default="", help="location of shakespeare")
    parser.add_argument("--count", type=int, default=20_000, help="of strings (default 20,000)")
    parser.add_argument("--seed", type=int, default=1, help="seed of the strings (default 1)")
    args = parser.parse_args()
    note = ""
    if args.name == "python":
        text = python_library()
    elif args.name == "shakespeare":
        text = shakespeare(args.url)
    else:
        if args.count < 1:
            sys.exit(f"make: --count is {args.count}; it must be at least 1")
        if args.name == "recall":
            lines = list(recall_strings(args.count, args.seed))
            total = sum(map(recall_bits, lines))
        else:
            embedded = args.name == "embedded_reber"
            lines = list(strings(embedded, args.count, args.seed))
            total = sum(bits(line, embedded) for line in lines)
        text = "".join(f"{line}\n" for line in lines).encode()
        entropy = total / max(1, len(text))
        note = f", {entropy:.5f} bits/char by the grammar itself"
    args.file.parent.mkdir(parents=True, exist_ok=True)
    aside = args.file.with_name(args.file.name + ".part")
    aside.write_bytes(text)
    aside.replace(args.file)
    print(f"{args.file}: {len(text):,} bytes{note}", file=sys.stderr)


if __name__ == "__main__":
    main()
