"""What a PersistentVolumeClaim says about itself. Pure."""

from livescore_operator.resource import Manifest


def is_bound(claim: Manifest) -> bool:
    """Return whether a claim has, or is about to get, a certain volume: data may be in it.

    Only a claim that is Pending and names no volume has none for certain.
    """
    phase = (claim.get("status") or {}).get("phase")
    return phase != "Pending" or bool(claim["spec"].get("volumeName"))


def is_prepared(claim: Manifest) -> bool:
    """Return whether the volume is to be filled from, or chosen among, what a person prepared."""
    return any(claim["spec"].get(field) for field in ("dataSource", "dataSourceRef", "selector"))
