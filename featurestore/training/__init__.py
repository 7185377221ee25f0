"""Training sets: exported once, immutable, verifiable, rebuilt to the same content."""

from featurestore.training.create import create_dataset
from featurestore.training.dataset import TrainingSet, list_datasets, open_dataset

__all__ = ["TrainingSet", "create_dataset", "list_datasets", "open_dataset"]
