"""``charrnn sample``: the prime, the length, the seed, --stop, --count and --novelty."""

from __future__ import annotations

import subprocess

import pytest
from commands import COMMAND, ENVIRONMENT, TEXT, TINY, one_line, run_charrnn


def test_a_sample_is_the_prime_and_the_requested_number_of_characters(home):
    result = run_charrnn("sample", "--prime", "sieb", "--length", "50", "--seed", "3", cwd=home)
    text = result.stdout.decode()
    assert text.startswith("sieb") and len(text) == 54
    assert b"seed 3" in result.stderr and b"checkpoints/corpus.npz" in result.stderr
    again = run_charrnn("sample", "--prime", "sieb", "--length", "50", "--seed", "3", cwd=home)
    assert again.stdout == result.stdout


def test_the_printed_seed_repeats_the_sample(home):
    first = run_charrnn("sample", "--length", "80", cwd=home)
    seed = first.stderr.decode().split("seed ")[1].split()[0]
    assert run_charrnn("sample", "--length", "80", "--seed", seed, cwd=home).stdout == first.stdout


def test_each_of_several_samples_is_a_line_that_ends_before_the_stop_text(home):
    result = run_charrnn("sample", "--count", "4", "--stop", "\n", "--length", "300", cwd=home)
    lines = result.stdout.decode().split("\n")
    assert lines[-1] == "" and len(lines) == 5


def test_sample_primes_from_a_file_and_from_stdin(home):
    (home / "prime.txt").write_text("sieben")
    args = ["sample", "--length", "9", "--seed", "1"]
    from_file = run_charrnn(*args, "--prime-file", "prime.txt", cwd=home)
    from_stdin = run_charrnn(*args, "--prime-file", "-", cwd=home, stdin=b"sieben")
    from_option = run_charrnn(*args, "--prime", "sieben", cwd=home)
    assert from_file.stdout == from_stdin.stdout == from_option.stdout != b""


def test_unknown_characters_of_a_prime_are_refused_or_skipped(home):
    assert "'☃' (U+2603)" in one_line(run_charrnn("sample", "--prime", "a☃", cwd=home), 2)
    result = run_charrnn("sample", "--prime", "d☃u", "--unknown", "skip", "--length", "1",
                         cwd=home)
    assert result.stdout.decode().startswith("du")
    note = "note: 1 unknown character of the prime was skipped"
    assert f"{note}: '☃' (U+2603)\n" in result.stderr.decode()
    result = run_charrnn("sample", "--prime-file", "-", "--unknown", "skip", "--length", "1",
                         cwd=home, stdin="d☃u".encode())
    assert result.stdout.decode().startswith("du") and f"{note}\n" in result.stderr.decode()


@pytest.mark.parametrize("option", ["--prime", "--stop"])
def test_a_typed_backslash_n_gets_a_hint(home, tmp_path, option):
    line = one_line(run_charrnn("sample", option, "hel\\n", cwd=home), 2)
    assert "U+005C" in line
    assert f"for a newline, write {option} $'...\\n...'" in line
    assert "for a tab" in one_line(run_charrnn("sample", option, "a\\tb", cwd=home), 2)
    (tmp_path / "a.txt").write_text(TEXT + "\\newline \\n \\t\n" * 20)
    assert run_charrnn("train", "a.txt", *TINY, "--steps", "2", cwd=tmp_path).returncode == 0
    for text, hint in (("sieben\\n", True), ("\\nJahre", True), ("\\t", True),
                       ("\\newline", True), ("sieben\n", False)):
        result = run_charrnn("sample", option, text, "--length", "1", cwd=tmp_path)
        assert result.returncode == 0, result
        assert (f"note: {option} contains a backslash" in result.stderr.decode()) == hint, text


def test_a_single_sample_ends_with_a_newline_only_on_a_terminal_or_if_generated(home):
    args = ["sample", "--prime", "sieb", "--length", "0"]
    assert run_charrnn(*args, cwd=home).stdout == b"sieb"
    assert run_charrnn(*args, "--count", "2", cwd=home).stdout == b"sieb\nsieb\n"


def test_lengths_and_counts_are_whole_numbers_in_any_notation(home):
    for length in ("2e1", "2_0", "20"):
        result = run_charrnn("sample", "--length", length, cwd=home)
        assert len(result.stdout.decode()) == 20, length
    for wrong, words in (("1.5", "'1.5' is not a whole number"), ("-1", "at least 0"),
                         ("many", "'many' is not a whole number"), ("1e99", "at most 9")):
        assert words in one_line(run_charrnn("sample", "--length", wrong, cwd=home), 2)
    assert "above 0 and at most 1" in one_line(run_charrnn("sample", "--top-p", "1.1", cwd=home), 2)
    assert "'hot' is not a number" in one_line(
        run_charrnn("sample", "--temperature", "hot", cwd=home), 2)


def test_a_prime_file_that_cannot_be_used_is_an_error_of_one_line(home):
    (home / "unknown.txt").write_text("a☃")
    (home / "archive").write_bytes(b"PK\5\6")
    for name, words, code in (("missing", "no such file", 2), ("unknown.txt", "U+2603", 1),
                              ("archive", "an empty zip archive", 1)):
        line = one_line(run_charrnn("sample", "--prime-file", name, cwd=home), code)
        assert line.startswith(f"charrnn: {name}") and words in line


def test_stop_texts_with_unknown_characters_are_refused(home):
    assert "☃" in one_line(run_charrnn("sample", "--stop", "☃", cwd=home), 2)


def test_a_file_that_is_not_a_checkpoint_is_one_line_and_exit_1(home):
    assert "not a charrnn checkpoint" in one_line(
        run_charrnn("sample", "-m", "corpus.txt", cwd=home), 1
    )


def test_sample_into_head_is_quiet(home):
    pipeline = f"{' '.join(COMMAND)} sample --length 100000 --seed 1 | head -c 10"
    result = subprocess.run(["bash", "-c", f"set -o pipefail; {pipeline}"], cwd=home,
                            capture_output=True, timeout=60, env=ENVIRONMENT)
    assert (result.returncode, len(result.stdout)) == (0, 10)
    assert result.stderr.count(b"\n") == 1 and b"seed" in result.stderr


def test_a_sample_of_any_length_streams(home):
    args = f"sample --length 100000000000000 --seed 1 -m {home}/checkpoints/corpus.npz"
    result = subprocess.run(["bash", "-c", f"{' '.join(COMMAND)} {args} | head -c 5"],
                            capture_output=True, timeout=60, env=ENVIRONMENT)
    assert len(result.stdout) == 5


def test_copied_passages_are_shown_on_standard_error(home):
    result = run_charrnn("sample", "--length", "300", "--count", "2", "--temperature", "0.3",
                         "--novelty", "corpus.txt", cwd=home)
    assert result.returncode == 0
    messages = result.stderr.decode().splitlines()[1:]
    assert len(messages) == 2
    assert messages[0].startswith(
        "sample 1: the longest passage that also occurs in corpus.txt has ")
    assert "; windows of 20 characters that occur there: " in messages[1]
    assert " of 281 (" in messages[1]
    assert b"windows" not in result.stdout


def test_no_copied_passage_spans_a_character_unknown_to_the_model(home, tmp_path):
    (tmp_path / "256.txt").write_text("".join(map(chr, range(0x100, 0x200))) * 9)
    trained = run_charrnn("train", "256.txt", *TINY, "--steps", "2", "-o", "256.npz", cwd=tmp_path)
    assert trained.returncode == 0, trained
    for model, text in (("checkpoints/corpus.npz", TEXT), (tmp_path / "256.npz", chr(0x100) * 99)):
        (home / "split.txt").write_text("☃".join(text))
        result = run_charrnn("sample", "-m", model, "--novelty", "split.txt", "--length", "200",
                             "--temperature", "0.5", cwd=home)
        assert result.returncode == 0, result
        messages = result.stderr.decode().splitlines()[-1]
        longest = int(messages.partition(" has ")[2].split()[0])
        assert longest <= 1 and " there: 0 of 181 (0.0%)" in messages, messages


def test_a_text_for_comparison_is_read_before_anything_is_printed(home):
    one_line(run_charrnn("sample", "--novelty", "missing.txt", cwd=home), 2)
    one_line(run_charrnn("sample", "--novelty", "-", "--prime-file", "-", cwd=home), 2)
    for wrong in (["--per-line"], ["--dynamic"]):
        one_line(run_charrnn("eval", "corpus.txt", "--baselines", "--train-text", "corpus.txt",
                             *wrong, cwd=home), 2)
