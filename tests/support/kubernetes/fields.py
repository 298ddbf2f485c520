"""Sets of fields as in server-side apply, and the operations on values that use them.

A field is the tuple of the path elements that lead to it, each in the notation of ``managedFields``: ``f:name`` of a
map, ``k:{"name":"api"}`` of a list whose items have keys, ``v:"x"`` of a set. See structured-merge-diff, the library
that the API server uses, for the rationale of each step.
"""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from tests.support.kubernetes.kinds import Json
from tests.support.kubernetes.schemas import ATOMIC, KEY_DEFAULTS, SET, Place, Schema

Path = tuple[str, ...]
Fields = frozenset[Path]
Parts = dict[str, tuple[Any, Place]]


@dataclass
class Difference:
    """The fields in which two values differ."""

    added: set[Path] = field(default_factory=set)
    modified: set[Path] = field(default_factory=set)
    removed: set[Path] = field(default_factory=set)

    @property
    def written(self) -> Fields:
        """Return the fields that have a new value."""
        return frozenset(self.added | self.modified)


def parts(value: Any, place: Place, schema: Schema) -> Parts | None:
    """Return the elements by which a value is merged; None if the value is atomic."""
    rule = schema.rule(place)
    if isinstance(value, dict) and rule != ATOMIC:
        return {f"f:{name}": (part, (*place, name)) for name, part in value.items()}
    if isinstance(value, list) and (rule == SET or isinstance(rule, tuple)):
        return {_element(item, rule): (item, (*place, "[]")) for item in value}
    return None


def _element(item: Any, rule: str | tuple[str, ...]) -> str:
    if isinstance(rule, str):
        return f"v:{_compact(item)}"
    keys = {name: item.get(name, KEY_DEFAULTS.get(name)) for name in rule}
    return f"k:{_compact({name: value for name, value in keys.items() if value is not None})}"


def _compact(value: Any) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"))


# Sets


def applied(value: Any, place: Place, schema: Schema, path: Path = ()) -> Iterator[Path]:
    """Yield the fields that an applied configuration owns: leaves, and items of lists."""
    inner = parts(value, place, schema)
    if not inner and (inner is None or isinstance(value, dict)) and path:
        yield path
    for element, (part, below) in (inner or {}).items():
        if not element.startswith("f:"):
            yield (*path, element)
        yield from applied(part, below, schema, (*path, element))


def everything(value: Any, place: Place, schema: Schema, path: Path) -> Iterator[Path]:
    """Yield all fields of a value, including those that only contain others."""
    yield path
    for element, (part, below) in (parts(value, place, schema) or {}).items():
        yield from everything(part, below, schema, (*path, element))


def compare(old: Any, new: Any, place: Place, schema: Schema) -> Difference:
    """Return the fields in which ``new`` differs from ``old``."""
    difference = Difference()
    _compare(old, new, place, schema, (), difference)
    return difference


def _compare(old: Any, new: Any, place: Place, schema: Schema, path: Path, into: Difference) -> None:
    if old == new:
        return
    before, after = parts(old, place, schema), parts(new, place, schema)
    if before is None or after is None:
        into.modified.add(path)
        return
    for element in before.keys() | after.keys():
        below = (*path, element)
        if element not in before:
            into.added.update(everything(*after[element], schema, below))
        elif element not in after:
            into.removed.update(everything(*before[element], schema, below))
        else:
            _compare(before[element][0], *after[element], schema, below, into)


def closed(fields: Iterable[Path]) -> Fields:
    """Return ``fields`` and the maps and lists that contain them."""
    held = {path[:length] for path in fields for length in range(1, len(path) + 1)}
    kept = set(fields)
    return frozenset(path for path in held if path in kept or path[-1].startswith("f:"))


# Operations


def merge(live: Any, config: Any, place: Place, schema: Schema) -> Any:
    """Merge ``config`` into ``live``, keeping what ``config`` does not mention."""
    if live == config:
        return live
    before, after = parts(live, place, schema), parts(config, place, schema)
    if before is None or after is None:
        return config
    merged = {
        element: merge(before[element][0], *after[element], schema) if element in before else after[element][0]
        for element in after
    }
    if isinstance(config, dict):
        return {**live, **{element[2:]: part for element, part in merged.items()}}
    rest = {element: part for element, (part, _) in before.items()}
    return [(merged if element in merged else rest)[element] for element in _order(list(before), list(after))]


def _order(before: list[str], after: list[str]) -> list[str]:
    """Return the applied order; items that are not applied stay before the item that they preceded."""
    order: list[str] = []
    waiting = list(before)
    for position, element in enumerate(after):
        shared = next((other for other in after[position:] if other in before), None)
        while waiting and waiting[0] != shared:
            order += _unless_in(after, waiting.pop(0))
        if waiting[:1] == [element]:
            waiting.pop(0)
        order.append(element)
    return [*order, *(element for element in waiting if element not in after)]


def _unless_in(applied_ones: list[str], element: str) -> list[str]:
    return [] if element in applied_ones else [element]


def removed(value: Any, doomed: Fields, place: Place, schema: Schema, path: Path = ()) -> Any:
    """Return ``value`` without the fields ``doomed``; containers that are owned themselves stay, empty."""
    inner = parts(value, place, schema)
    if not inner:
        return value
    kept = {element: pair for element, pair in inner.items() if (*path, element) not in doomed}
    left = {e: removed(part, doomed, below, schema, (*path, e)) for e, (part, below) in kept.items()}
    return {element[2:]: part for element, part in left.items()} if isinstance(value, dict) else list(left.values())


# Notation


def encode(fields: Fields) -> Json:
    """Return a set in the notation of ``fieldsV1``."""
    tree: Json = {}
    for path in sorted(fields, key=len):
        node = tree
        for element in path:
            node = node.setdefault(element, {})
        node["."] = {}
    return _without_lone_dots(tree)


def _without_lone_dots(node: Json) -> Json:
    return {} if node.keys() == {"."} else {name: _without_lone_dots(inner) for name, inner in node.items()}


def decode(tree: Json) -> Fields:
    """Return the set that ``fieldsV1`` describes."""
    return frozenset(_decode(tree, ()))


def _decode(tree: Json, path: Path) -> Iterator[Path]:
    if path and (not tree or "." in tree):
        yield path
    for element, inner in tree.items():
        if element != ".":
            yield from _decode(inner, (*path, element))


def written(path: Path) -> str:
    """Return a field in the notation of error messages: ``.spec.containers[name="api"].image``."""
    return "".join(f".{element[2:]}" if element.startswith("f:") else _item(element) for element in path)


def _item(element: str) -> str:
    value = json.loads(element[2:])
    if element.startswith("v:"):
        return f"[={_compact(value)}]"
    return "[" + ",".join(f"{name}={_compact(part)}" for name, part in sorted(value.items())) + "]"
