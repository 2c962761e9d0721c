"""What ``charrnn eval`` refuses before it reads anything."""

from __future__ import annotations

import itertools

import pytest

from charrnn.cli.eval_checks import check_combination
from charrnn.errors import UsageError

OPTIONS = {"split": (None, "all", "train", "val"), "per_line": (False, True),
           "dynamic": (False, True), "surprisal": (False, True), "baselines": (False, True),
           "train_text": (None, "a.txt"), "as_json": (False, True)}


def test_every_combination_that_is_accepted_gives_one_kind_of_result():
    accepted = 0
    for values in itertools.product(*OPTIONS.values()):
        given = dict(zip(OPTIONS, values, strict=True))
        try:
            check_combination(**given)
        except UsageError as error:
            assert str(error).startswith("--")
            continue
        accepted += 1
        kinds = [given["per_line"], given["surprisal"], given["baselines"]]
        assert sum(kinds) <= 1, given
        assert not (given["surprisal"] and given["as_json"]), given
        assert not (given["dynamic"] and (given["per_line"] or given["baselines"])), given
        if given["baselines"]:
            assert given["split"] == "val" or given["train_text"], given
        else:
            assert given["train_text"] is None, given
    assert accepted > 20


@pytest.mark.parametrize(("given", "words"), [
    ({"per_line": True, "split": "val"}, "leave out --split"),
    ({"per_line": True, "dynamic": True}, "use one of them"),
    ({"surprisal": True, "as_json": True}, "only with --split and --dynamic"),
    ({"baselines": True}, "name it with --train-text"),
    ({"train_text": "a.txt"}, "only with --baselines"),
])
def test_the_message_gives_the_remedy(given, words):
    nothing = {name: values[0] for name, values in OPTIONS.items()}
    with pytest.raises(UsageError, match=words):
        check_combination(**nothing | given)
