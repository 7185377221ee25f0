"""What tests of a feature store need: an oracle written straight from ``docs/semantics.md`` and cases for any engine."""
