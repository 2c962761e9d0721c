"""One canonical name for each text encoding, however it is spelled."""

from __future__ import annotations

import codecs

MAX_NAME = 100  # characters of a name that is looked up
# Names that users and documents know, in place of Python's own.
PREFERRED = {"iso8859-1": "latin-1"}


def canonical(name: str) -> str:
    """The canonical name: ``utf-8`` for utf8, UTF-8 and utf_8. LookupError if there is none.

    Encodings are distinguished as in Python. So utf-8-sig is not utf-8, whether or not a text
    begins with a byte order mark: the meaning of a name must not depend on the text.
    """
    if len(name) > MAX_NAME:
        raise LookupError("no encoding has such a long name")
    found = codecs.lookup(name).name
    return PREFERRED.get(found, found)
