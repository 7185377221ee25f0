"""Which modules' doctests need a library that is not always there."""

import importlib.util

collect_ignore = [] if importlib.util.find_spec("torch") else ["featurestore/training/torch_reader.py"]
