"""From events to features: engines and the kernels of time."""
