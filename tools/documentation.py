"""Generated tables of the documentation, written by ``python -m tools.documentation`` (``make docs``).

- ``docs/settings.md``: the settings of the service,
- ``docs/operator.md``: fields, status and rules of a LiveScore, and the settings of the operator.
"""

import textwrap
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from pydantic.fields import FieldInfo

from livescore.settings import Settings
from livescore_operator.crd import crd
from livescore_operator.resource import QUANTITY, RESERVED_ENV
from livescore_operator.settings import Settings as OperatorSettings

Schema = dict[str, Any]

DOCS = Path(__file__).parents[1] / "docs"

SETTINGS_HEAD = "| variable | default | meaning |\n|---|---|---|\n"

SHARED = {"template", "env"}
"""Fields common to several components: their contents are documented in a shared table."""

SMALL = {("requests", "limits"), ("name", "key"), ("name",)}
"""Objects with only these fields take one row."""


def main() -> None:
    """Write all tables."""
    settings_page = DOCS / "settings.md"
    settings_page.write_text(settings_page.read_text().partition(SETTINGS_HEAD)[0] + settings_table())
    page = DOCS / "operator.md"
    page.write_text(operator_page(page.read_text()))


# Settings


def settings_table() -> str:
    """Return every setting as a row of Markdown."""
    rows = [
        f"| `{name.upper()}` | {_default(field)} | {(field.description or '').replace('|', '&#124;')} |"
        for name, field in Settings.model_fields.items()
    ]
    return SETTINGS_HEAD + "\n".join(rows) + "\n"


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    if field.default_factory is not None:
        return "the host's name" if field.annotation is str else "none"
    if field.default is None:
        return "unset"
    return f"`{str(field.default).lower() if isinstance(field.default, bool) else field.default}`"


# The operator


def operator_tables() -> dict[str, str]:
    """Return the generated tables by the name of their place in the page."""
    api = _spec()["properties"]["api"]["properties"]
    return {
        "fields": _table(("field", "type", "default", "meaning"), _fields(_spec())),
        "template": _table(("field", "type", "default", "meaning"), _fields(api["template"])),
        "env": _table(("field", "type", "default", "meaning"), _fields(api["env"]["items"])),
        "reserved": textwrap.fill(", ".join(f"`{name}`" for name in RESERVED_ENV), 140) + ".\n",
        "rules": _table(("where", "what the API server says"), dict.fromkeys(_rules(_root()))),
        "status": _table(("field", "type", "meaning"), ((row[0], row[1], row[3]) for row in _fields(_status()))),
        "settings": _table(("variable", "default", "meaning"), _operator_settings()),
    }


def _status() -> Schema:
    status: Schema = _root()["properties"]["status"]
    return status


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    lines += ["| " + " | ".join(cell.replace("|", "&#124;") for cell in row) + " |" for row in rows]
    return "\n".join(lines).replace("|  |", "| |") + "\n"


def _fields(schema: Schema, above: str = "") -> Iterator[tuple[str, str, str, str]]:
    """Yield path, type, default and meaning of every field below a schema."""
    for name, field in schema["properties"].items():
        path = f"{above}{name}"
        yield f"`{path}`", _kind(field), _default_of(name, field, schema), field.get("description", "")
        yield from _below(name, field, path)


def _below(name: str, field: Schema, path: str) -> Iterator[tuple[str, str, str, str]]:
    """Yield the fields inside a field, unless they are documented elsewhere or in its own row."""
    inner, suffix = field, ""
    if field["type"] == "array":
        inner, suffix = field["items"], "[]"
    if "properties" in inner and name not in SHARED and not _is_small(inner):
        yield from _fields(inner, f"{path}{suffix}.")


def _is_small(field: Schema) -> bool:
    """Return True if the contents of a field need no description."""
    return tuple(field.get("properties", ())) in SMALL


def _is_resources(field: Schema) -> bool:
    return "requests" in field.get("properties", ())


def _kind(field: Schema) -> str:
    """Return a short description of a field's type."""
    if "enum" in field:
        return " ".join(f"`{value}`" for value in field["enum"])
    if field.get("pattern") == QUANTITY:
        return "quantity"
    if field["type"] == "array":
        inner = _kind(field["items"])
        return f"list of {inner}" + ("" if _is_small(field["items"]) else "s")
    if _is_small(field):
        return ", ".join(f"`{name}`" for name in field["properties"])
    return "map" if "additionalProperties" in field else _integer(field)


def _integer(field: Schema) -> str:
    """Return the type of a field with its bounds."""
    low, high = field.get("minimum"), field.get("maximum")
    if low is None:
        return str(field["type"])
    return f"{low} or more" if high is None else f"{low} to {high}"


def _default_of(name: str, field: Schema, parent: Schema) -> str:
    """Return the default of a field; for an object, composed of the defaults of its fields."""
    if name in parent.get("required", []):
        return "required"
    if _is_resources(field):
        return "; ".join(f"{part}: {_amounts(field['default'][part])}" for part in ("requests", "limits"))
    value = field.get("default")
    return f"`{str(value).lower() if isinstance(value, bool) else value}`" if _is_plain(value) else ""


def _amounts(resources: dict[str, str]) -> str:
    return ", ".join(f"{name} `{amount}`" for name, amount in resources.items())


def _is_plain(value: object) -> bool:
    return value not in (None, "") and not isinstance(value, dict | list)


def _rules(schema: Schema, path: str = "") -> Iterator[tuple[str, str]]:
    """Yield place and message of every CEL rule; those of shared fields once."""
    for rule in schema.get("x-kubernetes-validations", []):
        yield (f"`{path}`" if path else "the whole"), rule["message"]
    if "items" in schema:
        yield from _rules(schema["items"], f"{path}[]")
    for name, field in schema.get("properties", {}).items():
        if name not in SHARED or path.endswith("api"):
            yield from _rules(field, f"{path}.{name}".removeprefix("."))


def _operator_settings() -> Iterator[tuple[str, str, str]]:
    # Not in code font: `SOME_SETTING` denotes a setting of the service in these documents.
    for name, field in OperatorSettings.model_fields.items():
        yield name.upper(), _default(field), field.description or ""


def operator_page(page: str) -> str:
    """Return the page with every table up to date."""
    for name, content in operator_tables().items():
        start, end = f"<!-- {name} -->\n", f"<!-- end of {name} -->"
        before, _, rest = page.partition(start)
        page = f"{before}{start}{content}{end}{rest.partition(end)[2]}"
    return page


def _spec() -> Schema:
    spec: Schema = _root()["properties"]["spec"]
    return spec


def _root() -> Schema:
    root: Schema = crd()["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    return root


if __name__ == "__main__":
    main()
