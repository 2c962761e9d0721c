"""Encodings have one name each, however they are spelled."""

from __future__ import annotations

import codecs

import pytest

from charrnn.system.encodings import canonical


@pytest.mark.parametrize(("name", "spellings"), {
    "utf-8": ["utf-8", "utf8", "UTF-8", "utf_8", "U8"],
    "latin-1": ["latin-1", "latin1", "ISO-8859-1", "iso8859-1", "L1"],
    "cp1252": ["cp1252", "windows-1252", "CP1252"],
    "utf-16": ["utf-16", "utf16", "UTF_16"],
    "gb18030": ["GB18030", "gb18030-2000"],
}.items())
def test_every_spelling_of_an_encoding_is_the_same_name(name, spellings):
    for spelling in spellings:
        assert canonical(spelling) == name
        assert codecs.lookup(spelling).name == codecs.lookup(name).name, "a name that Python knows"


def test_a_byte_order_mark_or_an_order_makes_another_encoding():
    names = {canonical(name) for name in ("utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be")}
    assert len(names) == 5


@pytest.mark.parametrize("name", ["klingon", "", "utf-8" * 100, "utf-8\0", "é"])
def test_an_unknown_encoding_is_a_lookup_error(name):
    with pytest.raises((LookupError, ValueError)):
        canonical(name)
