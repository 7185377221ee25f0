"""What an import says of each object: it maps, it maps with a changed meaning, or there is no counterpart."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Final, Literal, TypeAlias

Verdict: TypeAlias = Literal["maps", "changed", "none"]
_HEADINGS: Final[dict[Verdict, str]] = {
    "none": "Without a counterpart",
    "changed": "Maps, with a changed meaning",
    "maps": "Maps",
}


@dataclass(frozen=True, slots=True)
class Finding:
    """One object of the Feast repository.

    Args:
        kind: ``entity``, ``source``, ``feature view``, ...
        name: its name in Feast.
        verdict: the worst of what is said of it.
        became: what it is called here; empty where it is nothing.
        notes: what changes, what is left out.
    """

    kind: str
    name: str
    verdict: Verdict
    became: str = ""
    notes: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """As JSON data."""
        return asdict(self)


class Notes:
    """Collects what is to be said of one object."""

    def __init__(self) -> None:
        self._notes: list[str] = []
        self.verdict: Verdict = "maps"

    def changed(self, note: str) -> None:
        """Something means another thing here."""
        self._add("changed", note)

    def lost(self, note: str) -> None:
        """A part of it is nothing here; the rest is."""
        self._add("changed", f"left out: {note}")

    def _add(self, verdict: Verdict, note: str) -> None:
        self.verdict = verdict
        if note not in self._notes:
            self._notes.append(note)

    def finding(self, kind: str, name: str, became: str) -> Finding:
        """What was collected."""
        return Finding(kind, name, self.verdict, became, tuple(self._notes))


def write_report(project: str, findings: list[Finding], commands: list[str]) -> str:
    """The report of an import, in Markdown."""
    counts = {verdict: sum(f.verdict == verdict for f in findings) for verdict in ("maps", "changed", "none")}
    lines = [
        f"# Import of the Feast project `{project}`",
        "",
        f"{counts['maps']} objects map as they are, {counts['changed']} with a changed meaning, "
        f"{counts['none']} have no counterpart.",
    ]
    for verdict, heading in _HEADINGS.items():
        chosen = [f for f in findings if f.verdict == verdict]
        if chosen:
            lines += ["", f"## {heading}", "", *(line for finding in chosen for line in _lines(finding))]
    if commands:
        lines += ["", "## Next", "", "```", *commands, "```"]
    return "\n".join(lines) + "\n"


def _lines(finding: Finding) -> list[str]:
    renamed = f" (here `{finding.became}`)" if finding.became not in ("", finding.name) else ""
    head = f"- {finding.kind} `{finding.name}`{renamed}"
    return [f"{head}:" if finding.notes else head, *(f"  - {note}" for note in finding.notes)]
