"""A Kafka topic of JSON messages into a source, exactly once.

Where a partition is to be read on stands in the lake: the commit that lands its messages also says the offset after them.
After a crash the consumer begins where the table says, whatever the broker believes; nothing is lost and nothing is doubled.
Quarantined messages carry ``kafka://topic/partition`` as their file and the offset as their line.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final

from featurestore.errors import ConfigError, IngestionError, LakeError
from featurestore.ingestion.batches import Batch, Landed, Progress, Target, counts_of, make_report
from featurestore.ingestion.landing import land
from featurestore.ingestion.options import read_options
from featurestore.ingestion.readers import jsonl
from featurestore.ingestion.readers.chunks import Chunk, Malformed, Place, no_type
from featurestore.ingestion.report import BatchReport, IngestReport

if TYPE_CHECKING:
    from featurestore.ingestion.options import ReadOptions
    from featurestore.project import Project
    from featurestore.registry.definitions import EventSource

BEGINNING: Final = -2
"""librdkafka's name for the oldest message that the broker still has."""
_POLL_SECONDS: Final = 0.2


@dataclass
class _Partition:
    """What was received of a partition and has not landed."""

    number: int
    start: int = BEGINNING
    messages: list[tuple[int, bytes | None]] = field(default_factory=list)
    report: BatchReport = field(default_factory=lambda: BatchReport("", ""))


def consume(
    project: Project,
    source: EventSource | str,
    *,
    topic: str,
    bootstrap: str,
    settings: Mapping[str, Any] | None = None,
    batch_messages: int = 50_000,
    batch_seconds: float = 5.0,
    idle_seconds: float | None = None,
    stop: Callable[[], bool] | None = None,
    progress: Progress | None = None,
) -> IngestReport:
    """Consume a topic until told to stop.

    Messages of a partition land in their order, a batch of them in one atomic commit. A message that is no JSON object, or
    fails a ``quarantine`` expectation, goes to the quarantine. Of two consumers of one topic into one source, the slower one
    drops what the other landed first.

    Args:
        project: the project, such as a ``FeatureStore``.
        source: the source, or its name.
        topic: the topic; all of its partitions are read.
        bootstrap: brokers, ``host:port,host:port``.
        settings: more settings of librdkafka, such as ``security.protocol``.
        batch_messages: a partition lands when so many of its messages wait,
        batch_seconds: or when so much time has passed since the last landing.
        idle_seconds: end when no message came for so long; None goes on for ever.
        stop: asked between polls; true ends after landing what waits.
        progress: called with the messages that have landed.

    Raises:
        ConfigError: the ``kafka`` extra is not installed.
        IngestionError: the topic does not exist, messages were deleted before they were read, or a batch is refused.
        ValidationError: an expectation of policy ``reject`` failed; what landed before stays.
    """
    definition = project.definitions.source(source) if isinstance(source, str) else source
    target = Target(definition, project.lake, project.catalog, project.clock)
    started = time.monotonic()
    with project.catalog.start_run("consume", definition.name, topic=topic) as run:
        consumer = _Consumer(target, topic, bootstrap, dict(settings or {}), progress)
        try:
            consumer.run(batch_messages, batch_seconds, idle_seconds, stop or (lambda: False))
        finally:
            consumer.close()
            report = make_report(target, consumer.landed(), run.id, time.monotonic() - started)
            run.update(counts=counts_of(report))
        return report


class _Consumer:
    """One consumer of all partitions of a topic."""

    def __init__(self, target: Target, topic: str, bootstrap: str, settings: dict[str, Any], progress: Progress | None) -> None:
        try:
            import confluent_kafka
        except ImportError as error:
            raise ConfigError("confluent-kafka is not installed", hint="pip install 'featurestore[kafka]'") from error
        self._kafka = confluent_kafka
        self._target = target
        self._topic = topic
        self._progress = progress
        self._options = read_options(target.source)
        self._froze = False
        own = {
            "bootstrap.servers": bootstrap,
            "group.id": f"featurestore-{target.source.name}",
            "enable.auto.commit": False,
            "enable.auto.offset.store": False,
            # A gap must not pass unseen: messages deleted before they were read are an error.
            "auto.offset.reset": "error",
        }
        self._client = confluent_kafka.Consumer(settings | own)
        self._partitions = {number: _Partition(number) for number in self._numbers()}
        self._assign(list(self._partitions.values()))

    def close(self) -> None:
        """Leave the broker."""
        self._client.close()

    def landed(self) -> list[Landed]:
        """What became of the messages, by partition."""
        parts = self._partitions.values()
        return [Landed(part.report, None, self._froze) for part in parts if part.report.read]

    def run(self, batch_messages: int, batch_seconds: float, idle_seconds: float | None, stop: Callable[[], bool]) -> None:
        """Receive and land, until told to stop."""
        last_landing = last_message = time.monotonic()
        while not stop():
            received = self._poll(batch_messages)
            now = time.monotonic()
            last_message = now if received else last_message
            waiting = max((len(part.messages) for part in self._partitions.values()), default=0)
            if waiting >= batch_messages or (waiting and now - last_landing >= batch_seconds):
                self._land_all()
                last_landing = time.monotonic()
            if idle_seconds is not None and now - last_message >= idle_seconds:
                break
        self._land_all()

    # -- receiving -------------------------------------------------------------------------------------------------------

    def _numbers(self) -> list[int]:
        try:
            found = self._client.list_topics(self._topic, timeout=30).topics[self._topic]
        except self._kafka.KafkaException as error:
            raise IngestionError(f"the brokers do not answer: {error}", file=f"kafka://{self._topic}") from error
        if found.error is not None or not found.partitions:
            raise IngestionError(f"no such topic: {found.error or 'it has no partitions'}", file=f"kafka://{self._topic}")
        return sorted(found.partitions)

    def _assign(self, parts: Sequence[_Partition]) -> None:
        """Go on where the table says that these partitions are."""
        for part in parts:
            landed = self._target.events.transaction_version(self._app(part))
            part.start = BEGINNING if landed is None else landed
            part.messages.clear()
        everything = [
            self._kafka.TopicPartition(self._topic, part.number, part.messages[-1][0] + 1 if part.messages else part.start)
            for part in self._partitions.values()
        ]
        self._client.assign(everything)

    def _poll(self, most: int) -> int:
        messages = self._client.consume(min(most, 10_000), timeout=_POLL_SECONDS)
        received = 0
        for message in messages:
            if (error := message.error()) is not None:
                self._check(error)
                continue
            part = self._partitions[message.partition()]
            part.messages.append((message.offset(), message.value()))
            received += 1
        return received

    def _check(self, error: Any) -> None:
        codes = self._kafka.KafkaError
        if error.code() in (codes._PARTITION_EOF, codes._ALL_BROKERS_DOWN, codes._TRANSPORT) or error.retriable():
            return  # librdkafka tries again on its own
        hint = None
        if error.code() in (codes.OFFSET_OUT_OF_RANGE, codes._AUTO_OFFSET_RESET):
            hint = "messages were deleted before they were read: prolong the topic's retention, and ingest them from a backup"
        raise IngestionError(f"the brokers refuse: {error}", file=f"kafka://{self._topic}", hint=hint)

    # -- landing ---------------------------------------------------------------------------------------------------------

    def _land_all(self) -> None:
        for part in self._partitions.values():
            if part.messages:
                self._land(part)
        if self._progress is not None:
            total = sum(part.report.read for part in self._partitions.values())
            self._progress(f"consume {self._topic}", total, None)

    def _land(self, part: _Partition) -> None:
        batch = self._batch(part)
        try:
            landed = land(self._target, batch)
        except LakeError:
            position = self._target.events.transaction_version(self._app(part))
            if position is None or position <= max(part.start, 0):
                raise
            self._assign([part])  # another consumer landed some of these messages: go on behind them
            return
        if landed.report.read == 0 or landed.report.duplicates:
            self._assign([part])
            return
        self._froze |= landed.froze
        part.report = _sum(part.report, landed.report)
        part.start = part.messages[-1][0] + 1
        part.messages = []

    def _app(self, part: _Partition) -> str:
        return f"kafka:{self._topic}:{part.number}"

    def _batch(self, part: _Partition) -> Batch:
        messages = list(part.messages)
        # An attempt that died began at the same offset, wherever it ended: what it put aside is found by that.
        start = max(part.start, 0)
        return Batch(
            f"kafka://{self._topic}/{part.number}",
            f"{self._topic}/{part.number}@{start}",
            lambda as_text, _=no_type: iter([_chunk(messages, self._options, as_text)]),
            len(messages),
            {self._app(part): messages[-1][0] + 1, f"{self._app(part)}@{start}": 1},
            from_json=True,
            format="jsonl",
        )


def _chunk(messages: Sequence[tuple[int, bytes | None]], options: ReadOptions, as_text: frozenset[str]) -> Chunk:
    """Messages as rows; their lines are offsets."""
    empty = [Malformed(offset, "", "a message without a value") for offset, value in messages if not (value or b"").strip()]
    kept = [(offset, _one_line(value)) for offset, value in messages if value is not None and value.strip()]
    chunk = jsonl.read_lines("", [line for _, line in kept], options, as_text)

    def locate(rows: Sequence[int]) -> list[Place]:
        return [Place(kept[place.line - 1][0], place.raw) for place in chunk.locate(rows)]

    malformed = [bad._replace(line=kept[bad.line - 1][0]) for bad in chunk.malformed]
    return replace(chunk, locate=locate, malformed=sorted([*malformed, *empty]), position=len(messages))


def _one_line(value: bytes) -> str:
    # JSON knows line ends between its tokens only, where a space says the same.
    return value.replace(b"\r", b" ").replace(b"\n", b" ").decode("utf-8", "surrogateescape")


def _sum(one: BatchReport, other: BatchReport) -> BatchReport:
    return BatchReport(
        other.name,
        other.digest,
        one.read + other.read,
        one.landed + other.landed,
        one.quarantined + other.quarantined,
        one.duplicates + other.duplicates,
        other.version,
        other.missing,
    )
