"""Signatures of webhooks, checked by the Python library and by WebCrypto in JavaScript."""

import base64
import json
import shutil
import subprocess
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from standardwebhooks import Webhook, WebhookVerificationError

from livescore.jobs.webhooks.deliveries import message_of
from livescore.scores.feed import Event
from livescore.security import signatures

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
OTHER_SECRET = "whsec_" + base64.b64encode(bytes(range(32))).decode()

# The example of the specification.
KNOWN_BODY = b'{"test": 2432232314}'
KNOWN_ID = "msg_p5jXN8AQM9LWM0D4loKWxJek"
KNOWN_TIME = datetime.fromtimestamp(1_614_265_330, UTC)
KNOWN_SIGNATURE = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="

KICK_OFF = datetime(2026, 6, 14, 19, 0, 12, 345_000, tzinfo=UTC)
EVENT = Event.from_row(
    7,
    42,
    "match_updated",
    '{"id":7,"homeTeam":"Curaçao","awayTeam":"Côte d\u2019Ivoire","venue":"Estadio 墨西哥 ⚽"}',
    KICK_OFF.timestamp(),
    "",
)

# The verification that docs/webhooks.md shows, over all vectors of the input.
JAVASCRIPT = """
const { webcrypto } = require("node:crypto");
async function verifies(secret, id, timestamp, body, header) {
  const raw = Buffer.from(secret.replace(/^whsec_/, ""), "base64");
  const key = await webcrypto.subtle.importKey("raw", raw, { name: "HMAC", hash: "SHA-256" }, false, ["verify"]);
  const signed = new TextEncoder().encode(`${id}.${timestamp}.${body}`);
  for (const part of header.split(" ")) {
    const [version, signature] = part.split(",");
    if (version !== "v1") continue;
    if (await webcrypto.subtle.verify("HMAC", key, Buffer.from(signature, "base64"), signed)) return true;
  }
  return false;
}
(async () => {
  const vectors = JSON.parse(require("node:fs").readFileSync(0, "utf8"));
  const results = [];
  for (const v of vectors) results.push(await verifies(v.secret, v.id, v.timestamp, v.body, v.signature));
  console.log(JSON.stringify(results));
})();
"""


def headers(at: datetime, *secrets: str, body: bytes = KNOWN_BODY, message_id: str = KNOWN_ID) -> dict[str, str]:
    return signatures.headers(message_id, at, body, secrets)


def test_signature_is_that_of_the_specification() -> None:
    assert headers(KNOWN_TIME, SECRET) == {
        "webhook-id": KNOWN_ID,
        "webhook-timestamp": "1614265330",
        "webhook-signature": KNOWN_SIGNATURE,
    }


def test_time_with_another_offset_is_signed_as_the_same_instant() -> None:
    elsewhere = KNOWN_TIME.astimezone(timezone(timedelta(hours=5, minutes=30)))
    assert headers(elsewhere, SECRET) == headers(KNOWN_TIME, SECRET)


def test_attempt_carries_a_signature_for_every_secret() -> None:
    signed = headers(datetime.now(UTC), SECRET, OTHER_SECRET)
    assert len(signed["webhook-signature"].split(" ")) == 2
    for secret in (SECRET, OTHER_SECRET):
        Webhook(secret).verify(KNOWN_BODY, signed)
    with pytest.raises(WebhookVerificationError):
        Webhook(signatures.generate_secret()).verify(KNOWN_BODY, signed)


def test_attempt_hours_after_its_event_verifies_because_its_timestamp_is_its_own() -> None:
    six_hours_ago = Event(7, 42, EVENT.type, datetime.now(UTC).timestamp() - 6 * 3600, "", EVENT.message)
    message = message_of(six_hours_ago)
    signed = headers(datetime.now(UTC), SECRET, body=message.body, message_id=message.id)
    payload = Webhook(SECRET).verify(message.body, signed)
    assert payload["data"]["data"]["homeTeam"] == "Curaçao"
    at_its_event = headers(datetime.fromtimestamp(six_hours_ago.created, UTC), SECRET, body=message.body)
    with pytest.raises(WebhookVerificationError, match="too old"):
        Webhook(SECRET).verify(message.body, at_its_event)


def test_generated_secrets_are_256_random_bits() -> None:
    secret = signatures.generate_secret()
    assert secret.startswith("whsec_")
    assert len(base64.b64decode(secret.removeprefix("whsec_"), validate=True)) == 32
    assert secret != signatures.generate_secret()


def test_message_is_the_event_as_over_websocket_with_a_stable_id() -> None:
    message = message_of(EVENT)
    body = json.loads(message.body)
    assert list(body) == ["type", "timestamp", "data"]
    assert body["type"] == "match_updated"
    assert body["timestamp"] == "2026-06-14T19:00:12.345Z"
    assert body["data"] == json.loads(EVENT.message)
    assert message.id == message_of(EVENT).id
    restored = Event(7, 42, EVENT.type, EVENT.created + 3600, "", EVENT.message)
    assert message_of(restored).id != message.id


@pytest.mark.skipif(shutil.which("node") is None, reason="node is not installed")
def test_javascript_accepts_the_same_signatures() -> None:
    six_hours_later = KICK_OFF + timedelta(hours=6)
    message = message_of(EVENT)
    both = headers(six_hours_later, SECRET, OTHER_SECRET, body=message.body, message_id=message.id)
    known = headers(KNOWN_TIME, SECRET)
    vectors: list[tuple[str, dict[str, str], str]] = [
        (SECRET, known, KNOWN_BODY.decode()),
        (SECRET, both, message.body.decode()),
        (OTHER_SECRET, both, message.body.decode()),
        (signatures.generate_secret(), both, message.body.decode()),
        (SECRET, both, message.body.decode().replace("Curaçao", "Curacao")),
    ]
    assert _in_javascript(vectors) == [True, True, True, False, False]


def _in_javascript(vectors: list[tuple[str, dict[str, str], str]]) -> Any:
    given = [
        {
            "secret": secret,
            "id": signed["webhook-id"],
            "timestamp": signed["webhook-timestamp"],
            "signature": signed["webhook-signature"],
            "body": body,
        }
        for secret, signed, body in vectors
    ]
    done = subprocess.run(
        ["node", "-e", JAVASCRIPT], input=json.dumps(given), capture_output=True, text=True, check=True, timeout=60
    )
    return json.loads(done.stdout)
