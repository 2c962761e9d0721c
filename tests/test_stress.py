"""Stress tests: mutated checkpoints, killed runs, failing system calls, random command lines.

`make test` runs a few attempts of each test, `make test-slow` all of them. All random numbers are
seeded, so that failures can be reproduced. docs/reliability.md lists these tests.
"""

from __future__ import annotations

import builtins
import contextlib
import errno
import io
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from commands import COMMAND, ENVIRONMENT, TINY
from examples import a_checkpoint, same
from forging import put, with_meta

from charrnn.cli.main import cli
from charrnn.config.settings import Config
from charrnn.errors import CharrnnError, CheckpointError
from charrnn.storage import checkpoint
from charrnn.system import files

TEXT = "Was ist das? Ein Rabe, der spricht: nimmermehr!\n" * 80


def some_or_all(few, many):
    """The number of attempts, ``few`` in `make test` and ``many`` in `make test-slow`."""
    return pytest.mark.parametrize("attempts", [
        few, pytest.param(many, marks=pytest.mark.slow),
    ])


def mutated(data, rng):
    """The bytes after one to four random mutations, as by disks, copies and people."""
    data = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 4))):
        a, b = sorted(rng.randrange(len(data) + 1) for _ in range(2))
        b = min(b, a + rng.choice((1, 4, 64, 4096)))
        what = rng.randrange(9)
        if what == 0:
            data[a:b] = bytes(b - a)
        elif what == 1:
            data[a:b] = rng.randbytes(b - a)
        elif what == 2:
            del data[a:b]
        elif what == 3:
            data[a:a] = data[a:b]
        elif what == 4:
            del data[a:]
        elif what == 5 and a < len(data):
            data[a] ^= 1 << rng.randrange(8)
        elif what == 6 and a < len(data):
            data[a] = rng.choice((0, 1, 127, 128, 255))
        elif what == 7:
            number = rng.choice((0, 1, 2**15, 2**16 - 1, 2**31, 2**32 - 1, 2**63))
            data[a : a + 4] = (number % 2**32).to_bytes(4, "little")
        else:
            data[a:b] = reversed(data[a:b])
        if not data:
            break
    return bytes(data)


@some_or_all(2_000, 60_000)
def test_a_mutated_checkpoint_is_refused_or_unchanged(tmp_path, attempts):
    path, rng = tmp_path / "run.npz", random.Random(1)
    checkpoint.save(path, a_checkpoint())
    written = path.read_bytes()
    refused = 0
    for _ in range(attempts):
        data = mutated(written, rng)
        path.write_bytes(data)
        try:
            found = checkpoint.load(path)
        except CheckpointError as error:
            assert "\n" not in str(error)
            refused += data != written
            continue
        assert data == written
        same(found, a_checkpoint())
    assert refused > 0.9 * attempts


@some_or_all(1_000, 60_000)
def test_a_mutated_checkpoint_with_a_valid_digest_is_refused_or_a_valid_run(
    tmp_path, reseal, attempts
):
    path, rng = tmp_path / "run.npz", random.Random(2)
    checkpoint.save(path, a_checkpoint())
    written = path.read_bytes()
    shapes = {name: array.shape for name, array in a_checkpoint().best.named.items()}
    refused = 0
    for _ in range(attempts):
        path.write_bytes(reseal(mutated(written, rng)))
        try:
            found = checkpoint.load(path)
        except CheckpointError as error:
            assert "\n" not in str(error)
            refused += 1
            continue
        # With a valid digest a mutation may change a number, but the result must be a valid run.
        assert {name: array.shape for name, array in found.best.named.items()} == shapes
        for array in (found.best.flat, found.last.flat, found.moments, found.state):
            assert np.isfinite(array).all()
        assert Config(**found.settings)
        checkpoint.save(tmp_path / "again.npz", found)
        same(checkpoint.load(tmp_path / "again.npz"), found)
    assert refused > 0.5 * attempts


class Disk:
    """Counts the system calls of ``files.replacing``, and makes number ``fail_at`` fail."""

    def __init__(self, monkeypatch, fail_at, error):
        self.calls, self.fail_at, self.error = 0, fail_at, error
        for name in ("open", "fsync", "replace", "close", "unlink"):
            monkeypatch.setattr(os, name, self.counted(getattr(os, name)))
        monkeypatch.setattr(files, "open", self.opened, raising=False)

    def counted(self, call):
        def counting(*args, **kwargs):
            self.calls += 1
            if self.calls == self.fail_at:
                raise OSError(self.error, os.strerror(self.error))
            return call(*args, **kwargs)

        return counting

    def opened(self, path, mode):
        file = self.counted(builtins.open)(path, mode, buffering=0)
        raw = self

        class Raw(io.RawIOBase):
            """An unbuffered file whose every call is counted."""

            def write(self, data):
                return raw.counted(file.write)(data)

            def readinto(self, buffer):
                return raw.counted(file.readinto)(buffer)

            def seek(self, *where):
                return raw.counted(file.seek)(*where)

            def close(self):
                if not self.closed:
                    super().close()
                    file.close()
                    raw.counted(lambda: None)()

            def fileno(self):
                return file.fileno()

            def readable(self):
                return True

            writable = seekable = readable

        return io.BufferedRandom(Raw(), 512)


@pytest.mark.parametrize("error", [errno.ENOSPC, errno.EIO, errno.EINTR, errno.EDQUOT])
def test_whichever_system_call_fails_the_file_is_the_old_one_or_the_new_one(
    tmp_path, monkeypatch, error
):
    path, old, new = tmp_path / "run.npz", a_checkpoint(), a_checkpoint(seed=1)
    checkpoint.save(path, new)
    after = path.read_bytes()
    checkpoint.save(path, old)
    before = path.read_bytes()
    refused, fail_at = 0, 0
    while True:
        fail_at += 1
        path.write_bytes(before)
        with monkeypatch.context() as patched:
            disk, message = Disk(patched, fail_at, error), None
            try:
                checkpoint.save(path, new)
            except CharrnnError as refusal:
                message = str(refusal)
        if message:
            refused += 1
            assert "cannot be written" in message
            assert ("is kept" in message) == (path.read_bytes() == before)
            assert path.read_bytes() in (before, after)
        else:  # no call failed, or one whose failure does not matter
            same(checkpoint.load(path), new)
        assert os.listdir(tmp_path) == ["run.npz"]
        if disk.calls < fail_at:
            break
    assert refused > 20


@pytest.mark.skipif(os.name != "posix" or os.geteuid() != 0, reason="only root may mount")
def test_on_a_full_disk_the_old_file_is_kept(tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=40k", "tmpfs", str(disk)],
                             capture_output=True)
    if mounted.returncode:
        pytest.skip("this root may not mount")
    try:
        checkpoint.save(disk / "run.npz", a_checkpoint())
        written = (disk / "run.npz").read_bytes()
        (disk / "filler").write_bytes(bytes(40 * 1024 - 3 * 4096 - len(written) // 4096 * 4096))
        with pytest.raises(CharrnnError, match=r"No space left.*is kept"):
            for seed in range(1, 4):
                with open(disk / f"filler{seed}", "wb", buffering=0) as filler:
                    while filler.write(bytes(4096)) == 4096:
                        pass
                checkpoint.save(disk / "run.npz", a_checkpoint(seed=seed))
    except OSError as error:  # the filler filled the disk
        assert error.errno == errno.ENOSPC
        with pytest.raises(CharrnnError, match=r"No space left.*is kept"):
            checkpoint.save(disk / "run.npz", a_checkpoint(seed=9))
    finally:
        assert (disk / "run.npz").read_bytes() == written
        assert not [name for name in os.listdir(disk) if name.endswith("tmp")]
        subprocess.run(["umount", str(disk)], check=True)


@some_or_all(4, 200)
def test_a_run_killed_at_random_moments_resumes_to_the_same_bytes(tmp_path, attempts):
    (tmp_path / "a.txt").write_text(TEXT)
    steps = 6 * attempts
    train = ["train", "a.txt", *TINY, "--steps", str(steps), "--dropout", "0.2",
             "--save-every", "1", "--eval-every", "7", "--threads", "1"]

    def ran(*more):
        return subprocess.run([*COMMAND, *train, *more], cwd=tmp_path, capture_output=True,
                              timeout=120, env=ENVIRONMENT)

    assert ran("-o", "whole.npz").returncode == 0
    rng, path, killed = random.Random(3), tmp_path / "parts.npz", 0
    for _ in range(attempts):
        process = subprocess.Popen([*COMMAND, *train, "-o", path.name, "--json"], cwd=tmp_path,
                                   stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                                   env=ENVIRONMENT)
        process.stdout.readline()  # the run has started
        time.sleep(rng.random() * 0.05)
        process.kill()
        process.communicate()
        killed += process.returncode == -signal.SIGKILL
        if path.exists():
            checkpoint.load(path)
    last = ran("-o", path.name)
    assert last.returncode == 0, last.stderr
    assert killed > attempts / 2
    assert path.read_bytes() == (tmp_path / "whole.npz").read_bytes()
    assert sorted(os.listdir(tmp_path)) == ["a.txt", "parts.npz", "whole.npz"]


def test_loading_while_a_run_saves_never_reads_a_partial_file(tmp_path):
    (tmp_path / "a.txt").write_text(TEXT)
    train = ["train", "a.txt", *TINY, "--steps", "1000000", "--save-every", "1", "-o", "a.npz"]
    with subprocess.Popen([*COMMAND, *train, "--json"], cwd=tmp_path, stdout=subprocess.PIPE,
                          stderr=subprocess.DEVNULL, env=ENVIRONMENT) as process:
        while b'"save"' not in process.stdout.readline():
            pass
        import threading

        threading.Thread(target=process.stdout.read, daemon=True).start()
        steps = set()
        for _ in range(300):
            steps.add(checkpoint.load(tmp_path / "a.npz").progress.step)
        process.kill()
    assert len(steps) > 10


LOAD = """
import sys, time
from pathlib import Path
from charrnn.errors import CharrnnError
from charrnn.storage import checkpoint
for path in sys.argv[1:]:
    start = time.perf_counter()
    try:
        checkpoint.load(Path(path))
    except CharrnnError as error:
        assert error.exit_code == 1 and "\\n" not in str(error), error
    else:
        raise SystemExit(f"{path} was read")
    peak = Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()[0]
    print(time.perf_counter() - start, int(peak) * 1024)
"""


def malicious_files(folder, reseal, forge):
    """Files from an attacker who knows the format: to use up memory or time, or to run code."""
    import pickle
    import zipfile

    checkpoint.save(folder / "good.npz", a_checkpoint())
    written = (folder / "good.npz").read_bytes()
    members = [(info.filename, zipfile.ZipFile(io.BytesIO(written)).read(info))
               for info in zipfile.ZipFile(io.BytesIO(written)).infolist()]

    class Canary:
        def __reduce__(self):
            return Path.touch, (folder / "executed",)

    def swapped(name, data):
        return [(n, data if n == name else d) for n, d in members]

    huge = b"{'descr': '<f4', 'fortran_order': False, 'shape': (100000, 100000), }"
    header = b"\x93NUMPY\x01\x00" + (118).to_bytes(2, "little") + huge.ljust(117) + b"\n"
    pickled = io.BytesIO()
    np.save(pickled, np.array([Canary()], object), allow_pickle=True)
    forge(folder / "pickle.npz", swapped("W_hy.npy", pickled.getvalue()))
    (folder / "raw pickle.npz").write_bytes(pickle.dumps(Canary()))
    forge(folder / "shape.npz", swapped("W_hy.npy", header + bytes(32)))
    forge(folder / "bomb.npz", swapped("W_hy.npy", header + bytes(200 << 20)),
          zipfile.ZIP_DEFLATED)
    forge(folder / "members.npz", [(f"{i}.npy", b"") for i in range(50_000)])
    forge(folder / "paths.npz", [("../../" + name, data) for name, data in members])
    forge(folder / "extra.npz", [*members, ("more.npy", bytes(45 << 20))])
    forge(folder / "meta.npz", swapped("meta.npy", header + b"[" * (40 << 20)))
    for place in (("settings", "level"), ("settings", "learning_rate"), ("origin", "val")):
        forge(folder / f"{place[1]}.npz", with_meta(written, put(*place, "a" * (15 << 20))))
    (folder / "before.npz").write_bytes(b"#!/bin/sh\n" + written)
    (folder / "after.npz").write_bytes(written + written)
    (folder / "zeros.npz").write_bytes(bytes(50 << 20))
    (folder / "damaged.npz").write_bytes(written[:900] + bytes(50 << 20) + written[900:])
    (folder / "good.npz").unlink()
    return sorted(map(str, folder.glob("*.npz")))


LINUX = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the test reads /proc")


@LINUX
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_malicious_file_takes_less_than_two_seconds_and_200_mb_and_runs_nothing(
    tmp_path, reseal, forge
):
    files = malicious_files(tmp_path, reseal, forge)
    ran = subprocess.run([sys.executable, "-c", LOAD, *files], capture_output=True, text=True,
                         timeout=60, env=ENVIRONMENT)
    assert ran.returncode == 0, ran.stderr
    for file, line in zip(files, ran.stdout.splitlines(), strict=True):
        seconds, peak = map(float, line.split())
        assert seconds < 2, file
        assert peak < 200e6, file
    assert not (tmp_path / "executed").exists()


@LINUX
def test_a_large_damaged_file_is_refused_in_no_more_memory_than_its_size(tmp_path):
    path = tmp_path / "large.npz"
    with open(path, "wb") as file:
        for _ in range(300):
            file.write(bytes(1 << 20))
    ran = subprocess.run([sys.executable, "-c", LOAD, str(path)], capture_output=True,
                         text=True, timeout=60, env=ENVIRONMENT)
    assert ran.returncode == 0, ran.stderr
    assert float(ran.stdout.split()[1]) < 300 << 20


# Places in the JSON, and what an attacker may put there: 900,000 bytes.
PLACES = [
    ("format",), ("format_version",), ("settings",), ("settings", "level"), ("settings", "dtype"),
    ("settings", "encoding"), ("settings", "hidden_size"), ("settings", "learning_rate"),
    ("settings", "deterministic"), ("settings", "steps"), ("changed",), ("changed", 0),
    ("vocabulary_size",), ("lanes",), ("progress",), ("progress", "step"), ("progress", "losses"),
    ("progress", "best_nats"), ("corpus",), ("origin",), ("origin", "corpus"), ("origin", "val"),
    ("documents",), ("threads",), ("processes",), ("history",), ("history", 0), ("history", 0, 1),
    ("samples",), ("samples", 0), ("samples", 0, 0), ("samples", 0, 1),
]  # fmt: skip
CONTENTS = {
    "word": "a" * 900_000,
    "controls": "\x1b" * 150_000,
    "numbers": [1] * 300_000,
    "lists": [[]] * 225_000,
    "nested": [[[1] * 100] * 30] * 90,
    "objects": {f"{i:06}": {} for i in range(65_000)},
    "digits": int("9" * 4000),
}


@LINUX
@pytest.mark.parametrize("name", CONTENTS)
def test_any_metadata_with_a_valid_digest_is_refused_within_a_second_and_100_mb(
    tmp_path, forge, name
):
    checkpoint.save(tmp_path / "good.npz", a_checkpoint())
    written = (tmp_path / "good.npz").read_bytes()
    for i, keys in enumerate(PLACES):
        forge(tmp_path / f"{i:02}.npz", with_meta(written, put(*keys, CONTENTS[name])))
    files = sorted(map(str, tmp_path.glob("[0-9]*.npz")))
    ran = subprocess.run([sys.executable, "-c", LOAD, *files], capture_output=True, text=True,
                         timeout=60, env=ENVIRONMENT)
    assert ran.returncode == 0, ran.stderr
    for keys, line in zip(PLACES, ran.stdout.splitlines(), strict=True):
        seconds, peak = map(float, line.split())
        assert seconds < 1, keys
        assert peak < 100e6 + 1e6, keys


NAMES = ("a.txt", "empty.txt", "bytes.bin", "folder", "missing.txt", "a.npz", "damaged.npz", "-",
         "good.yaml", "bad.yaml", "", "\x01", "ü.txt", "--", "-1")
VALUES = ("0", "1", "2", "-1", "3.5", "1e-3", "nan", "inf", "-inf", "1e400", "true", "no", "null",
          "", " ", "adam", "relu", "utf-8", "utf-16", "zlib", "byte", "10000000", "9" * 30,
          "０", "x\ny", "\u202e", *NAMES)  # fmt: skip


def random_words(rng, commands):
    """A random command line."""
    name = rng.choice((*commands, *commands, "nonsense", "--help", "--version", "--debug"))
    words = ["charrnn", name]
    options = commands.get(name) or ["--hidden-size"]  # charrnn help has none of its own
    words += [rng.choice(NAMES) for _ in range(rng.choice((0, 1, 1, 1, 2)))]
    for _ in range(rng.randrange(5)):
        words.append(rng.choice(options))
        if rng.random() < 0.8:
            words.append(rng.choice(VALUES))
    if name == "train":  # a short run, if the command line is valid
        words += ["--steps", "2", "--hidden-size", "4", "-o", rng.choice(("b.npz", "a.npz"))]
    if name == "sample":
        words += ["--length", rng.choice(("0", "3")), "--count", "2"]
    rng.shuffle(tail := words[2:])
    return words[:2] + (tail if rng.random() < 0.2 else words[2:])


RUNNER = """
import contextlib, io, os, sys, json
from charrnn.cli.main import main
for line in sys.stdin:
    os.environ.pop("CHARRNN_CHECKPOINT", None)
    sys.argv = json.loads(line)
    out, err = io.TextIOWrapper(io.BytesIO()), io.TextIOWrapper(io.BytesIO(), "utf-8", "replace")
    sys.stdin, stdin = io.TextIOWrapper(io.BytesIO("some text\\n".encode() * 30)), sys.stdin
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            main()
        except SystemExit as exit:
            code = exit.code
    sys.stdin = stdin
    out.flush(), err.flush()
    print(json.dumps([code, out.buffer.getvalue().decode("utf-8", "replace"),
                      err.buffer.getvalue().decode("utf-8", "replace")]), flush=True)
"""


@some_or_all(150, 5_000)
def test_any_command_line_gives_a_result_or_an_error_of_one_line(tmp_path, attempts):
    import json

    commands = {name: [option for parameter in command.params for option in parameter.opts
                       if option.startswith("-")] for name, command in cli.commands.items()}
    folder = tmp_path / "home"
    (folder / "folder").mkdir(parents=True)
    (folder / "a.txt").write_text(TEXT)
    (folder / "empty.txt").write_text("")
    (folder / "ü.txt").write_text("ü\n" * 50, encoding="utf-8")
    (folder / "bytes.bin").write_bytes(bytes(range(256)) * 4)
    (folder / "good.yaml").write_text("hidden_size: 4\nsteps: 2\n")
    (folder / "bad.yaml").write_text("a: &a [*a]\n")
    subprocess.run([*COMMAND, "train", "a.txt", *TINY, "--steps", "2", "-o", "a.npz", "--quiet"],
                   cwd=folder, check=True, env=ENVIRONMENT)
    model = (folder / "a.npz").read_bytes()
    (folder / "damaged.npz").write_bytes(model[:-5])

    rng, codes = random.Random(4), set()
    with subprocess.Popen([sys.executable, "-W", "error", "-c", RUNNER], cwd=folder, text=True,
                          stdin=subprocess.PIPE, stdout=subprocess.PIPE, encoding="utf-8",
                          env=ENVIRONMENT | {"PYTHONUTF8": "1"}) as runner:
        for _ in range(attempts):
            words = random_words(rng, commands)
            runner.stdin.write(json.dumps(words) + "\n")
            runner.stdin.flush()
            code, out, err = json.loads(runner.stdout.readline())
            codes.add(code)
            assert code in (0, 1, 2), (words, code, out, err)
            assert "internal error" not in err, (words, err)
            if "--debug" not in words:
                assert "Traceback" not in err, (words, err)
            if code == 2 and err.count("\n") > 1:
                # The help, because no command was given.
                assert err.startswith("Usage: charrnn [OPTIONS] [COMMAND]"), (words, err)
            if code:
                assert err.strip(), words
                assert not out or words[1] == "sample", (words, out)
            (folder / "a.npz").write_bytes(model)
            with contextlib.suppress(FileNotFoundError):
                shutil.rmtree(folder / "checkpoints")
        runner.stdin.close()
    assert codes == {0, 1, 2}


@pytest.mark.skipif(os.name != "posix", reason="files have no limits here")
@pytest.mark.parametrize("limit", [0, 100, 3000])
def test_under_a_file_size_limit_a_run_fails_with_one_line_and_keeps_the_old_file(tmp_path, limit):
    import resource

    (tmp_path / "a.txt").write_text(TEXT)
    command = [*COMMAND, "train", "a.txt", *TINY, "-o", "a.npz", "--quiet"]
    subprocess.run([*command, "--steps", "2"], cwd=tmp_path, check=True, env=ENVIRONMENT)
    written = (tmp_path / "a.npz").read_bytes()
    ran = subprocess.run(
        [*command, "--steps", "4"], cwd=tmp_path, capture_output=True,
        # Without coverage, which would also try to write a file.
        env={name: value for name, value in ENVIRONMENT.items() if "COVERAGE" not in name},
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)),
    )
    assert ran.returncode in (1, 2), ran
    assert ran.stderr.startswith(b"charrnn: ") and ran.stderr.count(b"\n") == 1
    assert (tmp_path / "a.npz").read_bytes() == written
    assert sorted(os.listdir(tmp_path)) == ["a.npz", "a.txt"]
