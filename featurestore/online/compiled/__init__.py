"""The plain functions of numbers over all windows of a request, compiled: from the bytes of blocks to a matrix of answers."""
