"""State of PersistentVolumeClaims. Pure functions."""

from livescore_operator.resource import Manifest


def is_bound(claim: Manifest) -> bool:
    """Return True if a claim has, or is about to get, a volume, which may hold data.

    Only a claim that is Pending and names no volume certainly has none.
    """
    phase = (claim.get("status") or {}).get("phase")
    return phase != "Pending" or bool(claim["spec"].get("volumeName"))


def is_prepared(claim: Manifest) -> bool:
    """Return True if the claim asks for a volume, or a data source, that a person prepared."""
    return any(claim["spec"].get(field) for field in ("dataSource", "dataSourceRef", "selector"))
