"""The properties of ``test_kernels_against_oracle.py`` over longer streams, as many as are asked for.

``make test-many`` (``WINDOW_EXAMPLES=5000``) takes many minutes; without the variable a few examples hold that it works.
"""

from __future__ import annotations

from random import Random

from hypothesis import given
from hypothesis import strategies as st

from tests.many import many
from tests.windows.streams import Case, case_lists, labels_of, rows
from tests.windows.test_kernels_against_oracle import Stream, answers_or_error, assert_answers, assert_identical


@many(20)
@given(rows(80), case_lists(6), st.booleans(), st.sampled_from([1, 7, 1 << 18]))
def test_kernels_answer_as_the_oracle_does(stream: Stream, cases: list[Case], as_known: bool, bucket_rows: int) -> None:
    assert_answers(cases, stream, labels_of(stream), as_known=as_known, bucket_rows=bucket_rows)


@many(20)
@given(rows(80), case_lists(6), st.booleans(), st.randoms(use_true_random=False))
def test_order_of_events_and_buckets_change_no_bit(stream: Stream, cases: list[Case], as_known: bool, random: Random) -> None:
    labels = labels_of(stream)
    whole = answers_or_error(cases, stream, labels, as_known=as_known)
    shuffled = random.sample(stream, len(stream))
    assert_identical(whole, answers_or_error(cases, shuffled, labels, as_known=as_known), cases)
    assert_identical(whole, answers_or_error(cases, stream, labels, as_known=as_known, bucket_rows=5, threads=2), cases)
