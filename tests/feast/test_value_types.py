"""Every value type of Feast, in and out of our online store, exactly."""

from __future__ import annotations

import decimal
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.feast.feast_repo import ValueType, feast  # noqa: F401 - skips where Feast is not installed
from tests.servers.valkey import valkey_server

pytestmark = [pytest.mark.feast, pytest.mark.filterwarnings("default")]

INSTANT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
UUID = uuid.UUID("12345678-1234-5678-1234-567812345678")
SCALARS: dict[str, list[Any]] = {
    "BYTES": [b"", b"\x00\xff"],
    "STRING": ["", "ä|{}%", "x" * 300],
    "INT32": [0, -(2**31), 2**31 - 1],
    "INT64": [0, 2**53 + 1, -(2**63), 2**63 - 1],
    "DOUBLE": [0.0, 1e-300, float("inf")],
    "FLOAT": [0.0, 0.5, -1.25],
    "BOOL": [True, False],
    "UNIX_TIMESTAMP": [INSTANT, datetime(1969, 12, 31, tzinfo=UTC)],
}
CASES: dict[str, list[Any]] = {
    **SCALARS,
    **{f"{name}_LIST": [[], values] for name, values in SCALARS.items()},
    **{f"{name}_SET": [set(values)] for name, values in SCALARS.items() if name != "BYTES"},
    "UUID": [UUID],
    "TIME_UUID": [UUID],
    "UUID_LIST": [[UUID, UUID]],
    "DECIMAL": [decimal.Decimal("12345678901234567890.123456789")],
    "DECIMAL_LIST": [[decimal.Decimal("1.10")]],
    "JSON": [{"a": [1, None]}],
    "MAP": [{"a": 1, "b": "x", "c": None}],
    "MAP_LIST": [[{"a": 1}, {"b": 2}]],
    "STRUCT": [{"a": 1, "b": "x"}],
}


@pytest.fixture(scope="module")
def online(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    from featurestore.feast import FeatureStoreOnlineStore, FeatureStoreOnlineStoreConfig

    with valkey_server(tmp_path_factory.mktemp("valkey")) as server:
        settings = FeatureStoreOnlineStoreConfig(url=server.url)
        config = SimpleNamespace(
            project="types",
            repo_path=Path(),
            online_store=settings,
            registry=SimpleNamespace(enable_online_feature_view_versioning=False),
        )
        yield FeatureStoreOnlineStore(), config


def table(value_type: ValueType) -> Any:
    """What the store asks of a feature view."""
    dtype = SimpleNamespace(to_value_type=lambda: value_type)
    key = SimpleNamespace(name="id", dtype=SimpleNamespace(to_value_type=lambda: ValueType.INT64))
    return SimpleNamespace(
        name=f"view_{value_type.name}",
        entity_columns=[key],
        features=[SimpleNamespace(name="value", dtype=dtype)],
        ttl=None,
        projection=SimpleNamespace(version_tag=None),
    )


@pytest.mark.parametrize("name", CASES)
def test_a_value_comes_back_as_it_was(online: Any, name: str) -> None:
    from feast.protos.feast.types.EntityKey_pb2 import EntityKey
    from feast.protos.feast.types.Value_pb2 import Value
    from feast.type_map import feast_value_type_to_python_type, python_values_to_proto_values

    store, config = online
    value_type = ValueType[name]
    view = table(value_type)
    protos = [*python_values_to_proto_values(CASES[name], value_type), Value()]
    keys = [EntityKey(join_keys=["id"], entity_values=[Value(int64_val=i)]) for i in range(len(protos))]
    store.online_write_batch(config, view, [(k, {"value": v}, INSTANT, None) for k, v in zip(keys, protos, strict=True)], None)
    rows = store.online_read(config, view, keys)
    assert [when for when, _ in rows] == [INSTANT] * len(protos)
    assert [values["value"] for _, values in rows] == protos
    codec = store.layout(config, view).values["value"]
    native = codec.pythons(codec.read_protos(protos))
    assert native == [feast_value_type_to_python_type(proto) for proto in protos]


def test_an_unset_and_a_null_value_are_null(online: Any) -> None:
    from feast.protos.feast.types.Value_pb2 import Null, Value

    from featurestore.feast.stores.values import is_null

    assert is_null(Value())
    assert is_null(Value(null_val=Null.NULL))
    assert not is_null(Value(int64_val=0))
    assert not is_null(Value(string_val=""))


def test_nulls_within_lists_survive_as_nested_values(online: Any) -> None:
    store, config = online
    codec = store.layout(config, table(ValueType.INT64_LIST)).values["value"]
    (proto,) = codec.write_protos([[1, None, 2**53 + 1]])
    assert codec.read_protos([proto]) == [[1, None, 2**53 + 1]]


def test_a_number_of_another_width_is_taken_where_it_is_the_same(online: Any) -> None:
    from feast.protos.feast.types.Value_pb2 import Value

    from featurestore.feast.stores.values import value_codec

    assert value_codec(ValueType.INT64).read_protos([Value(int32_val=5)]) == [5]
    assert value_codec(ValueType.DOUBLE).read_protos([Value(int64_val=2)]) == [2.0]
    with pytest.raises(TypeError, match="string_val"):
        value_codec(ValueType.INT64).read_protos([Value(string_val="5")])
