"""Packed rows: how the online store keeps one row of features as bytes.

A row is a header, the fixed-width values, the end offsets of the variable-width values, and those values::

    byte 0      codec version
    bytes 1-8   digest of the row's schema (names and types of its features)
    bytes 9-16  event time  \\
    bytes 17-24 arrival time } big-endian, sign bit flipped: their 24 bytes compare as (event time, arrival time, sequence)
    bytes 25-32 sequence    /
    then        null bitmap, one bit a feature, bit set = null
    then        fixed-width values, little-endian, zero where null
    then        end offset of each variable-width value, little-endian uint32
    then        the variable-width values, one after the other

A codec is compiled once per schema. Encoding works on whole Arrow columns; decoding on lists of rows.
"""

from featurestore.codec.bytes_column import BytesColumn
from featurestore.codec.header import ORDER_END, ORDER_START, decode_order, encode_order
from featurestore.codec.row_reader import RowReader
from featurestore.codec.rows import RowCodec, schema_digest
from featurestore.codec.whole_rows import WholeReader

__all__ = [
    "ORDER_END",
    "ORDER_START",
    "BytesColumn",
    "RowCodec",
    "RowReader",
    "WholeReader",
    "decode_order",
    "encode_order",
    "schema_digest",
]
