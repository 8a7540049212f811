# SPDX-License-Identifier: Apache-2.0
"""The container: a strict safetensors file. Data only; nothing in it is ever executed.

u64 header length | JSON header, space-padded to a multiple of 64 | tensors without a gap.
"pycnn.crc32" in the header covers the whole file (computed with its own digits set to 0).
"""

from __future__ import annotations

import io
import json
import math
import re
import struct
import zlib
from collections.abc import Mapping
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from ..errors import ChecksumError, ModelFormatError
from ..ground.checks import MAX_EXTENT
from ..ground.text import quoted

Tensors = dict[str, NDArray[Any]]

# Types of tensors as they are stored. NumPy has no bfloat16: BF16 is read as the float32 it is the
# upper half of, and not written.
DTYPES: dict[str, np.dtype[Any]] = {
    "F32": np.dtype("<f4"),
    "BF16": np.dtype("<u2"),
    "I32": np.dtype("<i4"),
    "U8": np.dtype("u1"),
}
WRITTEN = {DTYPES[name]: name for name in ("F32", "I32", "U8")}

MAX_HEADER = 16 << 20
MAX_TENSORS = 65_536
MAX_RANK = 8
ALIGNMENT = 64
CHECKSUM = "pycnn.crc32"
MAX_DIGITS = 20  # of an integer in the header: more than any offset has
MAX_REAL = 64  # characters of a number with a fraction or an exponent
# A weight's path, or a slot and such a path; models inside models make it long.
TENSOR_RULE = re.compile(r"(opt\.[a-z_]{1,32}:)?[A-Za-z0-9_.\-/]{1,2560}")
# More of these make a text that takes much more memory than its length.
MAX_MARKS = {",": 1 << 21, "{": 1 << 19, "[": 1 << 20}
START_BYTES = 256  # looked at before anything else is read

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
    (b"BZh", "a bzip2 file"),
    (b"\xfd7zXZ", "an xz file"),
    (b"(\xb5/\xfd", "a zstd file"),
    (b"GIF8", "a GIF image"),
    (b"\x7fELF", "a program"),
    (b"Entry not found", "an error message of a download"),
)
PATTERNS = (
    (rb"\x80[\x01-\x05][^\0]", "a Python pickle, which is never opened"),
    (rb"(\xef\xbb\xbf)?\s*<(!doctype|!--|html|head|\?xml|error)", "a web page"),
    (rb"(\xef\xbb\xbf)?\s*[{\[]\s*[\"\]}{\[]", "a JSON text"),
    (rb"\0{64}", "a file of zeros"),
)


# ---- writing ----


def pack(metadata: Mapping[str, str], tensors: Mapping[str, NDArray[Any]]) -> bytes:
    """The bytes of a container; the tensors are of float32, int32 or uint8."""
    header: dict[str, Any] = {"__metadata__": {**metadata, CHECKSUM: "0" * 8}}
    blocks, end = [], 0
    if len(tensors) > MAX_TENSORS:
        raise ValueError(f"save: at most {MAX_TENSORS} tensors, got {len(tensors)}")
    for name, array in tensors.items():
        if not TENSOR_RULE.fullmatch(name):
            raise ValueError(f"save: tensor {quoted(name)}: must match {TENSOR_RULE.pattern}")
        dtype = array.dtype.newbyteorder("<")
        block = np.ascontiguousarray(array, dtype).tobytes()
        begin, end = end, end + len(block)
        shape, offsets = list(array.shape), [begin, end]
        header[name] = {"dtype": WRITTEN[dtype], "shape": shape, "data_offsets": offsets}
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
    """(metadata, tensors) of a container, or ModelFormatError."""
    return read(io.BytesIO(data), len(data))


def read(file: BinaryIO, size: int) -> tuple[dict[str, str], Tensors]:
    """The same from a file of that size, which is read no further than the first fault.

    Its start is looked at first, then the header; the tensors are read once they fill the rest of
    the file exactly. So the memory is at most that of the file and of what its header describes,
    twice that of BF16 tensors.
    """
    start = file.read(min(size, START_BYTES))
    length = _header_length(start, size)
    text = start[8 : 8 + length] + file.read(max(0, 8 + length - len(start)))
    header = _parse_header(start, text)
    metadata = _pop_metadata(header)
    begin, offset = 8 + length, 0
    places: list[tuple[str, str, tuple[int, ...], int]] = []
    for name, entry in header.items():
        shape, end = _check_tensor(name, entry, offset, size - begin)
        places.append((name, entry["dtype"], shape, offset))
        offset = end
    if begin + offset != size:
        raise ModelFormatError(f"expected {begin + offset} bytes, got {size}")
    body = _read_body(file, start[begin:], offset)
    _check_checksum(start[:8] + text, body, metadata)
    tensors: Tensors = {}
    for name, dtype, shape, place in places:
        values = np.frombuffer(body, DTYPES[dtype], math.prod(shape), place)
        tensors[name] = _decoded(dtype, values).reshape(shape)
    return metadata, tensors


def _decoded(dtype: str, stored: NDArray[Any]) -> NDArray[Any]:
    """The values, where the processor may read them."""
    if dtype == "BF16":
        return (stored.astype(np.uint32) << np.uint32(16)).view(np.float32)
    return stored if stored.flags.aligned else stored.copy()


def _read_body(file: BinaryIO, start: bytes, size: int) -> NDArray[np.uint8]:
    """The bytes behind the header; `start` of them were read before."""
    body = np.empty(size, np.uint8)
    view = body.data
    view[: len(start)] = start
    done = len(start)
    while done < size and (count := file.readinto(view[done:])):  # type: ignore[attr-defined]
        done += count
    if done < size or file.read(1):
        raise ModelFormatError("the file changed its size while it was read")
    return body


def _header_length(start: bytes, size: int) -> int:
    if size < 8 or len(start) < 8:
        raise ModelFormatError(f"too short for a model: {size} bytes{looks_like(start)}")
    (length,) = struct.unpack_from("<Q", start)
    if length > MAX_HEADER:
        raise ModelFormatError(f"not a pycnn model: header over 16 MiB{looks_like(start)}")
    if length > size - 8:
        raise ModelFormatError(
            f"truncated or not a pycnn model: header of {length} bytes, file of {size}"
            + looks_like(start)
        )
    if length == 0 or start[8:9] != b"{":
        raise ModelFormatError(f"header: expected a JSON object{looks_like(start)}")
    return int(length)


def _parse_header(start: bytes, raw: bytes) -> dict[str, Any]:
    if raw.count(b'"data_offsets"') > MAX_TENSORS:
        raise ModelFormatError(f"header: at most {MAX_TENSORS} tensors")
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise ModelFormatError(f"header: not UTF-8: {error.reason}{looks_like(start)}") from None
    header = parse_json("header", text)
    assert isinstance(header, dict)
    return header


def _pop_metadata(header: dict[str, Any]) -> dict[str, str]:
    metadata = header.pop("__metadata__", None)
    if not isinstance(metadata, dict) or not all(isinstance(v, str) for v in metadata.values()):
        raise ModelFormatError("header: expected __metadata__ to map names to strings")
    for key, value in metadata.items():
        if not key.isprintable() or not value.isprintable():
            raise ModelFormatError(f"header: metadata {quoted(key)} has unprintable characters")
    if "pycnn.format" not in metadata:
        raise ModelFormatError("a safetensors file, but not one of a pycnn model")
    if len(header) > MAX_TENSORS:
        raise ModelFormatError(f"header: at most {MAX_TENSORS} tensors, got {len(header)}")
    return metadata


def looks_like(start: bytes) -> str:
    """ "; looks like ...", where the first bytes are well known."""
    for signature, name in SIGNATURES:
        if start.startswith(signature):
            return f"; looks like {name}"
    for pattern, name in PATTERNS:
        if re.match(pattern, start, re.IGNORECASE):
            return f"; looks like {name}"
    return ""


def parse_json(where: str, text: str) -> Any:
    """JSON without the liberties Python takes: no doubled keys, no NaN, no endless numbers.

    Time and memory are linear in the text; the stack is that of Python's limit.
    """
    for mark, most in MAX_MARKS.items():
        if text.count(mark) > most:
            raise ModelFormatError(f"{where}: over {most} times {mark!r}")

    def refuse(constant: str) -> Any:
        raise ValueError(f"{constant} is not JSON")

    def integer(digits: str) -> int:
        if len(digits) > MAX_DIGITS:
            raise ValueError("number too long")
        if digits == "-0":
            raise ValueError("-0 is no integer")
        return int(digits)

    def real(digits: str) -> float:
        if len(digits) > MAX_REAL:
            raise ValueError("number too long")
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
    where = f"tensor {quoted(name)}"
    if not TENSOR_RULE.fullmatch(name):
        raise ModelFormatError(f"{where}: names must match {TENSOR_RULE.pattern}")
    if not isinstance(entry, dict) or set(entry) != {"dtype", "shape", "data_offsets"}:
        raise ModelFormatError(f"{where}: expected dtype, shape and data_offsets")
    if not isinstance(entry["dtype"], str) or entry["dtype"] not in DTYPES:
        known = ", ".join(DTYPES)
        raise ModelFormatError(
            f"{where}: dtype must be one of {known}, got {quoted(entry['dtype'])}"
        )
    shape = _integers(where, entry["shape"], MAX_RANK)
    if not all(1 <= extent <= MAX_EXTENT for extent in shape):
        raise ModelFormatError(f"{where}: extents must be in 1..{MAX_EXTENT}, got {shape}")
    begin_end = _integers(where, entry["data_offsets"], 2)
    end = offset + DTYPES[entry["dtype"]].itemsize * math.prod(shape)
    if begin_end != (offset, end) or end > available:
        raise ModelFormatError(
            f"{where}: expected bytes {offset}..{end} of {available}, got {begin_end}"
        )
    return shape, end


def _integers(where: str, value: Any, most: int) -> tuple[int, ...]:
    if not isinstance(value, list) or len(value) > most or not all(type(i) is int for i in value):
        raise ModelFormatError(f"{where}: expected up to {most} integers")
    return tuple(value)


def _check_checksum(head: bytes, body: NDArray[np.uint8], metadata: Mapping[str, str]) -> None:
    stored = metadata.get(CHECKSUM, "")
    if not re.fullmatch("[0-9a-f]{8}", stored):
        raise ChecksumError(f"the file was damaged: {CHECKSUM} is {quoted(stored)}")
    zeroed = head.replace(_checksum_field(stored), _checksum_field("0" * 8), 1)
    if f"{zlib.crc32(body.data, zlib.crc32(zeroed)):08x}" != stored:
        raise ChecksumError("the file was damaged: its checksum differs")
