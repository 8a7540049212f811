# SPDX-License-Identifier: Apache-2.0
"""Model files that are damaged, hostile or something else: each is refused with its reason."""

from __future__ import annotations

import json
import os
import pickle
import struct
import zlib
from functools import partial
from operator import methodcaller

import numpy as np
import pytest
from toys import tiny

import pycnn
from pycnn.errors import ChecksumError, ModelFormatError, ModelVersionError
from pycnn.files import container, saving
from pycnn.layers import Dense, Input
from pycnn.models import Model, load_model


def branched():
    x = Input((8,))
    y, z = Dense(4)(x), Dense(4)(x)
    return Model(x, [y, z])


def trained():
    model = tiny()
    model.compile("adam", "mse")
    model.train_on_batch(np.ones((2, 3)), np.ones((2, 2)))
    return model


def header_of(data):
    (length,) = struct.unpack_from("<Q", data)
    return json.loads(data[8 : 8 + length]), data[8 + length :]


def rebuilt(data, change):
    """The file with its header changed and a checksum that fits again."""
    header, body = header_of(data)
    text = change(header)
    text = json.dumps(header, separators=(",", ":")) if text is None else text
    raw = text.encode() if isinstance(text, str) else text
    raw = struct.pack("<Q", len(raw)) + raw + body
    stored = header["__metadata__"][container.CHECKSUM]
    field = b'"pycnn.crc32":"%s"'
    zeroed = raw.replace(field % stored.encode(), field % b"00000000", 1)
    crc = f"{zlib.crc32(zeroed):08x}".encode()
    return zeroed.replace(field % b"00000000", field % crc, 1)


def with_entry(key, data, change):
    """The file with a part of its metadata changed: what change() makes of it, in place."""

    def change_header(header):
        entry = json.loads(header["__metadata__"][key])
        change(entry)
        header["__metadata__"][key] = json.dumps(entry)

    return rebuilt(data, change_header)


with_graph = partial(with_entry, "pycnn.graph")
with_training = partial(with_entry, "pycnn.training")


# --- files that are something else --------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "too short for a model: 0 bytes"),
        (b"1234567", "too short for a model: 7 bytes"),
        (b"\x89PNG\r\n\x1a\n" + bytes(50), "looks like a PNG image"),
        (b"\x89HDF\r\n\x1a\n" + bytes(50), r"looks like an HDF5 file \(Keras .h5\)"),
        (b"PK\x03\x04" + bytes(50), "looks like a zip archive"),
        (pickle.dumps({"weights": list(range(99))}), "looks like a Python pickle"),
        (b"<!DOCTYPE html><html>404</html>", "looks like a web page"),
        (b"version https://git-lfs.github.com/spec/v1\n", "looks like a git-lfs pointer"),
        (b"\x1f\x8b\x08" + bytes(50), "looks like a gzip file"),
        (b"\x93NUMPY" + bytes(50), "looks like a NumPy .npy file"),
        (struct.pack("<Q", 2**63) + b"{}", "header over 16 MiB"),
        (struct.pack("<Q", 2**64 - 1) + b"{}", "header over 16 MiB"),
        (struct.pack("<Q", 50) + b"{}", "truncated or not a pycnn model"),
        (struct.pack("<Q", 2) + b"[]", "expected a JSON object"),
        (struct.pack("<Q", 0), "expected a JSON object"),
        (struct.pack("<Q", 4) + b"{\xff\xfe}", "not UTF-8"),
        (struct.pack("<Q", 2) + b"{}", "expected __metadata__"),
        (struct.pack("<Q", 19) + b'{"__metadata__":{}}', "not one of a pycnn model"),
    ],
)  # fmt: skip
def test_other_files_are_named(data, message, tmp_path):
    path = tmp_path / "file"
    path.write_bytes(data)
    with pytest.raises(ModelFormatError, match=message) as caught:
        load_model(path)
    assert str(path) in str(caught.value)


def test_paths_that_are_no_files(tmp_path):
    with pytest.raises(FileNotFoundError):
        load_model(tmp_path / "missing")
    with pytest.raises(OSError, match="directory"):
        load_model(tmp_path)
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "fifo")
        with pytest.raises(OSError, match="not a regular file"):
            load_model(tmp_path / "fifo")
    if os.path.exists("/dev/zero"):
        with pytest.raises(OSError, match="not a regular file"):
            load_model("/dev/zero")
    with pytest.raises(ValueError, match="null"):
        load_model(str(tmp_path / "a\0b"))


# --- damaged files ------------------------------------------------------------------------------


def test_every_truncation_is_refused():
    data = saving.to_bytes(tiny())
    for length in range(len(data)):
        with pytest.raises(ModelFormatError):
            saving.from_bytes(data[:length])


def test_every_flipped_bit_is_refused():
    data = saving.to_bytes(tiny())
    for position in range(len(data)):
        for bit in range(8):
            damaged = bytearray(data)
            damaged[position] ^= 1 << bit
            with pytest.raises(ModelFormatError):
                saving.from_bytes(bytes(damaged))


def test_flipped_weights_are_a_checksum_error():
    data = bytearray(saving.to_bytes(tiny()))
    data[-1] ^= 1
    with pytest.raises(ChecksumError, match="its checksum differs"):
        saving.from_bytes(bytes(data))


def test_anything_appended_or_prepended_is_refused():
    data = saving.to_bytes(tiny())
    for changed in (data + b"\0", data + data, b"\0" + data, b"PK\x03\x04" + data):
        with pytest.raises(ModelFormatError):
            saving.from_bytes(changed)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"__metadata__":{},"__metadata__":{}}', "a key occurs twice"),
        ('{"a":1,"\\u0061":2}', "a key occurs twice"),
        ("{} {}", "Extra data"),
        ("{" + '"a":[' * 100_000, "nested too deep|Expecting"),
        ('{"a":NaN}', "NaN is not JSON"),
        ('{"a":-Infinity}', "-Infinity is not JSON"),
        ('{"a":1e999}', "number too large"),
        ('{"a":' + "9" * 10_000 + "}", "number too long"),
        ('\ufeff{"a":1}', "expected a JSON object"),
        ('{"a":"\0"}', "control character"),
    ],
)
def test_bad_json_is_refused(text, message):
    raw = text.encode()
    with pytest.raises(ModelFormatError, match=message):
        saving.from_bytes(struct.pack("<Q", len(raw)) + raw)


def tensor(**changes):
    def change(header):
        header["dense/kernel"].update(changes)

    return change


def rename(old, new):
    def change(header):
        items = [(new if key == old else key, value) for key, value in header.items()]
        header.clear()
        header.update(items)

    return change


def without_graph(header):
    del header["__metadata__"]["pycnn.graph"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (tensor(data_offsets=[0, 20]), "tensor 'dense/kernel': expected bytes 0..24 of 32"),
        (tensor(data_offsets=[4, 28]), "expected bytes"),
        (tensor(data_offsets=[24, 0]), "expected bytes"),
        (tensor(data_offsets=[-24, 0]), "expected bytes"),
        (tensor(data_offsets=[0, 24.0]), "expected up to 2 integers"),
        (tensor(data_offsets=[False, 24]), "expected up to 2 integers"),
        (tensor(data_offsets="0:24"), "expected up to 2 integers"),
        (tensor(shape=[2, 2]), "expected bytes"),
        (tensor(shape=[2, 3]), r"expected shape \(3, 2\), got \(2, 3\)"),
        (tensor(shape=[6]), r"expected shape \(3, 2\), got \(6,\)"),
        (tensor(shape=[0, 2]), "extents must be in"),
        (tensor(shape=[2**63, 2]), "extents must be in"),
        (tensor(shape=[1] * 9), "expected up to 8 integers"),
        (tensor(shape=[2**31 - 1] * 8), "expected bytes"),
        (tensor(dtype="F64"), "dtype must be one of F32, BF16, I32, U8, got 'F64'"),
        (tensor(dtype=["F32"]), "dtype must be one of F32, BF16, I32, U8, got"),
        (tensor(dtype="I32"), "tensor dense/kernel: expected F32, got int32"),
        (tensor(dtype="U8"), "expected bytes 0..6 of 32"),
        (tensor(more=1), "expected dtype, shape and data_offsets"),
        (rename("dense/kernel", "dense/kernel\n"), "names must match"),
        (rename("dense/kernel", "other"), "tensor dense/kernel is missing"),
        (rename("dense/bias", "zzz"), "tensor dense/bias is missing"),
        (lambda header: header.update({"x": 3}), "expected dtype, shape and data_offsets"),
        (lambda header: header["__metadata__"].update({"x": 3}), "map names to strings"),
        (without_graph, "pycnn.graph: bad JSON"),
    ],
)
def test_headers_that_do_not_fit_are_refused(change, message):
    with pytest.raises(ModelFormatError, match=message):
        saving.from_bytes(rebuilt(saving.to_bytes(tiny()), change))


def test_weights_of_no_layer_are_refused():
    metadata, tensors = container.unpack(saving.to_bytes(tiny()))
    extra = container.pack(metadata, {**tensors, "left/over": np.ones(3, np.float32)})
    with pytest.raises(ModelFormatError, match="tensor left/over belongs to no layer"):
        saving.from_bytes(extra)


def set_layer(index, **config):
    def change(graph):
        graph["layers"][index]["config"].update(config)

    return change


def assign(*path_and_value):
    *path, last, value = path_and_value

    def change(graph):
        for key in path:
            graph = graph[key]
        graph[last] = value

    return change


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (assign("layers", 1, "class", "Lambdo"), ModelVersionError, "unknown class 'Lambdo'"),
        (assign("layers", 1, "class", "os.system"), ModelVersionError, "unknown class"),
        (assign("layers", 1, "class", ["Dense"]), ModelVersionError, "unknown class"),
        (set_layer(1, sparsity=0.5), ModelVersionError, "unknown option 'sparsity'"),
        (assign("future", 1), ModelVersionError, "unknown entry 'future'"),
        (assign("class", "Graph"), ModelVersionError, "unknown class 'Graph'"),
        (set_layer(1, units=-1), ModelFormatError, "units must be >= 1"),
        (set_layer(1, units=4), ModelFormatError, r"expected shape \(3, 4\), got \(3, 2\)"),
        (set_layer(1, units=2**31 - 1), ModelFormatError, "expected shape"),
        (set_layer(1, activation="eval"), ModelFormatError, "activation must be a function of"),
        (set_layer(1, name="<script>"), ModelFormatError, "name must match"),
        (set_layer(1, kernel_initializer="os"), ModelFormatError, "initializer: expected one of"),
        (set_layer(0, shape=[3.5]), ModelFormatError, "shape must be an integer"),
        (set_layer(0, shape=[2**31 - 1]), ModelFormatError, "expected shape"),
        (assign("layers", 1, "config", 3), ModelFormatError, "expected config to be an object"),
        (assign("layers", 3), ModelFormatError, "expected a list of up to 65536 layers"),
        (assign("layers", [3]), ModelFormatError, "layer 0: expected an object"),
        (assign("layers", []), ModelFormatError, "a Sequential without an input"),
        (assign("nodes", [[1, []]]), ModelFormatError, "not a chain"),
        (assign("name", 3), ModelFormatError, "name must match"),
        (assign("seed", -1), ModelFormatError, "bad seed"),
        (assign("seed", 1.5), ModelFormatError, "bad seed"),
    ],
)
def test_graphs_that_do_not_fit_are_refused(change, error, message):
    with pytest.raises(ModelFormatError, match=message) as caught:
        saving.from_bytes(with_graph(saving.to_bytes(tiny()), change))
    assert type(caught.value) is error


@pytest.mark.parametrize("kept", [[], [0], [1]], ids=["nothing", "no layer", "no input"])
def test_sequentials_without_an_input_or_a_layer_are_refused(kept):
    def change(graph):
        graph["layers"] = [graph["layers"][i] for i in kept]
        graph["nodes"] = [[0, []] for _ in kept]
        graph["inputs"], graph["outputs"] = [0], [len(kept) - 1]

    with pytest.raises(ModelFormatError, match="a Sequential without an input and a layer"):
        saving.from_bytes(with_graph(saving.to_bytes(tiny()), change))


@pytest.mark.parametrize("checksum", ["\u00e9" * 8, "", "ABCDEF01", "+1234567"])
def test_odd_checksums_are_refused(checksum):
    data = saving.to_bytes(tiny())
    header, body = header_of(data)
    header["__metadata__"]["pycnn.crc32"] = checksum
    text = json.dumps(header, ensure_ascii=False).encode()
    with pytest.raises(ChecksumError, match=r"pycnn\.crc32 is "):
        saving.from_bytes(struct.pack("<Q", len(text)) + text + body)


@pytest.mark.parametrize(
    ("nodes", "message"),
    [
        ([[0, []], [1, [2]], [2, [1]]], "node 1: expected an index below 1, got 2"),
        ([[0, []], [1, [1]]], "node 1: expected an index below 1, got 1"),
        ([[0, []], [1, [2**31]]], "expected an index below 1"),
        ([[0, []], [99, [0]]], "expected an index below 3, got 99"),
        ([[0, []], [True, [0]]], "expected an index below 3, got True"),
        ([[0, []], [1]], r"node 1: expected \[layer, inputs\]"),
        ({}, "expected a list of up to 65536 nodes"),
    ],
)
def test_connections_that_do_not_fit_are_refused(nodes, message):
    with pytest.raises(ModelFormatError, match=message):
        saving.from_bytes(with_graph(saving.to_bytes(branched()), assign("nodes", nodes)))


def test_newer_formats_are_refused_by_name():
    def newer(header):
        header["__metadata__"]["pycnn.format"] = "2.0"

    with pytest.raises(ModelVersionError, match=r"format '2\.0' needs a newer pycnn"):
        saving.from_bytes(rebuilt(saving.to_bytes(tiny()), newer))


def test_training_that_does_not_fit_is_refused():
    data = saving.to_bytes(trained())
    sparse = "sparse_categorical_accuracy"
    metric = {"class_name": "BinaryAccuracy", "config": {"name": ["a"]}}
    adam = {"class_name": "Adam"}
    for changes, message in (
        ({"loss": "eval"}, "loss: expected one of"),
        ({"loss": {"class_name": "MeanSquaredError", "config": {"x": 1}}}, "unexpected keyword"),
        ({"optimizer": {"class_name": "os", "config": {}}}, "optimizer: expected one of"),
        ({"iterations": -1}, "bad number of iterations"),
        ({"iterations": 0}, "belongs to no layer"),
        ({"metrics": [sparse]}, "metric sparse_categorical_accuracy: expected labels as"),
        ({"metrics": [metric]}, "binary_accuracy: name must be a string"),
        ({"optimizer": {**adam, "config": {"learning_rate": 1e39}}}, "learning_rate must be"),
        ({"optimizer": {**adam, "config": {"epsilon": 1e-39}}}, "epsilon must be"),
        ({"more": 0}, "unknown entry 'more'"),
        ({"on_nonfinite": "slip"}, "on_nonfinite must be one of"),
        ({"on_nonfinite": ["skip"]}, "on_nonfinite must be one of"),
    ):
        with pytest.raises(ModelFormatError, match=message):
            saving.from_bytes(with_training(data, methodcaller("update", changes)))


def test_a_failed_load_leaves_the_global_state_alone():
    pycnn.set_seed(3)
    first = tiny().get_weights()[0]
    pycnn.set_seed(3)
    with pytest.raises(ModelFormatError):
        saving.from_bytes(b"")
    np.testing.assert_array_equal(tiny().get_weights()[0], first)
    pycnn.set_seed(0)
