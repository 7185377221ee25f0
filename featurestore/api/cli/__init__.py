"""The command line: ``featurestore``.

Commands are loaded when they are called; the list that ``--help`` shows stands in :mod:`featurestore.api.cli.root`.
"""

from __future__ import annotations

import sys


def main() -> None:
    """The entry point of the ``featurestore`` command."""
    from featurestore.api.cli.root import featurestore

    sys.exit(featurestore.main(prog_name="featurestore"))
