"""How runs begin: resumed to the last bit, from the weights of another run, or refused."""

from __future__ import annotations

import signal

import numpy as np
import pytest
from training_runs import TEXT, interrupt, killed_after, prepared, train, train_in

from charrnn.config.settings import Config
from charrnn.errors import CheckpointError, UsageError
from charrnn.storage import checkpoint
from charrnn.system.signals import Signals
from charrnn.training import loop
from charrnn.training.events import End, Start, Step
from charrnn.training.prepare import prepare
from charrnn.training.run import Request


@pytest.mark.parametrize(("optimizer", "dropout", "schedule", "extra"), [
    ("adam", 0.3, "cosine", {}),
    ("rmsprop", 0.0, "constant", {"activation": "relu"}),
    ("adagrad", 0.2, "exponential", {"layers": 1}),
    ("sgd", 0.0, "cosine", {"val_fraction": 0.0}),
    ("adam", 0.5, "constant", {"patience": 1, "dtype": "float64"}),
    ("adam", 0.1, "cosine", {"weight_decay": 0.3}),
    ("adam", 0.1, "cosine", {"threads": 2, "batch_size": 16}),
    ("adam", 0.1, "cosine", {"threads": 3, "batch_size": 16, "deterministic": True}),
    ("adam", 0.1, "cosine", {"min_count": 25}),
])
@pytest.mark.parametrize("at", [3, 5, 10, 19])
def test_killed_and_resumed_equals_never_killed_byte_for_byte(
    corpus, tmp_path, optimizer, dropout, schedule, extra, at
):
    options = {"optimizer": optimizer, "dropout": dropout, "schedule": schedule} | extra
    train(corpus, tmp_path / "whole.npz", **options)
    killed_after(at, corpus, tmp_path / "parts.npz", **options)
    train(corpus, tmp_path / "parts.npz", **options)
    assert (tmp_path / "parts.npz").read_bytes() == (tmp_path / "whole.npz").read_bytes()


@pytest.mark.parametrize("at", range(1, 10))
def test_a_run_resumes_where_it_was_killed_in_any_window_of_an_epoch(corpus, tmp_path, at):
    options = {"batch_size": 64, "seq_length": 8, "save_every": 1, "steps": 10}
    assert prepared(corpus, tmp_path / "whole.npz", **options).batches.windows == 3
    train(corpus, tmp_path / "whole.npz", **options)
    killed_after(at + 1, corpus, tmp_path / "parts.npz", **options)
    assert checkpoint.load(tmp_path / "parts.npz").progress.step == at
    train(corpus, tmp_path / "parts.npz", **options)
    assert (tmp_path / "parts.npz").read_bytes() == (tmp_path / "whole.npz").read_bytes()


@pytest.mark.parametrize("at", range(1, 19, 3))
def test_a_run_stopped_at_any_step_and_resumed_equals_one_never_stopped(corpus, tmp_path, at):
    train(corpus, tmp_path / "whole.npz", dropout=0.2)
    signals = Signals()
    for event in loop.train(prepared(corpus, tmp_path / "parts.npz", dropout=0.2), signals):
        if isinstance(event, Step) and event.step == at:
            signals.stop = 2
    assert isinstance(event, End)
    # Whoever is asked says so in the next step, to all the processes there are.
    assert (event.reason, event.step, event.signal) == ("stopped", at + 1, 2)
    train(corpus, tmp_path / "parts.npz", dropout=0.2)
    assert (tmp_path / "parts.npz").read_bytes() == (tmp_path / "whole.npz").read_bytes()


@pytest.mark.parametrize(("before", "after"), [(1, 3), (2, 4), (3, 1), (4, 2)])
def test_a_run_resumes_with_another_number_of_processes(
    shared_corpus, tmp_path, before, after
):
    train_in(1, shared_corpus, tmp_path / "whole.npz", deterministic=True)
    for at in (3, 13):
        out = tmp_path / f"{at}.npz"
        every = train_in(before, shared_corpus, out, at, interrupt, deterministic=True)
        for events in every:
            end = events[-1]
            assert (end.reason, end.step, end.signal) == ("stopped", at + 1, signal.SIGINT)
        train_in(after, shared_corpus, out, deterministic=True)
        assert out.read_bytes() == (tmp_path / "whole.npz").read_bytes()


def test_resuming_with_other_processes_is_noted_since_the_last_bits_differ(
    shared_corpus, tmp_path
):
    train_in(1, shared_corpus, tmp_path / "whole.npz")
    out = tmp_path / "parts.npz"
    train_in(3, shared_corpus, out, 6, interrupt, workers=2)
    assert (checkpoint.load(out).processes, checkpoint.load(out).threads) == (3, 2)
    again = train_in(3, shared_corpus, out, 11, interrupt)[0]
    assert again[0].notes == []
    assert (again[0].processes, again[0].threads) == (3, 2), "the threads that it had"
    start = train_in(4, shared_corpus, out)[2][0]
    (note,) = start.notes
    assert "used 3 processes of 2 threads and now uses 4 processes of 1 thread" in note
    one, parts = checkpoint.load(tmp_path / "whole.npz"), checkpoint.load(out)
    np.testing.assert_allclose(parts.last.flat, one.last.flat, rtol=1e-3, atol=1e-5)
    np.testing.assert_allclose(parts.state, one.state, rtol=1e-3, atol=1e-4)


def test_resuming_with_other_threads_is_noted(corpus, tmp_path):
    train(corpus, tmp_path / "a.npz", steps=10)
    run = prepared(corpus, tmp_path / "a.npz", threads=3)
    assert any("used 1 thread and now uses 3 threads" in note for note in run.notes)


def test_a_finished_run_is_already_trained_and_its_file_untouched(corpus, tmp_path):
    train(corpus, tmp_path / "a.npz")
    before = (tmp_path / "a.npz").read_bytes()
    events = train(corpus, tmp_path / "a.npz")
    assert [type(event) for event in events] == [Start, End]
    assert events[-1].reason == "already trained"
    assert (tmp_path / "a.npz").read_bytes() == before


@pytest.mark.parametrize(("change", "named"), [
    ({"hidden_size": 9}, "hidden_size 8 there, 9 now"),
    ({"seed": 5}, "seed"),
    ({"eval_every": 8}, "eval_every"),
    ({"hidden_size": None}, r"hidden_size 8 there, 256 \(default\) now"),
])
def test_another_run_is_never_overwritten(corpus, tmp_path, change, named):
    train(corpus, tmp_path / "a.npz")
    before = (tmp_path / "a.npz").read_bytes()
    with pytest.raises(UsageError, match=named) as error:
        train(corpus, tmp_path / "a.npz", **change)
    assert "--overwrite" in str(error.value)
    assert "-o" in str(error.value)
    assert (tmp_path / "a.npz").read_bytes() == before


def test_another_text_is_another_run(corpus, tmp_path):
    train(corpus, tmp_path / "a.npz")
    corpus.write_text(TEXT[:-2] + "!\n")
    with pytest.raises(UsageError, match="the text differs"):
        train(corpus, tmp_path / "a.npz")


def refusal(corpus, out, **options):
    """The message on a checkpoint that holds another run."""
    with pytest.raises(UsageError) as error:
        prepared(corpus, out, **options)
    message = str(error.value)
    assert message.startswith(f"{out} holds another run (")
    assert "None" not in message and "\n" not in message
    assert message.endswith("or --overwrite to replace it")
    return message


def test_differing_settings_are_named_with_both_values_and_never_as_none(corpus, tmp_path):
    out, unset = tmp_path / "a.npz", {"eval_every": None, "dropout": None, "seed": 2}
    train(corpus, out, **unset)
    assert "(eval_every 50 (default) there, 10 now)" in refusal(
        corpus, out, **unset | {"eval_every": 10})
    assert "(dropout 0.3 (default) there, 0.2 now)" in refusal(
        corpus, out, **unset | {"dropout": 0.2})
    assert "(seed 2 there, 1 (default) now)" in refusal(corpus, out, **unset | {"seed": None})
    stored = checkpoint.load(out)
    stored.settings["eval_every"], stored.explicit_recorded = None, False
    checkpoint.save(out, stored)
    assert "(eval_every 50 (default) there, 10 now)" in refusal(
        corpus, out, **unset | {"eval_every": 10})
    corpus.write_text(TEXT[1:])
    assert "(eval_every default there, 10 now; the text differs)" in refusal(
        corpus, out, **unset | {"eval_every": 10})
    train(corpus, tmp_path / "b.npz", **unset | {"eval_every": 10})
    corpus.write_text(TEXT)
    assert "(eval_every 10 there, 50 (default) now; the text differs)" in refusal(
        corpus, tmp_path / "b.npz", **unset)


def test_a_refusal_mentions_init_from_where_it_would_work(corpus, tmp_path):
    out = tmp_path / "a b.npz"
    train(corpus, out)
    start = f"-o NEW.npz to keep both (and --init-from '{out}' to start from its weights)"
    assert start in refusal(corpus, out, learning_rate=0.5)
    assert start in refusal(corpus, out, hidden_size=None)
    assert start not in refusal(corpus, out, hidden_size=9)
    train(corpus, tmp_path / "child.npz", init_from=out)
    assert "--init-from there, none now): repeat --init-from to resume it, use -o" in refusal(
        corpus, tmp_path / "child.npz")
    assert "repeat" not in refusal(corpus, tmp_path / "child.npz", learning_rate=0.5)
    assert "to start from" not in refusal(corpus, tmp_path / "child.npz")
    other = tmp_path / "child.npz"
    assert "no --init-from there, --init-from now" in refusal(corpus, out, init_from=other)
    assert "to start from" not in refusal(corpus, out, init_from=other)
    corpus.write_text(TEXT + TEXT)
    assert start in refusal(corpus, out)


def test_a_validation_text_that_is_added_removed_or_changed_is_another_run(corpus, tmp_path):
    (tmp_path / "val.txt").write_text(TEXT[:80])
    train(corpus, tmp_path / "a.npz")
    assert "(no --val there, --val now)" in refusal(corpus, tmp_path / "a.npz", val=corpus)
    train(corpus, tmp_path / "b.npz", val=corpus)
    assert "(--val there, none now): repeat --val to resume it, use -o" in refusal(
        corpus, tmp_path / "b.npz")
    assert "(the validation text differs)" in refusal(
        corpus, tmp_path / "b.npz", val=tmp_path / "val.txt")


def test_a_run_with_a_validation_text_has_no_validation_fraction(corpus, tmp_path):
    (tmp_path / "val.txt").write_text(TEXT[:80])
    val, note = tmp_path / "val.txt", "val_fraction has no effect with --val"
    first = train(corpus, tmp_path / "a.npz", val=val, val_fraction=0.2, steps=10)[0]
    train(corpus, tmp_path / "b.npz", val=val, steps=10)
    assert note in first.notes
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()
    run = checkpoint.load(tmp_path / "a.npz")
    assert run.settings["val_fraction"] is None and "val_fraction" not in run.explicit
    assert note not in prepared(corpus, tmp_path / "a.npz", val=val).notes, "no other run"
    # Earlier versions stored it.
    run.settings["val_fraction"] = 0.2
    run.explicit.append("val_fraction")
    checkpoint.save(tmp_path / "a.npz", run)
    assert prepared(corpus, tmp_path / "a.npz", val=val).config.val_fraction is None
    assert prepared(corpus, tmp_path / "a.npz", val=val, val_fraction=0.3).resumed
    train(corpus, tmp_path / "c.npz", val_fraction=0.2, steps=10)
    assert "(val_fraction 0.2 there, not used with --val now; no --val there, --val now)" in (
        refusal(corpus, tmp_path / "c.npz", val=val))
    assert "(val_fraction not used with --val there, 0.2 now; --val there" in refusal(
        corpus, tmp_path / "b.npz", val_fraction=0.2)


def test_truth_values_in_a_refusal_are_those_of_a_config_file(corpus, tmp_path):
    train(corpus, tmp_path / "a.npz", steps=5)
    assert "(deterministic false (default) there, true now)" in refusal(
        corpus, tmp_path / "a.npz", deterministic=True)


def test_with_borders_a_text_divided_differently_is_another_run(library, tmp_path):
    out, options = tmp_path / "run.npz", {"borders": "reset", "steps": 10}
    train(library, out, **options)
    text = "".join((library / name).read_text() for name in "abc")
    for name, begin, end in (("a", 0, 500), ("b", 500, 900), ("c", 900, None)):
        (library / name).write_text(text[begin:end])
    with pytest.raises(UsageError, match="the text is divided into files differently"):
        prepared(library, out, **options | {"steps": 20})
    (library / "a").write_text(text)
    (library / "b").write_text("")
    (library / "c").unlink()
    with pytest.raises(UsageError, match=r"divided into files differently.*--overwrite"):
        prepared(library, out, **options | {"steps": 20})
    (tmp_path / "one").write_text(text)
    with pytest.raises(UsageError, match="divided into files differently"):
        prepared(tmp_path / "one", out, **options | {"steps": 20})
    train(library, tmp_path / "whole.npz", **options)  # one file, and an empty one after it
    run = prepared(tmp_path / "one", tmp_path / "whole.npz", **options | {"steps": 20})
    assert run.resumed


def test_with_borders_a_validation_text_divided_differently_is_another_run(
    corpus, library, tmp_path
):
    out, options = tmp_path / "run.npz", {"borders": "reset", "val": library, "steps": 10}
    train(corpus, out, **options)
    assert prepared(corpus, out, **options).resumed
    text = (library / "b").read_text()
    (library / "a").write_text((library / "a").read_text() + text[:9])
    (library / "b").write_text(text[9:])
    with pytest.raises(UsageError, match="divided into files differently"):
        prepared(corpus, out, **options)


def test_without_borders_a_text_is_the_same_however_it_is_divided(library, tmp_path):
    train(library, tmp_path / "a.npz", steps=10)
    text = "".join((library / name).read_text() for name in "abc")
    (tmp_path / "one").write_text(text)
    assert prepared(tmp_path / "one", tmp_path / "a.npz", steps=20).resumed
    assert b'"documents"' not in (tmp_path / "a.npz").read_bytes()


def test_a_file_without_the_digest_of_documents_resumes(library, tmp_path):
    options = {"borders": "reset", "dropout": 0.2}
    train(library, tmp_path / "whole.npz", **options)
    killed_after(11, library, tmp_path / "parts.npz", **options)
    stored = checkpoint.load(tmp_path / "parts.npz")
    assert stored.documents
    stored.documents = None
    checkpoint.save(tmp_path / "parts.npz", stored)
    assert b'"documents"' not in (tmp_path / "parts.npz").read_bytes()
    train(library, tmp_path / "parts.npz", **options)
    assert (tmp_path / "parts.npz").read_bytes() == (tmp_path / "whole.npz").read_bytes()


def test_a_checkpoint_whose_arrays_are_not_those_of_the_run_is_refused(corpus, tmp_path):
    train(corpus, tmp_path / "a.npz")
    stored = checkpoint.load(tmp_path / "a.npz")
    stored.state = stored.state[:3]
    checkpoint.save(tmp_path / "sequences.npz", stored)
    with pytest.raises(CheckpointError, match="the state of 3 sequences, not of 4"):
        prepared(corpus, tmp_path / "sequences.npz", steps=30)
    stored = checkpoint.load(tmp_path / "a.npz")
    stored.vocabulary.codes[-1] += 1
    checkpoint.save(tmp_path / "codes.npz", stored)
    with pytest.raises(CheckpointError, match="its 30 symbols are not the 30 of the text"):
        prepared(corpus, tmp_path / "codes.npz", steps=30)
    assert not prepared(corpus, tmp_path / "codes.npz", overwrite=True).resumed


def test_overwrite_starts_a_new_run(corpus, tmp_path):
    train(corpus, tmp_path / "a.npz")
    start = train(corpus, tmp_path / "a.npz", hidden_size=9, overwrite=True)[0]
    assert (start.step, start.continued) == (0, False)


def test_overwrite_replaces_checkpoints_alone(corpus, tmp_path):
    other = tmp_path / "other.txt"
    other.write_text("a text")
    with pytest.raises(UsageError, match=r"other\.txt is not a charrnn checkpoint, and --overwrite "
                                         "replaces only checkpoints: choose another file with -o"):
        prepared(corpus, other, overwrite=True)
    with pytest.raises(CheckpointError, match="not a charrnn checkpoint; choose another file with"):
        prepared(corpus, other)
    assert other.read_text() == "a text"
    train(corpus, tmp_path / "a.npz")
    (tmp_path / "a.npz").write_bytes((tmp_path / "a.npz").read_bytes()[:100])
    with pytest.raises(CheckpointError, match=r"damaged or incomplete.*; choose another file"):
        prepared(corpus, tmp_path / "a.npz")
    (tmp_path / "empty.npz").touch()
    for path in (tmp_path / "a.npz", tmp_path / "empty.npz"):
        assert not prepared(corpus, path, overwrite=True).resumed


def test_a_default_that_changed_between_versions_does_not_prevent_resuming(corpus, tmp_path):
    train(corpus, tmp_path / "a.npz", steps=10)
    stored = checkpoint.load(tmp_path / "a.npz")
    stored.settings["clip_norm"] = 0.5  # what this file's version had as its default
    assert "clip_norm" not in stored.explicit
    checkpoint.save(tmp_path / "a.npz", stored)
    run = prepared(corpus, tmp_path / "a.npz", steps=20)
    assert run.config.clip_norm == 0.5
    with pytest.raises(UsageError, match=r"clip_norm 0\.5 \(default\) there, 1 now"):
        prepared(corpus, tmp_path / "a.npz", steps=20, clip_norm=1.0)


def test_a_resumed_run_is_shown_and_stored_with_its_current_settings(corpus, tmp_path):
    train(corpus, tmp_path / "a.npz", steps=10)
    start = train(corpus, tmp_path / "a.npz", steps=20, save_every=7)[0]
    assert (start.settings["steps"], start.settings["save_every"]) == (20, 7)
    stored = checkpoint.load(tmp_path / "a.npz")
    assert (stored.settings["steps"], stored.progress.steps) == (20, 20)
    train(corpus, tmp_path / "b.npz", steps=20, save_every=7)
    again = checkpoint.load(tmp_path / "b.npz")
    assert (stored.settings, stored.explicit) == (again.settings, again.explicit)


def test_weights_of_another_run_keep_old_characters_and_add_new_ones(corpus, tmp_path):
    train(corpus, tmp_path / "old.npz", steps=50)
    other = tmp_path / "other.txt"
    other.write_text("Das Äpfelchen fiel.\n" * 30)
    run = prepared(other, tmp_path / "new.npz", init_from=tmp_path / "old.npz",
                   hidden_size=None, layers=None)
    old, new = checkpoint.load(tmp_path / "old.npz"), run.checkpoint
    characters = set(TEXT) | set(other.read_text())
    assert new.vocabulary.decode(np.arange(len(new.vocabulary))) == "".join(sorted(characters))
    kept = new.vocabulary.lookup(old.vocabulary.codes)
    np.testing.assert_array_equal(new.last.W_xh[0][kept], old.best.W_xh[0])
    np.testing.assert_array_equal(new.last.W_hy[:, kept], old.best.W_hy)
    np.testing.assert_array_equal(new.last.b_y[kept], old.best.b_y)
    np.testing.assert_array_equal(new.last.W_hh[1], old.best.W_hh[1])
    added = np.setdiff1d(np.arange(len(new.vocabulary)), kept)
    assert len(added) > 0
    assert np.abs(new.last.W_xh[0][added]).min() > 0
    assert (new.progress.step, np.abs(new.moments).max()) == (0, 0)


def test_with_byte_level_weights_a_text_is_read_as_bytes(tmp_path):
    (tmp_path / "a.bin").write_bytes(bytes(range(256)) * 4)
    (tmp_path / "b.txt").write_text("é中\n" * 50, encoding="utf-8")
    train(tmp_path / "a.bin", tmp_path / "a.npz", level="byte", steps=5)
    start = train(tmp_path / "b.txt", tmp_path / "b.npz", init_from=tmp_path / "a.npz")[0]
    assert (start.level, start.chars, start.distinct) == ("byte", 300, 6)
    assert len(checkpoint.load(tmp_path / "b.npz").vocabulary) == 256


def test_weights_of_another_run_refuse_another_architecture(corpus, tmp_path):
    train(corpus, tmp_path / "old.npz")
    with pytest.raises(UsageError, match="hidden_size 8, not 9"):
        prepared(corpus, tmp_path / "new.npz", init_from=tmp_path / "old.npz", hidden_size=9)


def test_the_cell_comes_with_the_weights(corpus, tmp_path):
    train(corpus, tmp_path / "old.npz", cell="lstm")
    run = prepared(corpus, tmp_path / "new.npz", init_from=tmp_path / "old.npz")
    assert run.config.cell == "lstm"
    old = checkpoint.load(tmp_path / "old.npz").best
    for name in old.named:
        np.testing.assert_array_equal(run.checkpoint.last.named[name], old.named[name])
    with pytest.raises(UsageError, match="has cell lstm, not gru"):
        prepared(corpus, tmp_path / "new.npz", init_from=tmp_path / "old.npz", cell="gru")
    train(corpus, tmp_path / "relu.npz", activation="relu")
    with pytest.raises(UsageError, match="has cell rnn, not gru"):
        prepared(corpus, tmp_path / "new.npz", init_from=tmp_path / "relu.npz", cell="gru")


def test_the_output_is_never_one_of_the_inputs(corpus, tmp_path):
    before = corpus.read_text()
    with pytest.raises(UsageError, match="would be replaced"):
        prepared(corpus, corpus, overwrite=True)
    assert corpus.read_text() == before


def test_the_output_is_never_the_config_file(corpus, tmp_path):
    settings = tmp_path / "my.yaml"
    settings.write_text("steps: 3\n")
    request = Request([str(corpus)], settings, Config(), overwrite=True,
                      config_file=str(settings))
    with pytest.raises(UsageError, match="would be replaced"):
        prepare(request)


def test_a_damaged_checkpoint_may_be_replaced_and_another_file_may_not(corpus, tmp_path):
    out = tmp_path / "a.npz"
    train(corpus, out)
    out.write_bytes(out.read_bytes()[:-100])
    with pytest.raises(CheckpointError, match="choose another file with -o, or use --overwrite"):
        train(corpus, out)
    out.write_bytes(b"another file")
    with pytest.raises(CheckpointError, match=r"choose another file with -o$"):
        train(corpus, out)
