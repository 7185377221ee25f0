from __future__ import annotations

import urllib.request
from pathlib import Path
from uuid import uuid4

import pytest

from featurestore.config import LakeConfig
from featurestore.errors import LakeError
from featurestore.ingestion import buckets
from featurestore.ingestion.object_storage import ObjectStorage, open_storage
from tests.servers.s3 import S3Server


@pytest.fixture
def bucket(server: S3Server) -> ObjectStorage:
    """A prefix in a bucket that does not exist yet."""
    return open_storage(server.settings(f"s3://bucket-{uuid4().hex[:12]}/raw"))


def test_a_bucket_is_made_once(bucket: ObjectStorage) -> None:
    assert buckets.create_bucket(bucket)
    assert not buckets.create_bucket(bucket)
    bucket.put("a", b"1")
    assert bucket.get("a") == b"1"


def test_versioning_is_turned_on_and_off(bucket: ObjectStorage) -> None:
    buckets.create_bucket(bucket)
    assert not buckets.has_versioning(bucket)
    buckets.set_versioning(bucket, enabled=True)
    assert buckets.has_versioning(bucket)
    buckets.set_versioning(bucket, enabled=False)
    assert not buckets.has_versioning(bucket)


def test_uploads_that_never_ended_expire(bucket: ObjectStorage) -> None:
    buckets.create_bucket(bucket, versioning=True, abort_uploads_after_days=3, expire_noncurrent_days=30)
    rules = {rule.rule_id: rule for rule in buckets.lifecycle(bucket)}
    assert rules["featurestore-uploads"].abort_incomplete_multipart_upload.days_after_initiation == 3
    assert rules["featurestore-versions"].noncurrent_version_expiration.noncurrent_days == 30


def test_links_upload_and_download_without_credentials(bucket: ObjectStorage) -> None:
    buckets.create_bucket(bucket)
    link = buckets.upload_link(bucket, "flights 2013.csv")
    urllib.request.urlopen(urllib.request.Request(link, data=b"a,b\n1,2\n", method="PUT")).close()
    assert bucket.get("flights 2013.csv") == b"a,b\n1,2\n"
    with urllib.request.urlopen(buckets.download_link(bucket, "flights 2013.csv")) as answer:
        assert answer.read() == b"a,b\n1,2\n"


def test_a_folder_is_no_bucket(tmp_path: Path) -> None:
    with pytest.raises(LakeError, match="is a folder"):
        buckets.create_bucket(open_storage(str(tmp_path)))


def test_a_refusal_is_told_in_the_servers_words(server: S3Server) -> None:
    wrong = LakeConfig(url="s3://absent", endpoint=server.endpoint, access_key="test", secret_key="wrong")
    with pytest.raises(LakeError, match=r"SignatureDoesNotMatch|AccessDenied"):
        buckets.create_bucket(open_storage(wrong))
