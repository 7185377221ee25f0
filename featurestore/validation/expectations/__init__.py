"""The expectation types that are evaluated natively: one small record each, named as Great Expectations names them."""
