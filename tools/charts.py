"""Generated parts of the charts, written by ``python -m tools.charts`` (``make charts``).

- the CRD and the schema of ``spec``: from the operator's model,
- the rules of the operator's roles: from ``k8s/rbac``,
- the tables of values in the READMEs: from the comments in ``values.yaml``.
"""

import json
import re
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from livescore_operator.components.common import to_yaml
from livescore_operator.crd import crd

ROOT = Path(__file__).parents[1]
CHARTS = ROOT / "charts"
OPERATOR, LIVESCORE = CHARTS / "livescore-operator", CHARTS / "livescore"

Schema = dict[str, Any]

DRAFT = "http://json-schema.org/draft-07/schema#"

KEYWORDS = (
    *("description", "type", "enum", "anyOf", "pattern", "minLength", "maxLength", "minimum", "maximum"),
    *("minItems", "maxItems", "required"),
)
"""Keywords with the same meaning in structural schemas and JSON Schema. Defaults are filled in by the API server."""

TABLE = re.compile(r"<!-- values -->\n.*?<!-- end of values -->", re.DOTALL)


def files() -> dict[Path, str]:
    """Return every generated file with its content."""
    return {
        OPERATOR / "templates" / "crd.yaml": _crd(),
        OPERATOR / "templates" / "_rules.tpl": _rules(),
        LIVESCORE / "values.schema.json": json.dumps(_livescore_schema(), indent=2) + "\n",
        **{chart / "README.md": _readme(chart) for chart in (OPERATOR, LIVESCORE)},
    }


# The chart of the operator


def _crd() -> str:
    definition = crd()
    metadata = textwrap.dedent("""\
        metadata:
          name: {name}
          labels:
            {{{{- include "livescore-operator.labels" . | nindent 4 }}}}
          annotations:
            helm.sh/resource-policy: keep
        """).format(name=definition["metadata"]["name"])
    head = to_yaml([{key: definition[key] for key in ("apiVersion", "kind")}])
    spec = to_yaml([{"spec": definition["spec"]}])
    condition = '{{- include "livescore-operator.complete" . -}}\n{{- if .Values.crds.install }}\n'
    return f"{condition}{head}{metadata}{spec}{{{{- end }}}}\n"


def _rules() -> str:
    _, rules = (ROOT / "k8s" / "rbac" / "clusterrole.yaml").read_text().split("\nrules:\n")
    return f'{{{{- define "livescore-operator.rules" -}}}}\n{textwrap.dedent(rules)}{{{{- end -}}}}\n'


# The chart of a LiveScore


def _livescore_schema() -> Schema:
    (version,) = crd()["spec"]["versions"]
    structural = version["schema"]["openAPIV3Schema"]["properties"]["spec"]
    # The chart has its own image.
    required = [name for name in structural["required"] if name != "image"]
    spec = strict({**structural, "required": required})
    return {
        "$schema": DRAFT,
        "title": "Values of livescore",
        **_nullable_object(
            {
                # A parent chart may set more global values for its subcharts.
                "global": {"type": "object", "patternProperties": {"^imageRegistry$": nullable(_TEXT)}},
                "name": {"type": "string", "pattern": "^([a-z]([-a-z0-9]{0,38}[a-z0-9])?)?$"},
                "labels": _STRINGS,
                "annotations": _STRINGS,
                "image": _nullable_object(
                    {"repository": {"type": "string", "minLength": 1}, "tag": {"type": "string"}}
                ),
                "spec": spec,
                "secrets": _nullable_object({"apiKeys": _TEXT, "databaseUrl": _TEXT, "redisUrl": _TEXT}),
                "test": _nullable_object(
                    {
                        "apiKeySecret": _nullable_object({"name": _TEXT, "key": {"type": "string", "minLength": 1}}),
                        "podLabels": _STRINGS,
                        "seconds": {"type": "integer", "minimum": 1, "maximum": 3600},
                    }
                ),
            }
        ),
    }


_TEXT: Schema = {"type": "string"}
_STRINGS: Schema = {"type": "object", "additionalProperties": {"type": ["string", "null"]}}


def _object(properties: Schema) -> Schema:
    return {"type": "object", "additionalProperties": False, "properties": properties}


def _nullable_object(properties: Schema) -> Schema:
    """Return the schema of an object in which each field may be null."""
    return _object({name: nullable(schema) for name, schema in properties.items()})


def strict(structural: Schema) -> Schema:
    """Return the JSON schema of a structural schema, with unknown fields forbidden."""
    found = {key: structural[key] for key in KEYWORDS if key in structural}
    if "items" in structural:
        found["items"] = strict(structural["items"])
    if "properties" in structural:
        required = structural.get("required", ())
        fields = {name: strict(field) for name, field in structural["properties"].items()}
        found |= _object({name: field if name in required else nullable(field) for name, field in fields.items()})
    elif "additionalProperties" in structural:
        found["additionalProperties"] = nullable(strict(structural["additionalProperties"]))
    return found


def nullable(schema: Schema) -> Schema:
    """Return the schema extended by null, which removes a value in Helm."""
    if "anyOf" in schema:
        return {**schema, "anyOf": [*schema["anyOf"], {"type": "null"}]}
    found = {**schema, "type": [schema["type"], "null"]} if "type" in schema else dict(schema)
    return {**found, "enum": [*schema["enum"], None]} if "enum" in schema else found


# The READMEs


def _readme(chart: Path) -> str:
    table = "\n".join(["| value | default | meaning |", "|---|---|---|", *_rows(chart)])
    return TABLE.sub(lambda _: f"<!-- values -->\n{table}\n<!-- end of values -->", (chart / "README.md").read_text())


def _rows(chart: Path) -> Iterator[str]:
    text = (chart / "values.yaml").read_text()
    values = yaml.safe_load(text)
    for path, meaning in comments(text):
        value = values
        for name in path:
            value = value[name]
        yield f"| `{'.'.join(path)}` | `{json.dumps(value)}` | {meaning} |"


def comments(text: str) -> Iterator[tuple[tuple[str, ...], str]]:
    """Yield the path and comment of every value that has a comment directly above it."""
    path: list[str] = []
    comment: list[str] = []
    for line in text.splitlines():
        if found := re.fullmatch(r"( *)([\w.]+):.*", line):
            path = [*path[: len(found[1]) // 2], found[2]]
            if comment:
                yield tuple(path), " ".join(comment)
        comment = [*comment, line.strip("# ")] if line.lstrip().startswith("#") else []


def main() -> None:
    """Write all generated files."""
    for file, content in files().items():
        file.write_text(content)


if __name__ == "__main__":
    main()
