# SPDX-License-Identifier: Apache-2.0
"""Damaged model files: bytes anywhere, or the description changed and the checksum mended."""

from __future__ import annotations

import json
import random
import struct
import zlib
from copy import deepcopy
from typing import Any

from pycnn.files import container

VALUES = (0, 1, -1, 2, 3, 255, 2**31 - 1, 2**31, 2**63, 10**30, 0.5, -0.0, True, None, "", "relu")
VALUES = (*VALUES, "Dense", "../x", "\x1b[2J", "a" * 300, [], [0], [[]], {}, {"a": 1}, 1e308)


def mutated(data: bytes, rng: random.Random) -> bytes:
    """The file with one to three faults."""
    if rng.random() < 0.3:
        return damaged(data, rng)
    (length,) = struct.unpack_from("<Q", data)
    header, body = json.loads(data[8 : 8 + length]), data[8 + length :]
    metadata = header["__metadata__"]
    for _ in range(rng.randint(1, 3)):
        part = rng.choice(("pycnn.graph", "pycnn.graph", "pycnn.graph", "pycnn.training", ""))
        tree = described(metadata.get(part))
        if tree is not None:
            change(tree, rng)
            metadata[part] = json.dumps(tree, separators=(",", ":"))
        elif not part:
            change(header, rng)
            if not isinstance(header.get("__metadata__"), dict):
                break
            metadata = header["__metadata__"]
    if rng.random() < 0.1:
        body = damaged(body, rng)
    return sealed(header, body)


def described(text: Any) -> Any:
    """The tree in a part of the metadata; None where an earlier fault left none."""
    try:
        return json.loads(text)
    except (TypeError, ValueError):
        return None


def damaged(data: bytes, rng: random.Random) -> bytes:
    """Bits turned, a piece cut out, doubled or appended."""
    if not data:
        return b"\0"
    array = bytearray(data)
    at, size = rng.randrange(len(data)), rng.choice((1, 1, 2, 4, 8, 64))
    kind = rng.randrange(5)
    if kind == 0:
        array[at] ^= 1 << rng.randrange(8)
    elif kind == 1:
        del array[at : at + size]
    elif kind == 2:
        array[at:at] = array[at : at + size]
    elif kind == 3:
        del array[at:]
    else:
        array[at : at + size] = rng.randbytes(size)
    return bytes(array)


def change(tree: Any, rng: random.Random) -> None:
    """Something in a JSON tree: a value replaced, removed, doubled or swapped."""
    places: list[tuple[Any, Any]] = []
    stack = [tree]
    while stack:
        node = stack.pop()
        keys = list(node) if isinstance(node, dict) else list(range(len(node)))
        places += [(node, key) for key in keys]
        stack += [node[key] for key in keys if isinstance(node[key], (dict, list))]
    if not places:
        return
    node, key = rng.choice(places)
    kind = rng.random()
    if kind < 0.5:
        near = isinstance(node[key], int) and rng.random() < 0.6
        node[key] = node[key] + rng.choice((-1, 1, 2)) if near else deepcopy(rng.choice(VALUES))
    elif kind < 0.65:
        del node[key]
    elif kind < 0.8:
        other, place = rng.choice(places)
        if key in node if isinstance(node, dict) else key < len(node):
            node[key] = json.loads(json.dumps(other[place]))
    elif isinstance(node, list):
        node.insert(key, json.loads(json.dumps(node[key])))
    else:
        node[rng.choice(("future", "name", "units", "trainable"))] = deepcopy(rng.choice(VALUES))


def sealed(header: Any, body: bytes) -> bytes:
    """The file of this header, with a checksum that fits where it has a place."""
    text = json.dumps(header, separators=(",", ":")).encode()
    raw = struct.pack("<Q", len(text)) + text + body
    metadata = header.get("__metadata__")
    stored = metadata.get(container.CHECKSUM) if isinstance(metadata, dict) else None
    if not isinstance(stored, str):
        return raw
    field = f'"{container.CHECKSUM}":"%s"'
    old, zero = (field % stored).encode(), (field % "00000000").encode()
    zeroed = raw.replace(old, zero, 1)
    return zeroed.replace(zero, (field % f"{zlib.crc32(zeroed):08x}").encode(), 1)
