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
    ("--learning-rate 1e-3", "learning_rate 1e-3"),
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
