"""Making a training set of labels and features."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from featurestore.errors import TrainingSetError
from featurestore.training.content_hash import content_hash
from featurestore.training.dataset import TrainingSet, open_dataset
from featurestore.training.export import export
from featurestore.training.manifest import SEMANTICS_VERSION, Manifest, versions_of
from featurestore.training.splits import Split, make_split

if TYPE_CHECKING:
    from featurestore.offline import HistoricalJob
    from featurestore.project import Project


def create_dataset(
    project: Project,
    name: str,
    labels: Any,
    features: Any,
    *,
    split: Mapping[str, Any] | None = None,
    by: str | list[str] | None = None,
    seed: int = 0,
    embargo: str | int = 0,
    as_known: bool = False,
    full_feature_names: bool = False,
    join_key_map: Mapping[str, str] | None = None,
    engine: Any = None,
    rows_per_shard: int = 1_000_000,
    tags: Mapping[str, str] | None = None,
) -> TrainingSet:
    """Compute the features of labels and keep them as the next version of a training set.

    Where the newest version was made of the same labels, definitions, lake versions and split, it is returned instead.

    Args:
        name: of the training set; its versions count from 1.
        labels, features, as_known, full_feature_names, join_key_map, engine: as for ``get_historical_features``.
        split, by, seed, embargo: how rows are dealt to parts; see :func:`featurestore.training.splits.make_split`.
        rows_per_shard: the most rows of one Parquet file.
        tags: whatever helps to find it again.

    Raises:
        TrainingSetError: an unusable name or split, or no label row in any part.
        RetrievalError: labels or features that cannot be used.
    """
    from featurestore.offline import get_historical_features

    if not name.replace("-", "_").isidentifier():
        raise TrainingSetError(f"training set name {name!r} is not usable", hint="use letters, digits, _ and -")
    rule = make_split(split, by=by, seed=seed, embargo=embargo)
    options: dict[str, Any] = {
        "as_known": as_known,
        "full_feature_names": full_feature_names,
        "join_key_map": dict(join_key_map or {}),
    }
    job = get_historical_features(project, labels, features, engine=engine, versions=None, **options)
    newest = max(versions_of(project.lake.storage, name), default=0)
    if newest:
        existing = open_dataset(project, name, newest)
        if _made_of(existing.manifest) == _inputs(job, rule, options, content_hash(job.labels.to_arrow())):
            return existing
    manifest = export(project, name, job, rule, options, rows_per_shard=rows_per_shard, tags=dict(tags or {}))
    return TrainingSet(project, manifest)


def _inputs(job: HistoricalJob, split: Split, options: Mapping[str, Any], label_digest: str) -> tuple[Any, ...]:
    """All that decides the content of a training set."""
    return (
        tuple(job.features),
        dict(options),
        dict(job.definition_versions),
        dict(job.versions),
        SEMANTICS_VERSION,
        split,
        label_digest,
    )


def _made_of(m: Manifest) -> tuple[Any, ...]:
    return (
        m.features,
        dict(m.options),
        dict(m.definition_versions),
        dict(m.lake_versions),
        m.semantics_version,
        m.split,
        m.label_digest,
    )
