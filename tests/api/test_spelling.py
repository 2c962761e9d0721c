"""Messages of the API name arguments of functions where those of the command name options."""

from __future__ import annotations

import pytest

from charrnn.api.spelling import as_arguments, in_arguments
from charrnn.errors import UsageError


@pytest.mark.parametrize(("text", "expected"), [
    ("lower --learning-rate (now 0.1)", "lower learning_rate (now 0.1)"),
    ("leave them out with --unknown skip", 'leave them out with unknown="skip"'),
    ("or read any file with --level byte", 'or read any file with level="byte"'),
    ("use fewer (--threads 1, or more)", "use fewer (threads=1, or more)"),
    ("or clip with --clip-norm 1; it is", "or clip with clip_norm=1; it is"),
    ("replace that one with --overwrite", "replace that one with overwrite=True"),
    ("summed with --deterministic, which", "summed with deterministic=True, which"),
    ("name another file with -o", "name another file with out"),
    ("begin with --init-from OLD.npz -o NEW.npz",
     'begin with init_from="OLD.npz" out="NEW.npz"'),
    ("--steps and --epochs set the length", "steps and epochs set the length"),
    ("choose a higher --min-count, or", "choose a higher min_count, or"),
    ("--learning-rate 1e-3", "learning_rate=1e-3"),
    ("lower --learning-rate 0.1.", "lower learning_rate=0.1."),
    ("or --val-fraction 0.2, say", "or val_fraction=0.2, say"),
    ("mark: read it with --encoding utf-16", 'mark: read it with encoding="utf-16"'),
    ("name the right --encoding, or read", "name the right encoding, or read"),
    ("the order, --encoding utf-16-le or -be", 'the order, encoding="utf-16-le" or -be'),
    ("(and --init-from base to start from its weights)",
     '(and init_from="base" to start from its weights)'),
    ("(and --init-from 'a b.npz' to start from its weights)",
     '(and init_from="a b.npz" to start from its weights)'),
    ("--init-from it's.npz", 'init_from="it\'s.npz"'),
    ("--init-from takes the architecture", "init_from takes the architecture"),
    ("fewer --threads (now 8), or --no-deterministic, or",
     "fewer threads (now 8), or deterministic=False, or"),
    ("charrnn train -o x.npz", "charrnn train -o x.npz"),
    ("a: no such checkpoint; charrnn train writes one",
     "a: no such checkpoint; charrnn.train writes one"),
    ("'out' is not a setting: use the option -o of charrnn train",
     "'out' is not a setting: use the argument out of charrnn.train"),
    ("'init' is not a setting: use the option --init-from of charrnn train",
     "'init' is not a setting: use the argument init_from of charrnn.train"),
    ("'config' is not a setting: use the option -c of charrnn train",
     "'config' is not a setting: use the argument config of charrnn.train"),
    ("'json' is not a setting: use the option --json of charrnn train",
     "'json' is not a setting; only the command has this option"),
    ("'text' is not a setting: name the text after charrnn train",
     "'text' is not a setting: the text is the first argument of charrnn.train"),
    ("a-o and x--seed are names", "a-o and x--seed are names"),
    ("no option: --nothing", "no option: --nothing"),
    ("one -- two - three", "one -- two - three"),
])
def test_options_become_arguments_and_nothing_else_changes(text, expected):
    assert as_arguments(text) == expected


def test_the_same_error_is_raised_with_the_new_message():
    error = UsageError("name it with -o")
    with pytest.raises(UsageError, match=r"^name it with out$") as caught, in_arguments():
        raise error
    assert caught.value is error
    with pytest.raises(ValueError, match=r"^-o$"), in_arguments():
        raise ValueError("-o")
