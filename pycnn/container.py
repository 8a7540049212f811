# SPDX-License-Identifier: Apache-2.0
"""The container: a strict safetensors file. Data only; nothing in it is ever executed.

u64 header length | JSON header, space-padded to a multiple of 64 | float32 tensors without a gap.
"pycnn.crc32" in the header covers the whole file (computed with its own digits set to 0).
"""

from __future__ import annotations

import json
import math
import re
import struct
import zlib
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .errors import ChecksumError, ModelFormatError
from .layers.base import MAX_EXTENT, NAME_RULE

Tensors = dict[str, NDArray[np.float32]]

# A weight's path, or a slot's name before one; paths nest up to nine names.
TENSOR_NAME_RULE = re.compile(r"(opt\.[a-z_]{1,32}:)?" + NAME_RULE.pattern.replace("255", "2048"))
MAX_HEADER = 16 << 20
MAX_TENSORS = 65_536
MAX_RANK = 8
ALIGNMENT = 64
CHECKSUM = "pycnn.crc32"
MAX_DIGITS = 20  # of an integer in the header: more than any offset has

SIGNATURES = (
    (b"\x89PNG", "a PNG image"),
    (b"\xff\xd8\xff", "a JPEG image"),
    (b"\x89HDF", "an HDF5 file (Keras .h5)"),
    (b"PK", "a zip archive (.keras, .npz or PyTorch)"),
    (b"\x93NUMPY", "a NumPy .npy file"),
    (b"\x1f\x8b", "a gzip file"),
    (b"%PDF", "a PDF document"),
    (b"GGUF", "a GGUF file"),
    (b"version https://git-lfs", "a git-lfs pointer, not the file itself"),
    (b"\x80", "a Python pickle, which is never opened"),
)


# ---- writing ----


def pack(metadata: Mapping[str, str], tensors: Mapping[str, NDArray[np.float32]]) -> bytes:
    """The bytes of a container."""
    header: dict[str, Any] = {"__metadata__": {**metadata, CHECKSUM: "0" * 8}}
    blocks, end = [], 0
    for name, array in tensors.items():
        block = np.ascontiguousarray(array, "<f4").tobytes()
        begin, end = end, end + len(block)
        header[name] = {"dtype": "F32", "shape": list(array.shape), "data_offsets": [begin, end]}
        blocks.append(block)
    text = json.dumps(header, separators=(",", ":"), allow_nan=False).encode("ascii")
    text += b" " * (-(8 + len(text)) % ALIGNMENT)
    if len(text) > MAX_HEADER:
        raise ValueError(f"save: the model's description takes {len(text)} bytes, over 16 MiB")
    data = b"".join([struct.pack("<Q", len(text)), text, *blocks])
    return data.replace(_checksum_field("0" * 8), _checksum_field(f"{zlib.crc32(data):08x}"), 1)


def _checksum_field(digits: str) -> bytes:
    return f'"{CHECKSUM}":"{digits}"'.encode("ascii")


# ---- reading ----


def unpack(data: bytes) -> tuple[dict[str, str], Tensors]:
    """(metadata, tensors) of a container, or ModelFormatError. Uses no more memory than `data`."""
    header, begin = _read_header(data)
    metadata = header.pop("__metadata__", None)
    if not isinstance(metadata, dict) or not all(isinstance(v, str) for v in metadata.values()):
        raise ModelFormatError("header: expected __metadata__ to map names to strings")
    if "pycnn.format" not in metadata:
        raise ModelFormatError("a safetensors file, but not one of a pycnn model")
    if len(header) > MAX_TENSORS:
        raise ModelFormatError(f"header: at most {MAX_TENSORS} tensors, got {len(header)}")
    tensors: Tensors = {}
    offset = 0
    for name, entry in header.items():
        shape, end = _check_tensor(name, entry, offset, len(data) - begin)
        values = np.frombuffer(data, "<f4", (end - offset) // 4, begin + offset)
        tensors[name] = values.reshape(shape)
        offset = end
    if begin + offset != len(data):
        raise ModelFormatError(f"expected {begin + offset} bytes, got {len(data)}")
    _check_checksum(data, metadata)
    return metadata, tensors


def _read_header(data: bytes) -> tuple[dict[str, Any], int]:
    if len(data) < 8:
        raise ModelFormatError(f"too short for a model: {len(data)} bytes{looks_like(data)}")
    (length,) = struct.unpack_from("<Q", data)
    if length > MAX_HEADER:
        raise ModelFormatError(f"not a pycnn model: header over 16 MiB{looks_like(data)}")
    if length > len(data) - 8:
        raise ModelFormatError(
            f"truncated or not a pycnn model: header of {length} bytes, file of {len(data)}"
            + looks_like(data)
        )
    try:
        text = data[8 : 8 + length].decode("utf-8")
    except UnicodeDecodeError as error:
        raise ModelFormatError(f"header: not UTF-8: {error.reason}{looks_like(data)}") from None
    if not text.startswith("{"):
        raise ModelFormatError(f"header: expected a JSON object{looks_like(data)}")
    header = parse_json("header", text)
    assert isinstance(header, dict)
    return header, 8 + length


def looks_like(data: bytes) -> str:
    """ "; looks like ...", where the first bytes are well known."""
    for signature, name in SIGNATURES:
        if data.startswith(signature):
            return f"; looks like {name}"
    if re.match(rb"\s*<(!doctype|html|\?xml)", data[:256], re.IGNORECASE):
        return "; looks like a web page"
    return ""


def parse_json(where: str, text: str) -> Any:
    """JSON without the liberties Python takes: no doubled keys, no NaN, no endless numbers."""

    def refuse(constant: str) -> Any:
        raise ValueError(f"{constant} is not JSON")

    def integer(digits: str) -> int:
        if len(digits) > MAX_DIGITS:
            raise ValueError("number too long")
        return int(digits)

    def real(digits: str) -> float:
        value = float(digits)
        if not math.isfinite(value):
            raise ValueError("number too large")
        return value

    def mapping(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        result = dict(pairs)
        if len(result) != len(pairs):
            raise ValueError("a key occurs twice")
        return result

    try:
        return json.loads(
            text,
            parse_constant=refuse,
            parse_int=integer,
            parse_float=real,
            object_pairs_hook=mapping,
        )
    except (ValueError, RecursionError) as error:
        reason = "nested too deep" if isinstance(error, RecursionError) else str(error)
        raise ModelFormatError(f"{where}: bad JSON: {reason}") from None


def _check_tensor(
    name: str, entry: Any, offset: int, available: int
) -> tuple[tuple[int, ...], int]:
    """(shape, end) of one tensor, which must begin at `offset`."""
    where = f"tensor {ascii(name)[:80]}"
    if not TENSOR_NAME_RULE.fullmatch(name):
        raise ModelFormatError(f"{where}: names must match {TENSOR_NAME_RULE.pattern}")
    if not isinstance(entry, dict) or set(entry) != {"dtype", "shape", "data_offsets"}:
        raise ModelFormatError(f"{where}: expected dtype, shape and data_offsets")
    if entry["dtype"] != "F32":
        raise ModelFormatError(f"{where}: expected dtype F32, got {ascii(entry['dtype'])[:40]}")
    shape = _integers(where, entry["shape"], MAX_RANK)
    if not all(1 <= extent <= MAX_EXTENT for extent in shape):
        raise ModelFormatError(f"{where}: extents must be in 1..{MAX_EXTENT}, got {shape}")
    begin_end = _integers(where, entry["data_offsets"], 2)
    end = offset + 4 * math.prod(shape)
    if begin_end != (offset, end) or end > available:
        raise ModelFormatError(
            f"{where}: expected bytes {offset}..{end} of {available}, got {begin_end}"
        )
    return shape, end


def _integers(where: str, value: Any, most: int) -> tuple[int, ...]:
    if not isinstance(value, list) or len(value) > most or not all(type(i) is int for i in value):
        raise ModelFormatError(f"{where}: expected up to {most} integers")
    return tuple(value)


def _check_checksum(data: bytes, metadata: Mapping[str, str]) -> None:
    stored = metadata.get(CHECKSUM, "")
    if not re.fullmatch("[0-9a-f]{8}", stored):
        raise ChecksumError(f"the file was damaged: {CHECKSUM} is {ascii(stored)[:20]}")
    zeroed = data.replace(_checksum_field(stored), _checksum_field("0" * 8), 1)
    if f"{zlib.crc32(zeroed):08x}" != stored:
        raise ChecksumError("the file was damaged: its checksum differs")
