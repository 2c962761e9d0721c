"""Names that other programs use: each leads to something that exists."""

from __future__ import annotations

import pytest

from charrnn.cli.main import cli
from charrnn.config.parsing import normal
from charrnn.config.settings import FIELDS
from charrnn.config.synonyms import NOT_SETTINGS, SYNONYMS

OPTIONS = {
    normal(name) for command in cli.commands.values() for param in command.params
    for name in param.opts
}
CHOICES = {"skip", "val", "rnn"}  # of --errors, --unknown, --split and --cell


@pytest.mark.parametrize("word", SYNONYMS)
def test_a_synonym_is_spelled_as_a_key_and_leads_to_settings_options_or_choices(word):
    assert normal(word) == word
    assert word not in FIELDS
    assert SYNONYMS[word]
    assert set(SYNONYMS[word]) <= OPTIONS | CHOICES


def test_explained_names_are_not_settings():
    assert not NOT_SETTINGS.keys() & FIELDS.keys()
    assert {normal(name) for name in NOT_SETTINGS} == NOT_SETTINGS.keys()
