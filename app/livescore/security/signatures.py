"""Secrets and signatures of webhooks, by the Standard Webhooks specification.

The library signs with one secret and treats a time with another offset as UTC. Both are handled here: one signature
per valid secret, and a time that is converted to UTC first.
"""

import base64
import secrets
from collections.abc import Sequence
from datetime import UTC, datetime

from standardwebhooks import Webhook

PREFIX = "whsec_"

# The specification asks for 24 to 64 bytes.
_SECRET_BYTES = 32


def generate_secret() -> str:
    """Return a new secret in the form that receivers configure: ``whsec_`` and base64."""
    return PREFIX + base64.b64encode(secrets.token_bytes(_SECRET_BYTES)).decode()


def headers(message_id: str, at: datetime, body: bytes, valid_secrets: Sequence[str]) -> dict[str, str]:
    """Return the headers that identify and sign one attempt.

    Args:
        message_id: Id of the message; the same for all attempts.
        at: Time of this attempt, aware of its time zone. Receivers refuse attempts that are minutes old.
        body: The exact bytes of the body, UTF-8.
        valid_secrets: Secrets with which receivers may verify, newest first.
    """
    moment = at.astimezone(UTC)
    text = body.decode()
    signatures = [Webhook(secret).sign(message_id, moment, text) for secret in valid_secrets]
    return {
        "webhook-id": message_id,
        "webhook-timestamp": str(int(moment.timestamp())),
        "webhook-signature": " ".join(signatures),
    }
