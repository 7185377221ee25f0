"""Feast's data sources as event sources: several views share one, and a stream is the same rows as its batch source."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Final

from featurestore.feast.findings import Finding, Notes
from featurestore.feast.messages import SOURCE_TYPES
from featurestore.feast.names import Names
from featurestore.feast.wire import Message
from featurestore.registry.definitions import EventSource
from featurestore.registry.records import SourceCode

PUSH_SOURCE: Final = "feast.push_source"
"""Tag of a source: the name of the push source through which Feast brings rows to it."""
_STREAMS: Final = ("push", "Kafka", "Kinesis")
_DEFAULT_TIME: Final = "event_timestamp"


class SourceConverter:
    """Collects sources, from the registry's own list and from inside views.

    Args:
        root: what relative paths start from.
    """

    def __init__(self, root: Path, names: Names, findings: list[Finding]) -> None:
        self._root = root
        self._names = names
        self._findings = findings
        self._batch: dict[str, Message] = {}
        self._streams: dict[str, Message] = {}
        self._made: dict[str, EventSource] = {}
        self.data: dict[str, str] = {}

    def add(self, source: Message) -> None:
        """Take in a source, and the batch source within it."""
        kind = _kind(source)
        if kind == "request":
            return
        name = feast_name(source)
        if kind in _STREAMS:
            self._streams.setdefault(name, source)
            if source.get("batch_source"):
                self.add(source["batch_source"])
        else:
            self._batch.setdefault(name, source)

    def add_of_view(self, spec: Message) -> None:
        """Take in the sources of a view."""
        for key in ("batch_source", "stream_source"):
            if spec.get(key):
                self.add(spec[key])

    def why_not(self, spec: Message) -> str:
        """Why the rows of a view cannot be a source here; empty where they can."""
        source = _rows_of(spec)
        return "it has no source" if source is None else ""

    def of_view(self, spec: Message) -> str:
        """The name of a view's source here."""
        return self._source(_rows_of(spec) or {}).name

    def finish(self) -> dict[str, EventSource]:
        """All sources, those that no view reads too."""
        for source in (*self._batch.values(), *(s for s in self._streams.values() if not s.get("batch_source"))):
            self._source(source)
        for name, stream in self._streams.items():
            self._tell_stream(name, stream)
        return {source.name: source for source in self._made.values()}

    def _source(self, source: Message) -> EventSource:
        name = feast_name(source)
        if name not in self._made:
            self._made[name] = self._make(name, source)
        return self._made[name]

    def _make(self, feast: str, source: Message) -> EventSource:
        notes = Notes()
        name = self._names.of("source", feast)
        kind = _kind(source)
        time = source.get("timestamp_field") or self._find_time(source, notes)
        tags = dict(source.get("tags", {})) | ({"feast.name": feast} if feast != name else {})
        tags |= self._stream_tags(feast)
        if kind == "file":
            self.data[name] = self._path(source.get("file_options", {}).get("uri", ""))
        elif kind not in _STREAMS:
            notes.changed(f"its rows are in {kind}: export them to Parquet and ingest that; {_where(source)}")
        if source.get("created_timestamp_column"):
            notes.changed(
                "its created timestamp becomes the arrival time: it orders ties as before, and as_known=True reads by it"
            )
        prepare = _renaming(source.get("field_mapping", {}))
        self._findings.append(notes.finding(f"{kind} source", feast, name))
        return EventSource(
            name,
            event_time=time,
            arrival_time=source.get("created_timestamp_column") or None,
            prepare=prepare,
            description=source.get("description", ""),
            owner=source.get("owner", ""),
            tags=tags,
        )

    def _stream_tags(self, batch: str) -> dict[str, str]:
        """What streams bring to a source, kept where people look for it."""
        tags: dict[str, str] = {}
        pushes = []
        for name, stream in self._streams.items():
            fed = stream.get("batch_source")
            if (feast_name(fed) if fed else name) != batch:
                continue
            if _kind(stream) == "push":
                pushes.append(name)
            elif "kafka_options" in stream:
                options = stream["kafka_options"]
                tags["feast.kafka_topic"] = options.get("topic", "")
                tags["feast.kafka_bootstrap_servers"] = options.get("kafka_bootstrap_servers", "")
            elif "kinesis_options" in stream:
                tags["feast.kinesis_stream"] = stream["kinesis_options"].get("stream_name", "")
        if pushes:
            tags[PUSH_SOURCE] = ",".join(sorted(pushes))
        return tags

    def _tell_stream(self, name: str, stream: Message) -> None:
        kind, batch = _kind(stream), stream.get("batch_source")
        became = self._source(batch or stream).name
        if batch is None:
            return  # told as a source of its own
        notes = Notes()
        if kind == "push":
            notes.changed(f"push to {became!r}: the rows land in the lake and in the online store in one call")
        elif "kafka_options" in stream:
            _tell_kafka(notes, stream["kafka_options"], became)
        else:
            notes.changed(
                f"its rows land in {became!r}; the stream stands in the tags of that source, a consumer is yours to start"
            )
        self._findings.append(notes.finding(f"{kind} source", name, became))

    def _path(self, uri: str) -> str:
        uri = uri.removeprefix("file://")
        return uri if "://" in uri or Path(uri).is_absolute() else str(self._root / uri)

    def _find_time(self, source: Message, notes: Notes) -> str:
        """Feast's own rule for an undeclared timestamp: the one column that is a timestamp."""
        path = Path(self._path(source.get("file_options", {}).get("uri", "")))
        if _kind(source) == "file" and path.suffix == ".parquet" and path.is_file():
            import pyarrow as pa
            import pyarrow.parquet as pq

            schema = pq.read_schema(path)
            created = source.get("created_timestamp_column")
            found = [f.name for f in schema if pa.types.is_timestamp(f.type) and f.name != created]
            if len(found) == 1:
                return str(found[0])
        notes.changed(f"it declares no timestamp field: taken as {_DEFAULT_TIME!r}; correct it where it is another")
        return _DEFAULT_TIME


def feast_name(source: Message) -> str:
    """A source's name in Feast, which for files may be their path."""
    return str(source.get("name") or source.get("file_options", {}).get("uri") or "source")


def _rows_of(spec: Message) -> Message | None:
    """The source whose rows a view has: its batch source; of a stream, the batch source within, or else the stream."""
    stream = spec.get("stream_source")
    found: Message | None = spec.get("batch_source") or (stream or {}).get("batch_source") or stream
    return found


def _kind(source: Message) -> str:
    return SOURCE_TYPES.get(source.get("type", 0), "unknown")


def _where(source: Message) -> str:
    for key, options in source.items():
        if key.endswith("_options") and isinstance(options, dict):
            for part in ("table", "query", "path"):
                if part in options:
                    return f"{part} {options[part]!r}"
    return "see its definition"


def _renaming(mapping: dict[str, str]) -> SourceCode | None:
    if not mapping:
        return None
    names = ", ".join(f"{json.dumps(old)}: {json.dumps(new)}" for old, new in sorted(mapping.items()))
    return SourceCode("<lambda>", f"lambda rows: rows.rename({{{names}}}, strict=False)")


def _tell_kafka(notes: Notes, options: Message, source: str) -> None:
    topic, servers = options.get("topic", ""), options.get("kafka_bootstrap_servers", "")
    notes.changed(
        f"its messages land in {source!r}, each once, by featurestore.ingestion.kafka.consume(store, {source!r}, "
        f"topic={topic!r}, bootstrap={servers!r}), a process that you start; then materialize"
    )
    for form, name in (("avro_format", "Avro"), ("proto_format", "protocol buffers")):
        if form in options.get("message_format", {}):
            notes.lost(f"messages in {name}: consume reads JSON objects")
