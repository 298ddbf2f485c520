"""Rewrites golden files of the tests: ``python -m tools.golden [NAME…]`` (``make golden``). Review the diff.

``templates`` and ``stored`` are promises to users, see their tests, and are written only if named.
"""

import json
from collections.abc import Callable
from typing import Annotated

import typer

from livescore_operator.components.common import to_yaml
from tests.charts import test_golden as charts
from tests.charts.rendering import VARIANTS
from tests.operator import test_golden as operator
from tests.operator import test_overlays as overlays
from tests.operator import test_stored_versions as stored
from tests.operator import test_templates as templates

DEFAULT = ("charts", "operator", "overlays")


def write_charts() -> None:
    """Write the rendered variants of the charts."""
    for variant in VARIANTS:
        path = charts.golden(variant)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(charts.shown(variant))


def write_operator() -> None:
    """Write the manifests that the operator builds."""
    for name in operator.NAMES:
        operator.output(name).write_text(to_yaml(operator.built(name)))


def write_overlays() -> None:
    """Write the built kustomizations."""
    for name in overlays.WHOLE:
        overlays.golden(name).write_text(overlays.shown(name))


def write_templates() -> None:
    """Write the digests of pod templates. Every changed digest restarts pods when the operator is upgraded."""
    digests = {case: templates.templates(case) for case in operator.NAMES}
    templates.DIGESTS.write_text(json.dumps(digests, indent=2) + "\n")


def write_stored() -> None:
    """Write the fields of ``spec`` by version, as stored by the coming release."""
    fields = {name: dict(stored.fields(schema)) for name, schema in stored.versions().items()}
    stored.STORED.write_text(json.dumps(fields, indent=1) + "\n")


WRITERS: dict[str, Callable[[], None]] = {
    "charts": write_charts,
    "operator": write_operator,
    "overlays": write_overlays,
    "stored": write_stored,
    "templates": write_templates,
}


def main(
    names: Annotated[
        list[str] | None, typer.Argument(help=f"{', '.join(WRITERS)}; {', '.join(DEFAULT)} by default.")
    ] = None,
) -> None:
    """Rewrite golden files of the tests; without names those of charts, operator and overlays."""
    for name in names or DEFAULT:
        if name not in WRITERS:
            raise typer.BadParameter(f"choose from {', '.join(WRITERS)}")
        WRITERS[name]()


if __name__ == "__main__":
    typer.run(main)
