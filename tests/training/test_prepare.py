"""From a request to a run: its texts and notes, and what is refused, by all processes."""

from __future__ import annotations

import pytest
from training_runs import (
    SHARED_TEXT,
    TEXT,
    in_processes,
    of,
    prepared,
    prepared_in,
    raised,
    train,
    train_in,
)

from charrnn.config.parsing import parse
from charrnn.errors import CorpusError, UsageError
from charrnn.storage import checkpoint
from charrnn.system.signals import Signals
from charrnn.text import cache, store
from charrnn.text import corpus as texts
from charrnn.text.batches import Batches
from charrnn.text.display import count
from charrnn.training import loop, prepare
from charrnn.training.events import Step
from charrnn.training.processes import Alone, ProcessGroup


def test_text_of_five_characters_trains(tmp_path):
    (tmp_path / "hello.txt").write_text("hello")
    events = train(tmp_path / "hello.txt", tmp_path / "a.npz")
    start = events[0]
    assert (start.batch_size, start.seq_length, start.val_chars) == (1, 4, 0)
    assert any("batch_size is reduced from 4 to 1" in note for note in start.notes)
    assert of(Step, events)[-1].nats_per_char < of(Step, events)[0].nats_per_char


@pytest.mark.parametrize("text", ["", "x"])
def test_too_little_text_is_refused_with_the_number(tmp_path, text):
    (tmp_path / "a.txt").write_text(text)
    with pytest.raises(CorpusError, match=f"has {count(len(text), 'character')}: at least"):
        prepared(tmp_path / "a.txt", tmp_path / "a.npz")


def test_settings_that_need_too_much_memory_are_refused_before_it_is_allocated(
    corpus, tmp_path
):
    with pytest.raises(UsageError, match="need about"):
        prepared(corpus, tmp_path / "a.npz", hidden_size=10_000_000)


def test_a_byte_level_run_trains_on_any_file(tmp_path):
    (tmp_path / "a.bin").write_bytes(bytes(range(256)) * 4)
    start = train(tmp_path / "a.bin", tmp_path / "a.npz", level="byte", steps=5)[0]
    assert (start.distinct, start.level) == (256, "byte")


def test_rare_and_unknown_characters_are_replaced_by_one_symbol(corpus, tmp_path):
    (tmp_path / "rare.txt").write_text(TEXT + "äöü" + "ß" * 4)
    (tmp_path / "val.txt").write_text("the quick äö\u4e00 fox")
    events = train(tmp_path / "rare.txt", tmp_path / "a.npz", min_count=5,
                   val=tmp_path / "val.txt")
    assert "7 characters replaced by U+FFFD: each occurs fewer than 5" in events[0].notes[-1]
    run = checkpoint.load(tmp_path / "a.npz")
    assert sorted(map(chr, run.vocabulary.codes)) == sorted({*TEXT, "\ufffd"})
    assert run.vocabulary.decode(run.vocabulary.encode_text("aß\u4e00")) == "a\ufffd\ufffd"
    with pytest.raises(UsageError, match="min_count 5 there, 1 now"):
        prepared(tmp_path / "rare.txt", tmp_path / "a.npz", min_count=1, val=tmp_path / "val.txt")


def test_a_large_text_in_a_file_trains_like_one_in_memory(corpus, tmp_path, monkeypatch):
    train(corpus, tmp_path / "memory.npz")
    monkeypatch.setattr(cache, "LIMIT", 300)
    events = train(corpus, tmp_path / "file.npz")
    (note,) = [note for note in events[0].notes if "the text is large" in note]
    (name,) = tmp_path.glob("*.ids")
    assert note.endswith(f" GB, are in {name}")
    assert (tmp_path / "file.npz").read_bytes() == (tmp_path / "memory.npz").read_bytes()


def test_a_temporary_file_is_not_named(corpus, tmp_path, monkeypatch):
    monkeypatch.setattr(cache, "LIMIT", 300)
    monkeypatch.setattr(store, "MAX_FACTS", 10)  # so it cannot be kept
    (note,) = [note for note in prepared(corpus, tmp_path / "a.npz").notes if "is large" in note]
    assert note.endswith("are in a temporary file, which is deleted at the end")
    assert not list(tmp_path.glob(".*"))


@pytest.mark.parametrize(("errors", "what"), [("replace", "replaced by U+FFFD"),
                                              ("skip", "skipped")])
def test_how_much_could_not_be_decoded_is_noted_and_stored(tmp_path, errors, what):
    (tmp_path / "a.txt").write_bytes(TEXT.encode() + b"\xff\n\xe2\x82\n\x92\n\xef\xbf\xbd\n")
    (tmp_path / "val.txt").write_bytes(TEXT.encode()[:50] + b"\xff")
    events = train(tmp_path / "a.txt", tmp_path / "a.npz", val=tmp_path / "val.txt", errors=errors)
    assert f"3 undecodable byte sequences were {what}" in events[0].notes
    assert f"val.txt: 1 undecodable byte sequence was {what}" in events[0].notes
    found = checkpoint.load(tmp_path / "a.npz")
    assert (found.undecodable, found.settings["errors"]) == (4, errors), "in both texts"
    assert ("\ufffd" in map(chr, found.vocabulary.codes)), "there is one in the text itself"
    for other in {"strict", "replace", "skip"} - {errors}:
        with pytest.raises((CorpusError, UsageError), match=f"errors {errors} there, {other} now"
                           if other != "strict" else "is not utf-8"):
            prepared(tmp_path / "a.txt", tmp_path / "a.npz", val=tmp_path / "val.txt", errors=other)
    more = prepared(tmp_path / "a.txt", tmp_path / "b.npz", init_from=tmp_path / "a.npz",
                    errors=errors)
    assert more.checkpoint.undecodable == 3


@pytest.mark.parametrize("limit", [cache.LIMIT, 300])
def test_all_processes_count_the_same_undecodable_bytes(tmp_path, monkeypatch, limit):
    monkeypatch.setattr(cache, "LIMIT", limit)
    monkeypatch.setattr(cache, "SETTLED", -1)
    (tmp_path / "a.txt").write_bytes(SHARED_TEXT.encode() + b"\xff\n\xe2\x82\n")

    def work(group):
        run = prepared_in(group, tmp_path / "a.txt", tmp_path / "a.npz", errors="replace")
        return run.checkpoint.undecodable, run.text.in_memory

    assert in_processes(3, work) == [(2, limit > 300)] * 3


def test_an_encoding_is_the_same_run_by_any_of_its_names(tmp_path):
    (tmp_path / "a.txt").write_text(TEXT + "\u00e9\n", encoding="latin-1")
    for name in ("latin-1", "ISO-8859-1", "l1"):
        run = prepared(tmp_path / "a.txt", tmp_path / "a.npz",
                       encoding=parse("encoding", name))
        list(loop.train(run, Signals()))
    assert run.resumed and checkpoint.load(tmp_path / "a.npz").settings["encoding"] == "latin-1"
    with pytest.raises(UsageError, match="encoding latin-1 there, cp1252 now"):
        prepared(tmp_path / "a.txt", tmp_path / "a.npz", encoding="cp1252")


@pytest.mark.parametrize("machines", [["a", "a", "a"], ["a", "a", "b"]])
def test_a_large_text_is_encoded_by_one_process_and_mapped_by_all(
    shared_corpus, tmp_path, monkeypatch, machines
):
    train_in(1, shared_corpus, tmp_path / "memory.npz", deterministic=True)
    monkeypatch.setattr(cache, "LIMIT", 300)
    monkeypatch.setattr(cache, "SETTLED", -1)
    encodings = []
    collect = texts._collect
    monkeypatch.setattr(texts, "_collect", lambda *args: (encodings.append(1), collect(*args))[1])

    def work(group):
        group.first_here = machines.index(machines[group.rank]) == group.rank
        run = prepared_in(group, shared_corpus, tmp_path / "file.npz", deterministic=True)
        list(loop.train(run, Signals()))
        return run.text.in_memory

    assert in_processes(3, work) == [False] * 3
    assert len(encodings) == 1
    assert (tmp_path / "file.npz").read_bytes() == (tmp_path / "memory.npz").read_bytes()


def refused(size, corpus, out, kind=UsageError, **options):
    """The text of the error that all processes raise before their first step.

    An option that is a tuple is another for each of them.
    """
    def work(group):
        own = {key: value[group.rank] if isinstance(value, tuple) else value
               for key, value in (options | {"corpus": corpus, "out": out}).items()}
        for event in loop.train(prepared_in(group, **own), Signals()):
            assert not isinstance(event, Step)

    return raised(kind, in_processes(size, work))


def test_sequences_that_cannot_be_divided_evenly_are_refused(shared_corpus, tmp_path):
    text = refused(5, shared_corpus, tmp_path / "a.npz")
    assert "a batch of 12 sequences cannot be divided evenly among 5 processes" in text
    assert "--batch-size that is a multiple of 5, " in text


def test_shards_that_cannot_be_divided_evenly_are_refused(shared_corpus, tmp_path, monkeypatch):
    monkeypatch.setattr(Batches, "SEQUENCES_PER_SHARD", 2)
    text = refused(4, shared_corpus, tmp_path / "a.npz", deterministic=True)
    assert "12 sequences, summed in 6 shards" in text and "4 processes" in text
    assert "a multiple of 8" in text


def test_processes_that_see_other_texts_or_settings_are_refused(shared_corpus, tmp_path):
    corpus, other, out = shared_corpus, tmp_path / "other.txt", tmp_path / "a.npz"
    other.write_text(SHARED_TEXT + "!")
    assert "process 1 of 2 differs from process 0 in the text" in refused(2, (corpus, other), out)
    text = refused(3, corpus, out, seed=(1, 1, 2))
    assert "process 2 of 3 differs from process 0 in the seed (2, 1)" in text
    assert "number of threads" in refused(2, corpus, out, workers=(1, 2))
    assert "in the validation text" in refused(2, corpus, out, val=(str(corpus), str(other)))
    train_in(1, corpus, out, steps=5)
    first = (out, tmp_path / "elsewhere.npz")
    assert "checkpoint to resume" in refused(2, corpus, first)
    assert "checkpoint to start from" in refused(
        2, corpus, tmp_path / "b.npz", init_from=(out, None))
    assert not (tmp_path / "b.npz").exists()


def test_a_text_that_one_process_cannot_read_is_refused_by_all(shared_corpus, tmp_path):
    corpora = (shared_corpus, shared_corpus, tmp_path / "missing.txt")
    assert "missing.txt: no such file" in refused(3, corpora, tmp_path / "a.npz")
    (tmp_path / "bad.npz").write_bytes(b"no checkpoint")
    kinds = in_processes(2, lambda group: prepared_in(
        group, shared_corpus, tmp_path / ("a.npz", "bad.npz")[group.rank]))
    assert "bad.npz" in str(kinds[0]) and str(kinds[0]) == str(kinds[1])


def test_processes_on_one_machine_need_the_memory_of_all_of_them(
    shared_corpus, tmp_path, monkeypatch
):
    needed = prepared_in(ProcessGroup(Alone()), shared_corpus, tmp_path / "a.npz").memory
    monkeypatch.setattr(prepare, "available_memory", lambda: int(1.5 * needed))
    again = prepared_in(ProcessGroup(Alone()), shared_corpus, tmp_path / "a.npz").memory
    assert again == needed
    assert "GB is free" in refused(2, shared_corpus, tmp_path / "a.npz")


def test_patience_without_validation_gets_a_note(corpus, tmp_path):
    note = "patience has no effect without validation"
    assert note in prepared(corpus, tmp_path / "a.npz", val_fraction=0.0, patience=3).notes
    for settings in ({"patience": 3}, {"val_fraction": 0.0}):
        assert note not in prepared(corpus, tmp_path / "a.npz", **settings).notes
