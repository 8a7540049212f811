# SPDX-License-Identifier: Apache-2.0
"""Files: only regular ones are read, and they are written all or nothing."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import stat
import zlib
from functools import partial
from io import FileIO
from pathlib import Path
from typing import BinaryIO

FOREIGN = {
    "Keras": (".h5", ".hdf5", ".keras"),
    "TensorFlow": (".pb", ".tflite", ".ckpt"),
    "PyTorch": (".pt", ".pth", ".torch", ".jit"),
    "ONNX": (".onnx", ".ort"),
    "NumPy": (".npz", ".npy"),
    "Python's pickle": (".pkl", ".pickle", ".joblib", ".dill"),
    "another program": (
        *(".gguf", ".ggml", ".caffemodel", ".mlmodel", ".mlpackage", ".mat", ".msgpack", ".xml"),
        *(".zip", ".tar", ".tgz", ".gz", ".bz2", ".xz", ".zst", ".7z", ".json", ".yaml", ".yml"),
        *(".csv", ".txt", ".md", ".py", ".ipynb", ".html", ".pdf", ".png", ".jpg", ".jpeg", ".gif"),
    ),
}
UNSUPPORTED = {errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENODEV}
UNLINKABLE = {errno.EPERM, errno.ENOSYS, errno.EOPNOTSUPP, errno.EMLINK}


# ---- reading ----


def open_regular(where: str, filepath: str | Path) -> tuple[BinaryIO, int]:
    """A regular file and its size; never waits for the other end of a FIFO or a device."""
    mode = os.stat(filepath).st_mode
    if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
        raise OSError(f"{where}: not a regular file: {filepath}")
    file = open(filepath, "rb")  # one call in C: an interrupt leaves no descriptor that nobody owns
    try:
        return file, os.fstat(file.fileno()).st_size
    except BaseException:
        file.close()
        raise


# ---- writing ----


def checked_suffix(filepath: str | Path) -> Path:
    """The path, where its suffix does not promise another format, else ValueError."""
    path = Path(filepath)
    suffix = path.suffix.lower()
    for owner, suffixes in FOREIGN.items():
        if suffix in suffixes:
            raise ValueError(
                f"save: {path.name[-80:]!r}: files in {suffix} belong to {owner}, and pycnn writes "
                f"a format of its own; use {path.stem[-80:] + '.pycnn'!r}"
            )
    return path


def write_file(filepath: str | Path, data: bytes, *, overwrite: bool = True) -> None:
    """All or nothing: a new file beside the old one, on the disk, then renamed over it.

    Links are followed and the mode of an old file is kept. Where `overwrite` is False, a file that
    another process makes meanwhile is not replaced either: FileExistsError.
    """
    target = Path(os.path.realpath(checked_suffix(filepath)))
    old = _old_file(target)
    if old is not None and not overwrite:
        raise _exists(target)
    _remove_stale(target)
    try:
        part, file = _open_part(target, 0o666 if old is None else 0o600)
    except OSError as error:  # the user knows the file by its own name
        raise OSError(error.errno, error.strerror, str(target)) from None
    descriptor = file.fileno()
    try:
        _reserve(descriptor, len(data))
        left = memoryview(data)
        while left:
            left = left[os.write(descriptor, left) :]
        if old is not None:
            _keep_owner_and_mode(descriptor, old)
        os.fsync(descriptor)
        if overwrite:
            os.replace(part, target)
        else:
            _rename_to_new(part, target)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(part)
        raise
    finally:
        file.close()
    _sync_folder(target.parent)


def _old_file(target: Path) -> os.stat_result | None:
    """What would be replaced; an error where it is no regular file."""
    try:
        status = os.lstat(target)  # links were followed: one that is left runs in a circle
    except FileNotFoundError:
        return None
    if stat.S_ISLNK(status.st_mode):
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), str(target))
    if stat.S_ISDIR(status.st_mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(target))
    if not stat.S_ISREG(status.st_mode):
        raise OSError(f"save: not a regular file: {target}")
    return status


def _exists(target: Path) -> FileExistsError:
    return FileExistsError(f"save: {target} exists and overwrite is False")


def _part_prefix(target: Path) -> str:
    """Short, whatever the length of the name."""
    return f".pycnn-{zlib.crc32(os.fsencode(target.name)):08x}-"


def _open_part(target: Path, mode: int) -> tuple[Path, FileIO]:
    """A new file beside the target, locked for as long as it is open."""
    while True:
        part = target.with_name(f"{_part_prefix(target)}{os.urandom(6).hex()}.part")
        file = FileIO(part, "x", opener=partial(os.open, mode=mode))
        with contextlib.suppress(OSError):  # a file system without locks: parts are left alone
            fcntl.flock(file, fcntl.LOCK_EX)
        if os.fstat(file.fileno()).st_nlink:
            return part, file
        file.close()  # another save took it for a stale one, before it was locked


def _remove_stale(target: Path) -> None:
    """Removes what saves to the same name left behind when they were killed: nobody locks it."""
    prefix = _part_prefix(target)
    with contextlib.suppress(OSError):
        for name in os.listdir(target.parent):
            if name.startswith(prefix) and name.endswith(".part"):
                with contextlib.suppress(OSError):
                    _remove_unlocked(target.with_name(name))


def _remove_unlocked(path: Path) -> None:
    if stat.S_ISREG(os.lstat(path).st_mode):
        with FileIO(path, "r+") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.unlink(path)


def _reserve(descriptor: int, size: int) -> None:
    """Fails before the first byte where the disk is too full."""
    if size == 0 or not hasattr(os, "posix_fallocate"):
        return
    try:
        os.posix_fallocate(descriptor, 0, size)
    except OSError as error:
        if error.errno not in UNSUPPORTED:
            raise


def _keep_owner_and_mode(descriptor: int, old: os.stat_result) -> None:
    with contextlib.suppress(OSError):  # only root may give files away
        os.fchown(descriptor, old.st_uid, old.st_gid)
    os.fchmod(descriptor, stat.S_IMODE(old.st_mode))


def _rename_to_new(part: Path, target: Path) -> None:
    """Gives the file its name, unless something has that name by now."""
    try:
        os.link(part, target)
    except FileExistsError:
        raise _exists(target) from None
    except OSError as error:
        if error.errno not in UNLINKABLE:
            raise
        try:  # a file system without hard links: take the name first
            os.close(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
        except FileExistsError:
            raise _exists(target) from None
        os.replace(part, target)
    else:
        os.unlink(part)


def _sync_folder(folder: Path) -> None:
    """Makes the rename durable, where the system can."""
    with contextlib.suppress(OSError):
        opened = _Folder(folder)
        os.fsync(opened.descriptor)


class _Folder:
    """An open folder, closed with the object: Python's files refuse folders."""

    def __init__(self, path: Path) -> None:
        self.descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)

    def __del__(self) -> None:
        if hasattr(self, "descriptor"):
            os.close(self.descriptor)
