"""Cases that any engine can be judged by: events, a definition with its own bounds, instants and the values expected.

The cases are JSON files in ``cases/``; tables from other systems can be added as data, with the bounds that those systems have.
One file is a group:

``start``
    the instant that all times count from, in seconds.
``columns``
    the types of the columns, by name.
``events``
    rows; ``key``, ``time``, and optionally ``arrival`` (else it arrived when it happened) and ``sequence`` (else its place
    in the file).
``cases``
    each a ``name``, an ``aggregation`` (``function``, ``column``, ``window`` with ``kind``, ``width``, ``hop`` in seconds,
    and what else an aggregation has; ``where`` is ``[column, operator, value]``), whether ``as_known``, and ``expected``:
    rows of key, time and value.

``NaN``, ``Infinity`` and ``-Infinity`` stand as texts in columns and answers of floats.

>>> from featurestore.testing import conformance
>>> conformance.run("oracle")["failed"]
0
"""

from featurestore.testing.conformance.cases import Case, Group, load_groups
from featurestore.testing.conformance.runner import ENGINES, Engine, run

__all__ = ["ENGINES", "Case", "Engine", "Group", "load_groups", "run"]
