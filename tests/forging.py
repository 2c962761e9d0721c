"""Build checkpoints that charrnn would never write, and check how they are refused.

The fixtures ``forge`` and ``reseal`` turn their parts into files with a valid digest.
"""

from __future__ import annotations

import io
import json
import zipfile

import numpy as np
import pytest

from charrnn.errors import CharrnnError
from charrnn.storage import checkpoint


def npy(array, version=(1, 0)):
    """An array as the bytes of an ``.npy`` file."""
    buffer = io.BytesIO()
    np.lib.format.write_array(buffer, np.asarray(array), version)
    return buffer.getvalue()


def members_of(data):
    """The names and the bytes of the members of an archive."""
    with zipfile.ZipFile(io.BytesIO(data)) as file:
        return [(info.filename, file.read(info)) for info in file.infolist()]


def with_meta(data, change):
    """The members of a checkpoint whose JSON was changed by ``change``.

    ``change`` gets the JSON's mapping and modifies it, or returns another value, or bytes.
    """
    members = members_of(data)
    meta = json.loads(members[0][1].partition(b"\n")[2])
    changed = change(meta)
    if not isinstance(changed, bytes):
        changed = json.dumps(meta if changed is None else changed).encode()
    return [("meta.npy", npy(np.frombuffer(changed, np.uint8))), *members[1:]]


def put(*keys_and_value):
    """A change of the JSON that sets a value: ``put(key, ..., value)``."""
    *keys, last, value = keys_and_value

    def change(meta):
        for key in keys:
            meta = meta[key]
        meta[last] = value

    return change


def without(*keys):
    """A change of the JSON that deletes the value at the path of ``keys``."""
    *outer, last = keys

    def change(meta):
        for key in outer:
            meta = meta[key]
        del meta[last]

    return change


def refusal(path):
    """The message, of one line, with which a file is refused, without the file's path."""
    with pytest.raises(CharrnnError) as caught:
        checkpoint.load(path)
    message = str(caught.value)
    assert str(path) in message
    assert "\n" not in message
    assert caught.value.exit_code == 1
    return message.replace(str(path), "")
