# SPDX-License-Identifier: Apache-2.0
"""Files on the disk: what is opened, how far it is read, and what a save leaves behind."""

from __future__ import annotations

import errno
import os
import resource
import signal
import stat
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
from toys import same_weights, tiny

from pycnn import callbacks
from pycnn.errors import ModelFormatError
from pycnn.files import container, saving
from pycnn.ground import disk
from pycnn.models import load_model

# --- reading ------------------------------------------------------------------------------------


def open_descriptors():
    return len(os.listdir("/proc/self/fd"))


needs_proc = pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="needs /proc")


@needs_proc
def test_failed_loads_leave_no_descriptor(tmp_path):
    """Finding 14: load_model(folder) leaked one each time."""
    (tmp_path / "bad").write_bytes(b"no model")
    os.mkfifo(tmp_path / "fifo")
    before = open_descriptors()
    for _ in range(1000):
        for name in (".", "bad", "fifo", "missing"):
            with pytest.raises((OSError, ModelFormatError)):
                load_model(tmp_path / name)
    assert open_descriptors() == before


@needs_proc
def test_load_model_at_the_descriptor_limit(tmp_path):
    tiny().save(tmp_path / "m.pycnn")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (open_descriptors() + 9, hard))
    taken = []
    try:
        with pytest.raises(OSError, match="Too many open files"):
            while True:
                taken.append(os.open(os.devnull, os.O_RDONLY))
        with pytest.raises(OSError, match="Too many open files"):
            load_model(tmp_path / "m.pycnn")
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        for descriptor in taken:
            os.close(descriptor)
    load_model(tmp_path / "m.pycnn")


class CountingFile:
    """A file of zeros after `start`, of any size; counts the bytes that are read."""

    def __init__(self, start):
        self.start, self.count = start, 0

    def read(self, size):
        data = self.start[self.count : self.count + size].ljust(size, b"\0")
        self.count += size
        return data


@pytest.mark.parametrize(
    "start",
    [
        b"",
        b"PK\3\4",
        b"\x89HDF\r\n\x1a\n",
        b"version https://git-lfs.github.com/spec/v1\n",
        (1 << 20).to_bytes(8, "little"),
        (2**40).to_bytes(8, "little") + b"{",
    ],
)
def test_a_huge_file_that_is_no_model_is_not_read(start):
    """Finding 5: a sparse file of 6 GB was read whole before its first bytes were looked at."""
    file = CountingFile(start)
    with pytest.raises(ModelFormatError):
        container.read(file, 6 << 30)
    assert file.count <= 4096


def test_a_file_that_does_not_end_with_its_tensors_is_read_up_to_its_header():
    data = saving.to_bytes(tiny())
    length = int.from_bytes(data[:8], "little")
    file = CountingFile(data)
    with pytest.raises(ModelFormatError, match=r"expected .* bytes, got"):
        container.read(file, 6 << 30)
    assert file.count <= 8 + length


@pytest.mark.parametrize("change", [-4, 4])
def test_a_file_that_changes_while_it_is_read(tmp_path, change):
    data = saving.to_bytes(tiny())
    path = tmp_path / "m"
    path.write_bytes(data[:change] if change < 0 else data + bytes(change))
    with open(path, "rb") as file, pytest.raises(ModelFormatError, match="changed its size"):
        container.read(file, len(data))


# --- names --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["m.h5", "m.keras", "m.ONNX", "m.pt", "m.weights.h5", "m.npz"])
def test_foreign_suffixes_are_refused(name, tmp_path):
    """Finding 27: save("m.h5") wrote a pycnn container under a foreign name."""
    with pytest.raises(ValueError, match=r"\.pycnn"):
        tiny().save(tmp_path / name)
    with pytest.raises(ValueError, match=r"\.pycnn"):
        callbacks.ModelCheckpoint(tmp_path / name)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "name", ["m", "m.pycnn", "m.safetensors", "1-0.25", ".h5", "x" * 255, "\u00e9" * 127]
)
def test_other_names_are_fine(name, tmp_path):
    """Finding 27: names of 226 to 255 bytes failed."""
    model = tiny()
    for _ in range(2):
        model.save(tmp_path / name)
    assert same_weights(load_model(tmp_path / name), model)
    assert [p.name for p in tmp_path.iterdir()] == [name]


# --- what a save keeps and leaves ---------------------------------------------------------------


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o444])
def test_the_mode_of_an_old_file_is_kept(mode, tmp_path):
    """Finding 27: save over a 0600 file gave 0644."""
    path = tmp_path / "m.pycnn"
    tiny().save(path)
    path.chmod(mode)
    tiny().save(path)
    assert stat.S_IMODE(path.stat().st_mode) == mode


def test_a_new_file_follows_the_umask(tmp_path):
    old = os.umask(0o027)
    try:
        for overwrite in (True, False):
            path = tmp_path / f"{overwrite}.pycnn"
            tiny().save(path, overwrite=overwrite)
            assert stat.S_IMODE(path.stat().st_mode) == 0o640
    finally:
        os.umask(old)


@pytest.mark.parametrize("exists", [True, False])
def test_links_are_followed(exists, tmp_path):
    """Finding 27: a symlink was replaced by a file."""
    (tmp_path / "a").mkdir()
    target, link = tmp_path / "a" / "target.pycnn", tmp_path / "link.pycnn"
    if exists:
        tiny().save(target)
    link.symlink_to("second.pycnn")
    (tmp_path / "second.pycnn").symlink_to(target)
    model = tiny()
    model.save(link)
    assert link.is_symlink()
    assert not target.is_symlink()
    assert same_weights(load_model(target), model)
    assert [p.name for p in (tmp_path / "a").iterdir()] == ["target.pycnn"]


def test_what_is_no_file_is_not_replaced(tmp_path):
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "folder").mkdir()
    for name in ("fifo", "loop", "folder", "missing/m.pycnn"):
        with pytest.raises(OSError, match=name):
            tiny().save(tmp_path / name)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["fifo", "folder", "loop"]
    assert (tmp_path / "fifo").is_fifo()


SAVE = """
import sys, numpy as np
from pycnn.ground import disk
while True:
    disk.write_file(sys.argv[1], np.random.default_rng().bytes(3_000_000))
"""


def test_killed_saves_leave_a_file_or_nothing_and_the_next_save_cleans_up(tmp_path):
    """Finding 27: nine .part files stayed after kills."""
    path = tmp_path / "m.pycnn"
    tiny().save(path)
    for delay in (0.0, 0.003, 0.006, 0.009, 0.012):
        child = subprocess.Popen([sys.executable, "-c", SAVE, str(path)], cwd=tmp_path)
        before = path.stat().st_ino
        while path.stat().st_ino == before:  # it has started
            assert child.poll() is None
            time.sleep(0.001)
        time.sleep(delay)
        child.kill()
        child.wait()
        assert path.exists()
    killed = "import os, signal\nos.replace = lambda *_: os.kill(os.getpid(), signal.SIGKILL)\n"
    command = [sys.executable, "-c", killed + SAVE, str(path)]
    for _ in range(3):
        assert subprocess.run(command, cwd=tmp_path, check=False).returncode
    assert list(tmp_path.glob(".*.part"))  # of the last one at least
    tiny().save(path)
    assert [p.name for p in tmp_path.iterdir()] == ["m.pycnn"]


def test_saves_to_one_name_at_once_do_not_remove_each_others_parts(tmp_path):
    path = tmp_path / "m.pycnn"
    contents = [bytes([i]) * 200_000 for i in range(4)]
    errors = []

    def save(data):
        try:
            for _ in range(25):
                disk.write_file(path, data)
        except OSError as error:
            errors.append(error)

    threads = [threading.Thread(target=save, args=(data,)) for data in contents]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors
    assert path.read_bytes() in contents
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize("links", [True, False])
def test_overwrite_false_does_not_race(tmp_path, monkeypatch, links):
    """Finding 27: a file made by another process after the check was replaced."""
    path = tmp_path / "m.pycnn"
    sync = os.fsync

    def other_process(descriptor):
        path.write_text("other")
        sync(descriptor)

    def no_links(*arguments):
        raise OSError(errno.EOPNOTSUPP, "no links")

    if not links:
        monkeypatch.setattr(os, "link", no_links)
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", other_process)
        with pytest.raises(FileExistsError, match="overwrite is False"):
            tiny().save(path, overwrite=False)
    assert path.read_text() == "other"
    assert len(list(tmp_path.iterdir())) == 1
    path.unlink()
    tiny().save(path, overwrite=False)
    load_model(path)


def test_a_full_disk_is_found_before_the_first_byte(tmp_path, monkeypatch):
    path = tmp_path / "m.pycnn"
    tiny().save(path)
    before = path.read_bytes()
    written = []
    write = os.write
    monkeypatch.setattr(os, "write", lambda *a: written.append(a) or write(*a))

    def full(*arguments):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full, raising=False)
    with pytest.raises(OSError, match="No space left"):
        tiny().save(path)
    assert not written
    assert path.read_bytes() == before
    assert len(list(tmp_path.iterdir())) == 1


def test_short_writes_and_systems_without_fallocate(tmp_path, monkeypatch):
    write = os.write
    monkeypatch.setattr(os, "write", lambda descriptor, data: write(descriptor, data[:100]))

    def unsupported(*arguments):
        raise OSError(errno.EOPNOTSUPP, "not here")

    monkeypatch.setattr(os, "posix_fallocate", unsupported, raising=False)
    tiny().save(tmp_path / "m.pycnn")
    load_model(tmp_path / "m.pycnn")


def test_the_file_size_limit_of_the_process(tmp_path):
    path = tmp_path / "m.pycnn"
    tiny().save(path)
    before = path.read_bytes()
    old = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (512, old[1]))
    try:
        with pytest.raises(OSError, match="too large"):
            tiny().save(path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, old)
        signal.signal(signal.SIGXFSZ, handler)
    assert path.read_bytes() == before
    assert len(list(tmp_path.iterdir())) == 1


def test_saving_over_the_file_the_model_came_from(tmp_path):
    path = tmp_path / "m.pycnn"
    tiny().save(path)
    model = load_model(path)
    model.set_weights([w + np.float32(1) for w in model.get_weights()])
    model.save(path)
    assert same_weights(load_model(path), model)
