# SPDX-License-Identifier: Apache-2.0
"""What a disk may hold after a power cut in the middle of a save (fault row 76).

The calls of a save are recorded; a disk that loses power keeps, of what was not synced yet, any
selection of changed names, and of a file's bytes none, some, or zeros in their place.
"""

from __future__ import annotations

import errno
import itertools
import os
from dataclasses import dataclass, field

import pytest

from pycnn.ground import disk as files

OLD, NEW = b"old " * 300, b"new " * 500


@dataclass
class Disk:
    """Stands in for the module os, does what is asked, and keeps what it was."""

    links: bool = True
    calls: list[tuple[str, ...]] = field(default_factory=list)
    content: dict[str, bytes] = field(default_factory=dict)  # by inode: the name it was made with
    opened: dict[int, str] = field(default_factory=dict)

    def __getattr__(self, name):
        return getattr(os, name)

    def open(self, path, flags, mode=0o777):
        descriptor = os.open(path, flags, mode)
        self.opened[descriptor] = os.fspath(path)
        if flags & os.O_CREAT:
            self.calls.append(("name", os.fspath(path), os.fspath(path)))
            self.content[os.fspath(path)] = b""
        return descriptor

    def write(self, descriptor, data):
        count = os.write(descriptor, data[: len(NEW) // 3])
        self.content[self.opened[descriptor]] += bytes(data[:count])
        self.calls.append(("write", self.opened[descriptor]))
        return count

    def fsync(self, descriptor):
        os.fsync(descriptor)
        self.calls.append(("sync", self.opened[descriptor]))

    def replace(self, source, target):
        os.replace(source, target)
        self.calls.append(("name", os.fspath(target), os.fspath(source)))
        self.calls.append(("remove", os.fspath(source)))

    def link(self, source, target):
        if not self.links:
            raise OSError(errno.EOPNOTSUPP, "no links")
        os.link(source, target)
        self.calls.append(("name", os.fspath(target), os.fspath(source)))

    def unlink(self, path):
        os.unlink(path)
        self.calls.append(("remove", os.fspath(path)))


def contents(disk, inode, synced):
    """What may be read from a file whose bytes were or were not synced."""
    data = disk.content[inode]
    return {data} if inode in synced else {data, b"", data[: len(data) // 2], bytes(len(data))}


def after_a_cut(disk, calls, path, old):
    """All that may be found under `path` after these calls; None: there is no such file."""
    folder, synced = os.path.dirname(path), set()
    certain, names = {path: "old"} if old else {}, []  # from names to inodes; calls not synced
    for kind, *what in calls:
        if kind == "write":
            synced.discard(what[0])
        elif kind == "sync" and what[0] == folder:
            certain, names = renamed(certain, names), []
        elif kind == "sync":
            synced.add(what[0])
        else:
            names.append((kind, *what))
    found = set()
    for kept in itertools.product([False, True], repeat=len(names)):
        inode = renamed(certain, itertools.compress(names, kept)).get(path)
        if inode in (None, "old"):
            found.add(OLD if inode else None)
        else:
            found |= contents(disk, inode, synced)
    return found


def renamed(names, calls):
    names = dict(names)
    for kind, name, *inode in calls:
        if kind == "name":
            names[name] = inode[0]
        else:
            names.pop(name, None)
    return names


def save(monkeypatch, path, *, links=True, overwrite=True):
    disk = Disk(links)
    with monkeypatch.context() as patch:
        patch.setattr(files, "os", disk)
        files.write_file(path, NEW, overwrite=overwrite)
    assert path.read_bytes() == NEW
    assert any(call[0] == "write" for call in disk.calls)
    return disk


@pytest.mark.parametrize("old", [False, True])
def test_a_power_cut_leaves_the_old_file_or_the_new_one(tmp_path, monkeypatch, old):
    path = tmp_path / "m.pycnn"
    if old:
        path.write_bytes(OLD)
    disk = save(monkeypatch, path)
    for done in range(len(disk.calls)):
        assert after_a_cut(disk, disk.calls[:done], str(path), old) <= {OLD if old else None, NEW}
    assert after_a_cut(disk, disk.calls, str(path), old) == {NEW}  # a save that returned is safe


@pytest.mark.parametrize("links", [True, False])
def test_a_power_cut_where_nothing_may_be_overwritten(tmp_path, monkeypatch, links):
    """Without hard links the name is taken by an empty file first: there was nothing to lose."""
    path = tmp_path / "m.pycnn"
    disk = save(monkeypatch, path, links=links, overwrite=False)
    allowed = {None, NEW} if links else {None, NEW, b""}
    for done in range(len(disk.calls)):
        assert after_a_cut(disk, disk.calls[:done], str(path), False) <= allowed
    assert after_a_cut(disk, disk.calls, str(path), False) == {NEW}


@pytest.mark.parametrize("lost", ["file", "folder"])
def test_the_disk_of_these_tests_loses_what_was_not_synced(tmp_path, monkeypatch, lost):
    path = tmp_path / "m.pycnn"
    path.write_bytes(OLD)
    disk = save(monkeypatch, path)
    folder = str(tmp_path)
    unsynced = (
        ("sync", folder)
        if lost == "folder"
        else next(call for call in disk.calls if call[0] == "sync" and call[1] != folder)
    )
    calls = [call for call in disk.calls if call != unsynced]
    assert not after_a_cut(disk, calls, str(path), True) <= {NEW}
