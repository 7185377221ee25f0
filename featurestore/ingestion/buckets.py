"""What the owner of a bucket does: make it, keep its versions, let leftovers expire, hand out links to upload raw files.

Through ``minio``, because ``obstore`` moves bytes and knows no buckets.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from datetime import timedelta
from typing import Final
from urllib.parse import urlsplit

import minio
from minio.commonconfig import ENABLED, Filter
from minio.credentials.providers import AWSConfigProvider, ChainedProvider, EnvAWSProvider, IamAwsProvider, StaticProvider
from minio.error import MinioException, S3Error
from minio.lifecycleconfig import (
    AbortIncompleteMultipartUpload,
    LifecycleConfig,
    NoncurrentVersionExpiration,
    Rule,
)
from minio.versioningconfig import SUSPENDED, VersioningConfig
from urllib3.exceptions import HTTPError

from featurestore.errors import LakeError
from featurestore.ingestion.object_storage import ObjectStorage

LINK_LIFETIME: Final = timedelta(hours=1)
_MADE_ALREADY: Final = ("BucketAlreadyOwnedByYou", "BucketAlreadyExists")


def create_bucket(
    storage: ObjectStorage,
    *,
    versioning: bool = False,
    abort_uploads_after_days: int = 7,
    expire_noncurrent_days: int | None = None,
) -> bool:
    """Make the bucket of a storage fit for a lake; a bucket that exists is only set up.

    Args:
        storage: an ``s3://`` storage.
        versioning: the server keeps what is overwritten or deleted. Needless for the lake, whose tables have versions
            themselves, and in the way of erasure; for buckets of raw files.
        abort_uploads_after_days: uploads that were begun and never ended go after so many days.
        expire_noncurrent_days: with versioning, how long it keeps them; None for ever.

    Returns:
        Whether it was made now.

    Raises:
        LakeError: the storage is a folder, or the server refuses.
    """
    client = _client(storage)
    with _translated(storage, "create the bucket"):
        made = not client.bucket_exists(storage.bucket)
        if made:
            made = _make(client, storage)
    if versioning:
        set_versioning(storage, enabled=True)
    set_lifecycle(storage, abort_uploads_after_days=abort_uploads_after_days, expire_noncurrent_days=expire_noncurrent_days)
    return made


def set_versioning(storage: ObjectStorage, *, enabled: bool) -> None:
    """Keep what is overwritten or deleted in the bucket, or stop keeping it."""
    with _translated(storage, "set the versioning"):
        _client(storage).set_bucket_versioning(storage.bucket, VersioningConfig(ENABLED if enabled else SUSPENDED))


def has_versioning(storage: ObjectStorage) -> bool:
    """Whether the bucket keeps what is overwritten or deleted."""
    with _translated(storage, "read the versioning"):
        return bool(_client(storage).get_bucket_versioning(storage.bucket).status == ENABLED)


def set_lifecycle(
    storage: ObjectStorage, *, abort_uploads_after_days: int = 7, expire_noncurrent_days: int | None = None
) -> None:
    """Let the server clear away what died writers left: parts of uploads that never ended, and old versions.

    Replaces the rules that the bucket has. A writer that is killed leaves at most one part-wise upload.
    """
    uploads = AbortIncompleteMultipartUpload(days_after_initiation=abort_uploads_after_days)
    rules = [
        Rule(ENABLED, rule_id="featurestore-uploads", rule_filter=Filter(prefix=""), abort_incomplete_multipart_upload=uploads)
    ]
    if expire_noncurrent_days is not None:
        expiration = NoncurrentVersionExpiration(noncurrent_days=expire_noncurrent_days)
        rules.append(
            Rule(
                ENABLED,
                rule_id="featurestore-versions",
                rule_filter=Filter(prefix=""),
                noncurrent_version_expiration=expiration,
            )
        )
    with _translated(storage, "set the lifecycle"):
        _client(storage).set_bucket_lifecycle(storage.bucket, LifecycleConfig(rules))


def lifecycle(storage: ObjectStorage) -> list[Rule]:
    """The rules by which the server clears away."""
    with _translated(storage, "read the lifecycle"):
        found = _client(storage).get_bucket_lifecycle(storage.bucket)
    return [] if found is None else list(found.rules)


def upload_link(storage: ObjectStorage, key: str, *, lifetime: timedelta = LINK_LIFETIME) -> str:
    """An URL to which anybody who has it may ``PUT`` one object, for a while (at most seven days)."""
    with _translated(storage, f"sign an upload of {key}"):
        return str(_client(storage).presigned_put_object(storage.bucket, _full_key(storage, key), expires=lifetime))


def download_link(storage: ObjectStorage, key: str, *, lifetime: timedelta = LINK_LIFETIME) -> str:
    """An URL from which anybody who has it may ``GET`` one object, for a while (at most seven days)."""
    with _translated(storage, f"sign a download of {key}"):
        return str(_client(storage).presigned_get_object(storage.bucket, _full_key(storage, key), expires=lifetime))


def _client(storage: ObjectStorage) -> minio.Minio:
    if storage.is_local:
        raise LakeError(f"{storage.url} is a folder, not a bucket", hint="give s3://bucket as url in [lake]")
    settings, endpoint = storage.settings, storage.endpoint
    location = urlsplit(endpoint or f"https://s3.{settings.region}.amazonaws.com")
    static = settings.access_key and StaticProvider(settings.access_key, settings.secret_key)
    return minio.Minio(
        endpoint=location.netloc,
        secure=location.scheme != "http",
        region=settings.region,
        credentials=static or ChainedProvider([EnvAWSProvider(), AWSConfigProvider(), IamAwsProvider()]),
    )


def _make(client: minio.Minio, storage: ObjectStorage) -> bool:
    try:
        client.make_bucket(storage.bucket, location=storage.settings.region)
    except S3Error as error:
        if error.code not in _MADE_ALREADY:
            raise
        return False
    return True


def _full_key(storage: ObjectStorage, key: str) -> str:
    return f"{storage.prefix}/{key}" if storage.prefix else key


@contextlib.contextmanager
def _translated(storage: ObjectStorage, what: str) -> Iterator[None]:
    try:
        yield
    except S3Error as error:
        raise LakeError(f"cannot {what} of {storage.url}: {error.code} ({error.message})") from error
    except (MinioException, HTTPError, ValueError) as error:
        raise LakeError(f"cannot {what} of {storage.url}: {error}") from error
