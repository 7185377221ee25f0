"""Draw the pictures of ``windows.md``: plain SVG, whose dots are filled where the naive oracle counts the event.

python docs/draw_windows.py [FOLDER]
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any, Final

from featurestore.testing.oracle import Definition, aggregate

HOUR: Final = 3_600_000_000
INSIDE, OUTSIDE, BAND, TAIL, TEXT, LINE = "#1d4ed8", "#ffffff", "#dbeafe", "#fde68a", "#1f2937", "#6b7280"
LEFT, SCALE, WIDTH = 150, 16, 790


@dataclass(frozen=True)
class Event:
    """An event, in hours: when it happened, and when it arrived."""

    time: float
    arrival: float | None = None

    def row(self) -> Mapping[str, Any]:
        """As the oracle reads it."""
        arrival = self.time if self.arrival is None else self.arrival
        return {"key": "k", "event_time": int(self.time * HOUR), "arrival_time": int(arrival * HOUR), "sequence": 0}


@dataclass(frozen=True)
class Lane:
    """One window over the events: its title, its parts as (from, to, colour, text), and what the oracle is asked."""

    title: str
    definition: Definition
    parts: Sequence[tuple[float, float, str, str]]
    as_known: bool = False


def x(hours: float) -> float:
    """Where an instant stands."""
    return round(LEFT + hours * SCALE, 1)


def text(at: float, y: float, words: str, *, anchor: str = "middle", size: int = 12, colour: str = TEXT) -> str:
    """A line of text."""
    return f'<text x="{at}" y="{y}" font-size="{size}" text-anchor="{anchor}" fill="{colour}">{escape(words)}</text>'


def line(x1: float, y1: float, x2: float, y2: float, *, dashes: str = "", colour: str = LINE) -> str:
    """A line."""
    dashed = f' stroke-dasharray="{dashes}"' if dashes else ""
    return f'<line x1="{x1}" y1="{y1}" x2="{x2}" y2="{y2}" stroke="{colour}"{dashed}/>'


def dot(hours: float, y: float, *, inside: bool) -> str:
    """An event: filled where it counts."""
    return (
        f'<circle cx="{x(hours)}" cy="{y}" r="5" fill="{INSIDE if inside else OUTSIDE}" stroke="{INSIDE}" stroke-width="1.5"/>'
    )


def lane(drawn: Lane, events: Sequence[Event], instant: float, y: float) -> Iterable[str]:
    """A window and its events."""
    yield text(8, y + 5, drawn.title, anchor="start", size=13)
    for start, end, colour, words in drawn.parts:
        yield f'<rect x="{x(start)}" y="{y - 15}" width="{round((end - start) * SCALE, 1)}" height="30" fill="{colour}"/>'
        yield text((x(start) + x(end)) / 2, y + 28, words, size=11, colour=LINE)
    yield line(LEFT, y, WIDTH - 20, y)
    for event in events:
        counted = aggregate(drawn.definition, [event.row()], "k", int(instant * HOUR), as_known=drawn.as_known)
        if event.arrival is not None and event.arrival > event.time:
            yield line(x(event.time), y - 6, x(event.arrival), y - 20, dashes="2 2")
            yield text(x(event.arrival), y - 20, "▸", size=10, colour=LINE)
        yield dot(event.time, y, inside=bool(counted))


def picture(name: str, lanes: Sequence[Lane], events: Sequence[Event], instant: float, marks: Mapping[float, str]) -> str:
    """A whole picture: lanes one below the other, with the instant and other marks across them."""
    step = 72
    height = 50 + step * len(lanes)
    body = [f"<title>{escape(name)}</title>", f'<rect width="{WIDTH}" height="{height}" fill="#ffffff"/>']
    for hours, words in marks.items():
        body += [line(x(hours), 28, x(hours), height - 14, dashes="4 3"), text(x(hours), 20, words)]
    for number, drawn in enumerate(lanes):
        body += lane(drawn, events, instant, 64 + step * number)
    box = f'viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}"'
    return "\n".join([f'<svg xmlns="http://www.w3.org/2000/svg" {box} font-family="sans-serif">', *body, "</svg>\n"])


def kinds() -> str:
    """The four kinds at one instant."""
    t = 29.5
    events = [Event(h) for h in (2, 7, 11, 13, 16, 17.5, 20, 23, 24, 27, 29.5, 33)]
    width, hop = 12 * HOUR, 6 * HOUR
    lanes = [
        Lane("sliding 12h", Definition("count", width=width), [(17.5, t, BAND, "exactly the last 12 h")]),
        Lane(
            "sawtooth 12h, hop 6h",
            Definition("count", kind="sawtooth", width=width, hop=hop),
            [(12, 17.5, TAIL, "tail: up to one hop"), (17.5, t, BAND, "the last 12 h")],
        ),
        Lane("tumbling 12h", Definition("count", kind="tumbling", width=width), [(12, 24, BAND, "the last complete 12 h")]),
        Lane("lifetime", Definition("count", kind="lifetime"), [(0, t, BAND, "everything before")]),
    ]
    marks = {0: "0:00", 6: "6:00", 12: "12:00", 18: "18:00", 24: "24:00", t: "t = 29:30", 36: "36:00"}
    return picture("The kinds of windows", lanes, events, t, marks)


def bounds() -> str:
    """Events at exactly the edges."""
    t, events = 26, [Event(h) for h in (10, 14, 18, 22, 26, 30)]
    lanes = [
        Lane(f'bounds="{b}"', Definition("count", width=12 * HOUR, bounds=b), [(14, t, BAND, f"{b[0]} 14:00, 26:00 {b[1]}")])
        for b in ("[)", "[]", "(]", "()")
    ]
    return picture("Bounds", lanes, events, t, {14: "t - 12h", t: "t"})


def delay() -> str:
    """The same window, ended earlier."""
    t, events = 30, [Event(h) for h in (10, 14, 17, 20, 23, 25, 28, 32)]
    lanes = [
        Lane("12h", Definition("count", width=12 * HOUR), [(18, t, BAND, "")]),
        Lane("12h, delay 6h", Definition("count", width=12 * HOUR, delay=6 * HOUR), [(12, 24, BAND, "ends at t - delay")]),
    ]
    return picture("Delay", lanes, events, t, {12: "t - 18h", 24: "t - 6h", t: "t"})


def known() -> str:
    """Late rows, as known at the instant and as known today."""
    t, events = 28, [Event(12), Event(18, 20), Event(21, 33), Event(24), Event(26, 35), Event(31)]
    definition = Definition("count", width=12 * HOUR)
    lanes = [
        Lane("known today", definition, [(16, t, BAND, "late rows count")]),
        Lane("as_known=True", definition, [(16, t, BAND, "what had not arrived by t does not")], as_known=True),
    ]
    return picture("As known, and known today", lanes, events, t, {16: "t - 12h", t: "t"})


PICTURES: Final = {"window-kinds": kinds, "window-bounds": bounds, "window-delay": delay, "window-known": known}


def main(folder: Path) -> None:
    """Write all pictures."""
    for name, draw in PICTURES.items():
        (folder / f"{name}.svg").write_text(draw(), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent / "pictures")
