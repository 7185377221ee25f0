"""Windowed aggregations, exact at any instant. See ``api.py`` for the seam and ``kernels.py`` for the methods and their
cost."""

from featurestore.transforms.windows.api import compute_windows
from featurestore.transforms.windows.schema import window_schema

__all__ = ["compute_windows", "window_schema"]
