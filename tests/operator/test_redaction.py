"""No form of a Secret's value remains in displayed manifests or reported texts."""

import json
from base64 import b64encode, urlsafe_b64encode
from typing import Any
from urllib.parse import quote, quote_plus

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from livescore_operator.redaction import LAST_APPLIED, MASK, Redactor
from livescore_operator.resource import Manifest

VALUE = "hun\"ter 2/<&>'\\é"
ENCODED = b64encode(VALUE.encode()).decode()


def secret(**values: str) -> Manifest:
    data = {key: b64encode(value.encode()).decode() for key, value in values.items()}
    return {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "demo"}, "data": data}


def deployment(value: str, **metadata: Any) -> Manifest:
    container = {"name": "api", "env": [{"name": "TOKEN", "value": value}], "args": ["--token", value]}
    body = {"spec": {"template": {"spec": {"containers": [container]}}}}
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "demo", **metadata}, **body}


def shown(manifest: Manifest, *secrets: Manifest) -> str:
    return yaml.safe_dump(Redactor(secrets).manifest(manifest), width=4096, allow_unicode=True)


FORMS = {
    "decoded": VALUE,
    "base64": ENCODED,
    "base64 of a URL": urlsafe_b64encode(VALUE.encode()).decode(),
    "in a text": f"token={VALUE};",
    "in a URL": f"https://me:{quote(VALUE, safe='')}@host/",
    "in a path": quote(VALUE),
    "in a form": quote_plus(VALUE),
    "in JSON": json.dumps({"token": VALUE}),
    "in JSON of other letters": json.dumps({"token": VALUE}, ensure_ascii=False),
    "in JSON of Go": json.dumps({"token": VALUE}, ensure_ascii=False).translate(
        {ord(letter): f"\\u{ord(letter):04x}" for letter in "<>&"}
    ),
    "in YAML": yaml.safe_dump({"token": VALUE}, allow_unicode=True),
    "with a line end": f"{VALUE}\n",
}


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_every_form_of_a_value_is_masked_anywhere(form: str) -> None:
    text = shown(deployment(form, annotations={"note": form}), secret(token=VALUE))
    assert text.count(MASK) == 3
    assert "hun" not in text
    assert ENCODED[:8] not in text


@given(
    st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=8, max_size=40).filter(
        lambda t: len(t.strip()) > 7
    )
)
def test_no_value_survives_in_an_environment(value: str) -> None:
    redacted = Redactor([secret(token=value)]).manifest(deployment(f"before {value} after"))
    (container,) = redacted["spec"]["template"]["spec"]["containers"]
    assert value.strip() not in container["env"][0]["value"].replace(MASK, "")


@pytest.mark.parametrize("field", ["data", "stringData"])
def test_secret_is_shown_with_only_its_keys(field: str) -> None:
    value = ENCODED if field == "data" else VALUE
    manifest: Manifest = {"kind": "Secret", "metadata": {"name": "demo"}, field: {"token": value, "user": "bWU="}}
    applied = json.dumps({**manifest, "stringData": {"other": "secret-too"}})
    manifest["metadata"]["annotations"] = {LAST_APPLIED: applied, "note": VALUE}

    found = Redactor([manifest]).manifest(manifest)

    assert found[field] == {"token": MASK, "user": MASK}
    assert found["metadata"]["annotations"] == {LAST_APPLIED: MASK, "note": MASK}
    assert found["metadata"]["name"] == "demo"


@pytest.mark.parametrize("manifest", [{"kind": "Secret", "data": None}, {"kind": "Secret", "metadata": {}}])
def test_a_secret_without_data_can_be_shown(manifest: Manifest) -> None:
    assert Redactor([manifest]).manifest(manifest) == ({**manifest, "data": {}} if "data" in manifest else manifest)


def test_a_value_that_is_not_text_is_masked_as_base64() -> None:
    raw = b64encode(b"\xff\xfe\x00binary").decode()
    assert raw not in shown(deployment(raw), {"kind": "Secret", "data": {"key": raw}})


def test_short_value_is_masked_only_as_a_whole_word() -> None:
    assert shown(deployment("yes"), secret(flag="yes")).count(MASK) == 2
    assert MASK not in shown(deployment("yesterday"), secret(flag="yes"))


def test_users_and_hosts_of_a_url_stay_readable() -> None:
    found = secret(username="livescore", host="db.example", port="5432", password="hunter22")
    assert MASK not in shown(deployment("livescore at db.example:5432"), found)
    assert "hunter22" not in shown(deployment("hunter22"), found)


def test_nothing_is_masked_without_a_secret() -> None:
    assert Redactor([]).manifest(deployment("any")) == deployment("any")
    assert Redactor([]).text("any text") == "any text"


@pytest.mark.parametrize(
    ("url", "line"),
    [
        ("postgresql://me:hunter@secret@db.example/scores", "failed to resolve host 'secret@db.example'"),
        ("postgresql://me:hunter/secret@db.example/scores", 'invalid integer value "hunter" for connection option'),
        ("postgresql://me:hunter%40secret@db.example/scores", "password hunter@secret failed"),
        ("redis://:a#hunter@db.example:6379/0", "Port could not be cast to integer value as 'a'"),
        ("redis://:HUNTER/se@db.example:6379/0", "Error -2 connecting to hunter:6379"),
        ("postgresql://me:hunter2@db.example/scores\n", "cannot parse postgresql://me:hunter2@db.example/scores"),
    ],
)
def test_log_line_contains_no_part_of_a_password(url: str, line: str) -> None:
    found = Redactor([secret(url=url)]).text(line)
    assert MASK in found
    for part in ("hunter", "secret", "'a'"):
        assert part not in found.lower()


def test_log_line_keeps_useful_parts() -> None:
    line = "connection to db.example:5432 failed: a standby cannot serve scores"
    assert Redactor([secret(url="postgresql://me:hunter22@db.example:5432/scores")]).text(line) == line
