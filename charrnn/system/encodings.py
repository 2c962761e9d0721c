"""Encodings of text by one name each, however they are spelled."""

from __future__ import annotations

import codecs

MAX_NAME = 100  # characters of a name that is looked up
# Names that users and documents know, in place of Python's own.
PREFERRED = {"iso8859-1": "latin-1"}


def canonical(name: str) -> str:
    """The one name of an encoding: ``utf-8`` for utf8, UTF-8 and utf_8. LookupError for others.

    Names are told apart as Python does. So utf-8-sig is not utf-8, whether or not a text begins
    with a byte order mark: what a name means must not depend on the text.
    """
    if len(name) > MAX_NAME:
        raise LookupError("no encoding has such a long name")
    found = codecs.lookup(name).name
    return PREFERRED.get(found, found)
