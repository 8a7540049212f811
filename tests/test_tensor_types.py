# SPDX-License-Identifier: Apache-2.0
"""Tensors of several types in one container; BF16 is read as the float32 it stands for."""

from __future__ import annotations

import json
import struct

import numpy as np
import pytest
from test_container import header_of, rebuilt
from toys import tiny

from pycnn.files import container
from pycnn.models import load_model

METADATA = {"pycnn.format": "1.0"}


def test_types_come_back_also_where_they_are_not_aligned():
    tensors = {
        "bytes": np.arange(250, 253, dtype=np.uint8),
        "floats": np.float32([[1.5, -0.0, np.inf]]),
        "labels": np.int32([-1, 2**31 - 1]),
        "foreign": np.array([1, 2], ">i4"),
    }
    found = container.unpack(container.pack(METADATA, tensors))[1]
    assert list(found) == list(tensors)
    for name, array in tensors.items():
        assert found[name].dtype == array.dtype.newbyteorder("="), name
        assert found[name].flags.aligned
        np.testing.assert_array_equal(found[name], array)


@pytest.mark.parametrize("dtype", [np.float64, np.int64, np.uint16, bool])
def test_types_that_the_file_does_not_know_are_not_written(dtype):
    with pytest.raises(KeyError):
        container.pack(METADATA, {"x": np.zeros(3, dtype)})


def in_bf16(data):
    """The model file with all its tensors cut to bfloat16."""
    header, body = header_of(data)
    halves, end = [], 0
    for name, entry in header.items():
        if name != "__metadata__":
            begin, stop = entry["data_offsets"]
            upper = np.frombuffer(body[begin:stop], "<u4") >> 16
            halves.append(upper.astype("<u2").tobytes())
            entry.update(dtype="BF16", data_offsets=[end, end + len(halves[-1])])
            end += len(halves[-1])
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-(8 + len(text)) % 64)
    return rebuilt(struct.pack("<Q", len(text)) + text + b"".join(halves), lambda header: None)


def test_models_of_bf16_are_the_floats_that_they_stand_for(tmp_path):
    model = tiny()
    model.save(tmp_path / "m.pycnn")
    data = (tmp_path / "m.pycnn").read_bytes()
    half = in_bf16(data)
    (tmp_path / "half.pycnn").write_bytes(half)
    again = load_model(tmp_path / "half.pycnn")
    for mine, theirs in zip(model.get_weights(), again.get_weights(), strict=True):
        cut = mine.view(np.uint32) & np.uint32(0xFFFF0000)
        np.testing.assert_array_equal(theirs, cut.view(np.float32))
