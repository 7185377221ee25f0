"""The hot route, ``POST /v1/online-features``: a raw ASGI endpoint.

What FastAPI adds to a request costs more than the look-up itself; this endpoint parses with msgspec, answers with orjson
from columns, and is mounted in the same app, which documents it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import msgspec

from featurestore.api.errors import HttpError, answer, internal_answer
from featurestore.api.limits import ARROW_STREAM, JSON, check_entity_count, content_type, decode_json, header, read_body
from featurestore.api.rows import columns_of, input_types
from featurestore.api.schemas import OnlineRequest, json_body
from featurestore.api.wire import decode_column, decoder, encode_column, to_json
from featurestore.errors import FeatureStoreError
from featurestore.registry.types import DataType

if TYPE_CHECKING:
    from starlette.types import Receive, Scope, Send

    from featurestore.api.metrics import Metrics
    from featurestore.online import OnlineResponse
    from featurestore.store import FeatureStore

PATH: Final = "/v1/online-features"
_DECODER: Final = msgspec.json.Decoder(OnlineRequest)
