"""The types of columns that are text in the file: CSV fields, groups of a log line, JSON numbers as written.

A type is inferred only where every value of the whole file survives it:

- ``Bool``: ``true`` and ``false`` (also ``True``, ``TRUE``);
- ``Int64``: decimal integers without leading zeros or plus sign, so ``007`` and ``+1`` stay text;
- ``Float64``: decimal numbers that the nearest double gives back, digit for digit: ``0.1`` does, ``0.12345678901234567890`` and
  ``9007199254740993.5`` do not;
- ``Decimal(38, n)``: other numbers of at most 38 digits;
- ``String``: everything else, dates included; declare ``types.Date`` or ``types.Timestamp`` in ``schema=`` to have them parsed.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Final, Literal

import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

Kind = Literal["null", "bool", "int", "float", "decimal", "string"]
TRUE: Final = ("true", "True", "TRUE")
FALSE: Final = ("false", "False", "FALSE")
_SPECIAL: Final = ("NaN", "nan", "inf", "-inf", "Infinity", "-Infinity")
_DECIMAL: Final = r"^-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?$"
_EXACT_DIGITS: Final = 15
_DIGITS: Final = 38


@dataclass(slots=True)
class TextColumn:
    """The narrowest kind that holds every value seen, for one column."""

    kind: Kind = "null"
    whole_digits: int = 1
    scale: int = 0
    plain: bool = True

    def observe(self, texts: pl.Series) -> None:
        """Take more values into account."""
        values = texts.drop_nulls()
        if not len(values) or self.kind == "string":
            return
        if self.kind in ("null", "bool"):
            boolean = bool(values.is_in(TRUE + FALSE).all())
            if boolean or self.kind == "bool":
                self.kind = "bool" if boolean else "string"
                return
        digits = self.whole_digits
        self._measure(values)
        if self.kind in ("null", "int") and not parse_ints(values).null_count():
            self.kind = "int"
        elif self._is_float(values, digits):
            self.kind = "float"
        elif self.plain and self.whole_digits + self.scale <= _DIGITS:
            self.kind = "decimal"
        else:
            self.kind = "string"

    def _is_float(self, values: pl.Series, digits: int) -> bool:
        """Whether a double holds these values, and the integers of at most so many digits before them."""
        held = self.kind in ("null", "float") or (self.kind == "int" and digits <= _EXACT_DIGITS)
        return held and not parse_floats(values).null_count()

    def _measure(self, values: pl.Series) -> None:
        self.plain = self.plain and bool(values.str.contains(_DECIMAL).all())
        if self.plain:
            parts = values.str.strip_chars_start("-").str.split_exact(".", 1).struct.unnest()
            self.whole_digits = max(self.whole_digits, _longest(parts["field_0"]))
            self.scale = max(self.scale, _longest(parts["field_1"]))

    @property
    def type(self) -> pa.DataType:
        """The inferred type; ``null`` for a column without values."""
        match self.kind:
            case "null":
                return pa.null()
            case "bool":
                return pa.bool_()
            case "int":
                return pa.int64()
            case "float":
                return pa.float64()
            case "decimal":
                return pa.decimal128(_DIGITS, self.scale)
        return pa.string()


def _longest(texts: pl.Series) -> int:
    longest = texts.str.len_bytes().max()
    return longest if isinstance(longest, int) else 0


def parse_bools(texts: pl.Series) -> pl.Series:
    """Booleans; null where a text is none."""
    frame = texts.alias("t").to_frame()
    value = pl.when(pl.col("t").is_in(TRUE)).then(pl.lit(True)).when(pl.col("t").is_in(FALSE)).then(pl.lit(False))
    return frame.select(value.otherwise(pl.lit(None, pl.Boolean)).alias(texts.name)).to_series()


def parse_ints(texts: pl.Series, dtype: pl.DataType | type[pl.DataType] = pl.Int64) -> pl.Series:
    """Integers; null where a text is none, would be written otherwise, or does not fit."""
    numbers = texts.cast(dtype, strict=False)
    head = texts.str.head(1)
    # Polars reads "007" and "+7" too; such texts are names, not numbers.
    odd = ((head == "0") & (texts.str.len_bytes() > 1)) | (head == "+")
    if dtype not in (pl.UInt8, pl.UInt16, pl.UInt32, pl.UInt64):
        odd |= (head == "-") & (texts.str.slice(1, 1) == "0")
    return _without(numbers, odd.fill_null(False))


def parse_floats(texts: pl.Series, dtype: pl.DataType | type[pl.DataType] = pl.Float64) -> pl.Series:
    """Floats; null where a text is no number, has leading zeros, or has digits that the float does not keep."""
    numbers = texts.cast(pl.Float64, strict=False)
    odd = texts.str.contains(r"^[+]|^-?0[0-9]").fill_null(False)
    odd |= ~numbers.is_finite().fill_null(True) & ~texts.is_in(_SPECIAL).fill_null(True)
    limit = 15 if dtype == pl.Float64 else 6 if dtype == pl.Float32 else 3
    # Fifteen significant digits survive a double and back, whatever they are (IEEE 754; 6 for single precision). A zero may
    # have underflowed.
    doubtful = (texts.str.len_bytes() > limit) | (numbers == 0.0) & (texts.str.len_bytes() > 3)
    narrow = numbers.cast(dtype, strict=False)
    places = (doubtful.fill_null(False) & numbers.is_finite().fill_null(False)).arg_true()
    if len(places):
        few, kept = texts.gather(places), narrow.gather(places)
        # The shortest digits that give a float back, or all those that the same number has as a double.
        forms = [kept.cast(pl.String), kept.cast(pl.Float64).cast(pl.String)]
        differing = (few.ne_missing(forms[0]) & few.ne_missing(forms[1])).arg_true()
        lost = [int(places[i]) for i in differing.to_list() if not any(_same_number(few[i], form[i]) for form in forms)]
        if lost:
            odd = odd.scatter(lost, True)
    if dtype != pl.Float64:
        odd |= (narrow.is_infinite() & numbers.is_finite()).fill_null(False)
    return _without(narrow, odd)


def parse_decimals(texts: pl.Series, target: pa.Decimal128Type) -> pl.Series:
    """Decimals; null where a text is no plain decimal number, has leading zeros, or has more digits than the type."""
    plain = texts.str.contains(_DECIMAL).fill_null(False)
    kept = pl.select(pl.when(plain).then(texts)).to_series()
    scale, whole = target.scale, target.precision - target.scale
    parts = kept.str.strip_chars_start("-").str.split_exact(".", 1).struct.unnest()
    tail = parts["field_1"].str.strip_chars_end("0").str.len_bytes().fill_null(0)
    fits = (tail <= scale) & ((parts["field_0"].str.len_bytes() <= whole) | (parts["field_0"] == "0"))
    digits = pl.select(
        pl.when(fits.fill_null(False)).then(kept.str.replace(r"(\.[0-9]*?)0+$", "$1").str.strip_suffix("."))
    ).to_series()
    found = pl.from_arrow(pc.cast(digits.to_arrow(), target))
    assert isinstance(found, pl.Series)  # noqa: S101 - narrows polars' union type
    return found.alias(texts.name)


def _same_number(text: str, shown: str) -> bool:
    try:
        return Decimal(text) == Decimal(shown)
    except InvalidOperation:
        return False


def _without(values: pl.Series, odd: pl.Series) -> pl.Series:
    if not odd.any():
        return values
    return values.to_frame().select(pl.when(~odd).then(pl.col(values.name)).alias(values.name)).to_series()
