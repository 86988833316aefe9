import stat
from pathlib import Path

import pytest
from typer.testing import CliRunner

from agentserve.cli import app
from agentserve.gateway.tenants.keys import KeyRing, KeysError, Role, changing, load_keys

DAY = 86_400.0


def test_a_key_is_found_by_its_text_and_by_nothing_else() -> None:
    ring = KeyRing()
    key, text = ring.create("research", 0.0)
    other = ring.create("sales", 0.0)
    assert ring.find(text) == key
    assert ring.find(other.text) == other.key
    wrong = text[:-1] + ("A" if text[-1] != "A" else "B")
    for guess in ("", "ags_", key.id, key.digest, wrong, f"{text}x", f"ags_{key.id}_{other.text[17:]}", "\udcff"):
        assert ring.find(guess) is None, guess


def test_a_key_expires_when_its_time_is_over() -> None:
    key, _ = KeyRing().create("research", 100.0, lasts=10.0)
    assert not key.expired(109.9)
    assert key.expired(110.0)


def test_a_rotated_key_goes_on_for_its_grace_beside_the_new_one() -> None:
    ring = KeyRing()
    old, text = ring.create("research", 0.0, role=Role.ADMIN)
    new, _ = ring.rotate(old.id, 1000.0, grace=60.0)
    found = ring.find(text)
    assert found is not None
    assert not found.expired(1059.0)
    assert found.expired(1060.0)
    assert (new.tenant, new.role, new.expires) == ("research", Role.ADMIN, None)


def test_a_new_key_lasts_as_long_as_the_one_it_replaces_and_no_grace_prolongs_that() -> None:
    ring = KeyRing()
    old, _ = ring.create("research", 0.0, lasts=DAY)
    new, _ = ring.rotate(old.id, 0.75 * DAY, grace=DAY)
    assert ring.keys[old.id].expires == DAY
    assert new.expires == 1.75 * DAY
    with pytest.raises(KeysError, match="has expired"):
        ring.rotate(old.id, 2 * DAY, grace=0.0)


def test_a_revoked_key_is_gone() -> None:
    ring = KeyRing()
    key, text = ring.create("research", 0.0)
    ring.revoke(key.id)
    assert ring.find(text) is None
    with pytest.raises(KeysError, match="keys list"):
        ring.revoke(key.id)


@pytest.mark.parametrize("tenant", ["", "a/b", "-a", "a" * 65, "a b", "ä"])
def test_a_tenants_name_can_stand_in_front_of_a_slash(tenant: str) -> None:
    with pytest.raises(KeysError, match="a tenant's name"):
        KeyRing().create(tenant, 0.0)


def test_the_file_is_its_owners_alone_and_holds_no_key(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "keys.json"
    with changing(path) as ring:
        key, text = ring.create("research", 5.0, lasts=9.0)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert text not in path.read_text()
    assert text[17:] not in path.read_text()
    assert load_keys(path).keys == {key.id: key}


@pytest.mark.parametrize(
    "content",
    ["", "[]", "{}", '{"format": "x", "keys": []}', '{"format": "agentserve-keys/1", "keys": [{"id": "a"}]}'],
)
def test_a_file_that_holds_something_else_is_refused_and_left_alone(tmp_path: Path, content: str) -> None:
    path = tmp_path / "keys.json"
    path.write_text(content)
    with pytest.raises(KeysError, match="cannot be read"), changing(path):
        pass
    assert path.read_text() == content


def run(path: Path, *words: str) -> tuple[int, str, str]:
    result = CliRunner().invoke(app, ["keys", *words, "--file", str(path)])
    return result.exit_code, result.stdout, result.stderr


def test_the_command_creates_lists_rotates_and_revokes(tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    code, text, _ = run(path, "create", "research", "--admin", "--expires", "90d")
    assert code == 0
    (key,) = load_keys(path).keys.values()
    assert load_keys(path).find(text.strip()) == key
    assert (key.tenant, key.role, key.expires) == ("research", Role.ADMIN, key.created + 90 * DAY)
    code, listed, _ = run(path, "list")
    assert code == 0
    assert key.id in listed
    assert text.strip() not in listed
    code, fresh, _ = run(path, "rotate", key.id, "--grace", "0s")
    assert code == 0
    assert load_keys(path).find(fresh.strip()) != key
    assert "expired" in run(path, "list")[1]
    assert run(path, "revoke", key.id)[0] == 0
    assert list(load_keys(path).keys) == [fresh[4:16]]


def test_mistakes_end_the_command_with_what_to_do(tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    for words, said in (
        (("list",), "keys create"),
        (("revoke", "abc"), "keys list"),
        (("create", "a/b"), "tenant's name"),
        (("create", "a", "--expires", "soon"), "90d"),
    ):
        code, _, stderr = run(path, *words)
        assert code == 2, words
        assert said in " ".join(stderr.split()), words
    assert not path.exists()
