"""What ``apply`` would change, what follows from it, and what forbids it."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

from featurestore.errors import DefinitionError
from featurestore.registry.checks import find_problems, raise_all
from featurestore.registry.definitions import (
    KINDS,
    Definition,
    Definitions,
    EventSource,
    FeatureService,
)
from featurestore.registry.describing import describe, metadata_fields
from featurestore.registry.lint import lint_view
from featurestore.registry.serialization import content_of, version_of

if TYPE_CHECKING:
    from featurestore.registry.block_sizes import BlockSizes
    from featurestore.registry.catalog import Catalog

Action: TypeAlias = Literal["added", "changed", "removed"]
Effect: TypeAlias = Literal["metadata", "settings", "meaning"]

_SIGNS: Final = {"added": "+", "changed": "~", "removed": "-"}
_EFFECTS: Final = {"metadata": "only words about it", "settings": "the same values", "meaning": "other values"}
_LOOK_UP_ROLES: Final = ("event_time", "arrival_time", "sequence")


@dataclass(frozen=True, slots=True)
class FieldChange:
    """One field, as applied and as written; empty where it is not set."""

    name: str
    old: str
    new: str

    @property
    def diff(self) -> str:
        """A unified diff, of texts with several lines."""
        if "\n" not in self.old + self.new:
            return ""
        return "\n".join(difflib.unified_diff(self.old.splitlines(), self.new.splitlines(), "applied", "written", lineterm=""))


@dataclass(frozen=True, slots=True)
class Change:
    """A definition that is added, changed or removed. ``effect``: what of it changes for who reads features."""

    action: Action
    kind: str
    name: str
    effect: Effect
    fields: tuple[FieldChange, ...]
    location: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """The change as JSON data."""
        fields = [{"field": f.name, "old": f.old or None, "new": f.new or None, "diff": f.diff or None} for f in self.fields]
        return {
            "action": self.action,
            "kind": self.kind,
            "name": self.name,
            "effect": self.effect,
            "location": self.location,
            "fields": fields,
        }

    def __str__(self) -> str:
        where = f"  ({self.location})" if self.location else ""
        effect = f"  [{_EFFECTS[self.effect]}]" if self.action == "changed" else ""
        lines = [f"{_SIGNS[self.action]} {self.kind} {self.name}{effect}{where}"]
        if self.action != "removed":
            lines += [line for change in self.fields for line in _field_lines(change, self.action)]
        return "\n".join(lines)


@dataclass(frozen=True, slots=True)
class Plan:
    """What ``apply`` would do to the newest revision.

    Args:
        base: the number of that revision; 0 before the first.
        written: the definitions as written.
        changes: in the order added, changed, removed.
        materialize: views whose online rows must be computed again, and why.
        services: services whose answers change, and by what.
        notes: what else follows.
        problems: what may not be applied.
        blocks: what the keys of views of windows take online.
    """

    base: int
    written: Definitions = field(repr=False)
    changes: tuple[Change, ...]
    materialize: dict[str, str]
    services: dict[str, tuple[str, ...]]
    notes: tuple[str, ...]
    problems: tuple[DefinitionError, ...]
    blocks: tuple[BlockSizes, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.changes)

    def with_problems(self, found: Iterable[DefinitionError]) -> Plan:
        """The plan with more of what may not be applied, found by rooms that the registry does not know."""
        return replace(self, problems=(*self.problems, *found))

    def with_blocks(self, blocks: tuple[BlockSizes, ...]) -> Plan:
        """The plan with what blocks take, measured by a room that the registry does not know."""
        return replace(self, blocks=blocks)

    def check(self) -> None:
        """Refuse what may not be applied.

        Raises:
            DefinitionError: the problem, or one error that lists several.
        """
        raise_all(self.problems)

    def to_dict(self) -> dict[str, Any]:
        """The plan as JSON data."""
        problems = [{"message": p.message, "location": p.location, "hint": p.hint} for p in self.problems]
        return {
            "base": self.base,
            "changes": [change.to_dict() for change in self.changes],
            "materialize": dict(self.materialize),
            "services": {name: list(views) for name, views in self.services.items()},
            "notes": list(self.notes),
            "problems": problems,
            "blocks": [sizes.to_dict() for sizes in self.blocks],
        }

    def __str__(self) -> str:
        return "\n".join(_plan_lines(self))


def make_plan(catalog: Catalog, written: Definitions) -> Plan:
    """Compare what is written with the newest revision. Changes nothing."""
    newest = catalog.newest()
    applied = catalog.definitions(newest.number) if newest else Definitions()
    times = {name: source.event_time for name, source in written.sources.items()}
    lints = [problem for view in written.views.values() for problem in lint_view(view, times.get(view.source, ""))]
    changes = tuple(sorted(_changes(applied, written), key=lambda c: list(_SIGNS).index(c.action)))
    changed_views = _changed_views(changes, applied, written)
    return Plan(
        base=newest.number if newest else 0,
        written=written,
        changes=changes,
        materialize={name: why for name, why in changed_views.items() if name in written.views and written.views[name].online},
        services=_touched_services(changes, set(changed_views), applied, written),
        notes=tuple(_notes(changes, applied, written)),
        problems=(*find_problems(written, catalog.source_schemas()), *lints),
    )


# -- comparing -----------------------------------------------------------------------------------------------------------


def _changes(applied: Definitions, written: Definitions) -> Iterator[Change]:
    old = {(KINDS[type(d)], d.name): d for d in applied}
    new = {(KINDS[type(d)], d.name): d for d in written}
    for key in [*new, *(key for key in old if key not in new)]:
        change = _change(*key, old.get(key), new.get(key))
        if change is not None:
            yield change


def _change(kind: str, name: str, old: Definition | None, new: Definition | None) -> Change | None:
    before, after = describe(old) if old else {}, describe(new) if new else {}
    names = [*after, *(key for key in before if key not in after)]
    fields = tuple(
        FieldChange(key, before.get(key, ""), after.get(key, "")) for key in names if before.get(key) != after.get(key)
    )
    there = new or old
    location = str(there.location) if there is not None and there.location else None
    if old is None or new is None:
        return Change("added" if old is None else "removed", kind, name, "meaning", fields, location)
    if not fields and version_of(old) == version_of(new):
        return None
    return Change("changed", kind, name, _effect(old, new, fields), fields, location)


def _effect(old: Definition, new: Definition, fields: tuple[FieldChange, ...]) -> Effect:
    if version_of(old) != version_of(new):
        return "meaning"
    return "metadata" if all(f.name in metadata_fields() for f in fields) else "settings"


# -- what follows --------------------------------------------------------------------------------------------------------


def _changed_views(changes: tuple[Change, ...], applied: Definitions, written: Definitions) -> dict[str, str]:
    """Feature views whose rows differ from those of the applied definitions, and why."""
    found: dict[str, str] = {}
    for change in changes:
        if change.kind == "feature view" and change.action != "removed" and change.effect == "meaning":
            found[change.name] = "new" if change.action == "added" else "its definition changed"
    for name, source in written.sources.items():
        old = applied.sources.get(name)
        roles = [role for role in _LOOK_UP_ROLES if old is not None and getattr(old, role) != getattr(source, role)]
        for view in written.views.values():
            if roles and view.source == name:
                found.setdefault(view.name, f"{', '.join(roles)} of source {name} changed")
    for name, view in written.views.items():
        before = applied.views.get(name)
        if before is not None and view.online and not before.online:
            found.setdefault(name, "it is online now")
    return found


def _touched_services(
    changes: tuple[Change, ...], changed_views: set[str], applied: Definitions, written: Definitions
) -> dict[str, tuple[str, ...]]:
    meaningful = {(c.kind, c.name): c for c in changes if c.effect == "meaning"}
    views = changed_views | {name for kind, name in meaningful if kind in ("feature view", "on-demand feature view")}
    touched: dict[str, tuple[str, ...]] = {}
    for name in sorted({**applied.services, **written.services}):
        own = meaningful.get(("feature service", name))
        service = written.services.get(name) or applied.services[name]
        reasons: list[str] = [own.action] if own else []
        if name in written.services:
            reasons += [view for view in _views_of(service, written) if view in views]
        if reasons:
            touched[name] = tuple(reasons)
    return touched


def _views_of(service: FeatureService, definitions: Definitions) -> list[str]:
    """The views that a service asks for, and those that they read, each once."""
    found: dict[str, None] = {}
    waiting = [reference.view for reference in service.features]
    while waiting:
        name = waiting.pop(0)
        if name not in found:
            found[name] = None
            below = definitions.on_demand_views.get(name)
            waiting += [reference.view for reference in below.references] if below else []
    return list(found)


def _notes(changes: tuple[Change, ...], applied: Definitions, written: Definitions) -> Iterator[str]:
    for change in changes:
        if change.kind == "source" and change.action == "removed":
            yield f"source {change.name}: its events stay in the lake"
        changed = change.kind == "source" and change.action == "changed" and change.effect == "meaning"
        if changed and _lands_otherwise(applied.sources[change.name], written.sources[change.name]):
            yield f"source {change.name}: rows that landed stay as they are; batches to come land by the new definition"
        if change.kind == "feature view" and change.action == "removed":
            yield f"feature view {change.name}: it can no longer be asked for; its online rows stay until they are erased"


def _lands_otherwise(old: EventSource, new: EventSource) -> bool:
    roles = set(_LOOK_UP_ROLES)
    before, after = content_of(old), content_of(new)
    return any(before[key] != after[key] for key in before if key not in roles | {"metadata"})


# -- showing -------------------------------------------------------------------------------------------------------------


def _plan_lines(plan: Plan) -> Iterator[str]:
    if not plan.changes:
        yield f"Nothing to change: the definitions are those of revision {plan.base}." if plan.base else "Nothing is defined."
    for change in plan.changes:
        yield str(change)
    if plan.materialize:
        yield "\nTo materialize:"
        yield from (f"  {name}: {why}" for name, why in plan.materialize.items())
    if plan.services:
        yield "\nServices touched:"
        yield from (f"  {name}: {', '.join(reasons)}" for name, reasons in plan.services.items())
    if plan.blocks:
        yield "\nOnline, bytes a key:"
        yield from (f"  {line}" for sizes in plan.blocks for line in sizes.lines())
    if plan.notes:
        yield "\nNotes:"
        yield from (f"  {note}" for note in plan.notes)
    if plan.problems:
        yield "\nMay not be applied:"
        yield from (f"  {_indented(str(problem))}" for problem in plan.problems)
    if plan.changes:
        counts = {action: sum(change.action == action for change in plan.changes) for action in _SIGNS}
        against = f"revision {plan.base}" if plan.base else "an empty registry"
        yield f"\n{', '.join(f'{count} {action}' for action, count in counts.items())}, against {against}."


def _field_lines(change: FieldChange, action: Action) -> Iterator[str]:
    if action == "added":
        yield f"    {change.name}: {_indented(change.new) if chr(10) not in change.new else ''}".rstrip()
        if "\n" in change.new:
            yield from (f"      {line}" for line in change.new.splitlines())
    elif change.diff:
        yield f"    {change.name}:"
        yield from (f"      {line}" for line in change.diff.splitlines())
    else:
        yield f"    {change.name}: {change.old or '(default)'} -> {change.new or '(default)'}"


def _indented(text: str) -> str:
    return text.replace("\n", "\n  ")
