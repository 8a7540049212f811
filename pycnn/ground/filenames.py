# SPDX-License-Identifier: Apache-2.0
"""Names of files with the numbers of an epoch in them."""

from __future__ import annotations

import re
import string
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from .text import MAX_SHOWN, printable, quoted


class FileTemplate:
    """A path that may have the epoch and names of logs in braces: "{epoch:02d}-{loss:.2f}.pycnn".

    Args:
        owner: for messages.
    """

    def __init__(self, owner: str, text: str) -> None:
        self.text, self._where = text, f"{owner}: filepath {quoted(text[-MAX_SHOWN + 2 :])}"
        try:
            fields = [field for _, field, _, _ in string.Formatter().parse(text)]
        except ValueError as error:
            raise ValueError(f"{self._where}: {error}") from None
        self._names = {re.split(r"[.\[]", field)[0] for field in fields if field is not None}
        if any(not name or name.isdigit() for name in self._names):
            raise ValueError(f"{self._where}: braces need a name, as in {{epoch}}")

    def check_names(self, logs: Iterable[str]) -> None:
        """Refuses names in braces that neither the epoch nor a log has."""
        known = list(dict.fromkeys(("epoch", *logs)))
        for name in sorted(self._names.difference(known)):
            raise ValueError(
                f"{self._where}: {printable(name)} is not among {printable(', '.join(known))}"
            )

    def make_folder(self) -> None:
        """Makes the folder, where its name is the same for all epochs."""
        folder = Path(self.text).parent
        if not re.search("[{}]", str(folder)):
            folder.mkdir(parents=True, exist_ok=True)

    def make_path(self, values: Mapping[str, Any]) -> Path:
        """The path for these numbers, in a folder that exists."""
        self.check_names(values)
        try:
            path = Path(self.text.format_map(values))
        except (AttributeError, LookupError, TypeError, ValueError) as error:
            raise ValueError(f"{self._where}: {error}") from error
        path.parent.mkdir(parents=True, exist_ok=True)
        return path
