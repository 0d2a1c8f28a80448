"""deploy/compose.yaml as it is written: what it asks for is explained, and no container may do more than it has to.

What the containers really do is tried by test_compose.py; this needs no engine.
"""

from __future__ import annotations

import re
import stat
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from services.runtime.database import SERVICES_WITH_DATABASE
from services.runtime.settings import RuntimeSettings, read_settings
from tests.deploy.connections import most_connections
from tests.deploy.known_settings import known_settings
from tests.deploy.stack import SERVICES, STORAGE

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "deploy" / "compose.yaml").read_text()
CONTAINERS: dict[str, dict[str, Any]] = yaml.safe_load(TEXT)["services"]
EXAMPLE = (ROOT / "deploy" / ".env.example").read_text()
DOCKERFILE = (ROOT / "deploy" / "docker" / "Dockerfile").read_text()
# NAME, or NAME:-default, or NAME:?what to do where it is missing.
ASKED_FOR = re.findall(r"\$\{(\w+)(?::([-?])([^}]*))?\}", re.sub(r"(?m)^ *#.*$", "", TEXT))
OF_COMPOSE_ITSELF = {"COMPOSE_PROJECT_NAME"}


def told(text: str, *, optional: bool) -> dict[str, str]:
    """Variables of an .env file: those that it sets, or those that stand there as comments with their defaults."""
    return dict(re.findall(rf"(?m)^{'#' if optional else ''}([A-Z_]+)=(.*)$", text))


@pytest.fixture
def made(tmp_path: Path) -> Path:
    """A folder of secrets, by the script that people use."""
    subprocess.run(["sh", ROOT / "scripts" / "make-compose-secrets.sh", tmp_path], check=True)
    return tmp_path


def test_every_variable_is_in_the_example_and_no_other() -> None:
    explained = told(EXAMPLE, optional=False).keys() | told(EXAMPLE, optional=True).keys()
    assert explained - OF_COMPOSE_ITSELF == {name for name, _, _ in ASKED_FOR}


def test_defaults_are_those_of_the_example() -> None:
    defaults = {name: default for name, kind, default in ASKED_FOR if kind == "-"}
    explained = told(EXAMPLE, optional=False) | told(EXAMPLE, optional=True)
    assert {name: explained[name] for name in defaults} == defaults


def test_no_proxy_is_believed_whoever_it_is() -> None:
    said = [value for text in (EXAMPLE, TEXT) for value in re.findall(r"FORWARDED_ALLOW_IPS\W.*", text)]
    assert len(said) == 2
    assert not [one for one in said if "*" in one]


def test_a_secret_has_no_default_and_its_absence_says_what_to_do() -> None:
    named = {name for name, kind, _ in ASKED_FOR if kind == "?"}
    secret = {name for name, _, _ in ASKED_FOR if re.search(r"PASSWORD|TOKEN|ROOT_USER|SECRET", name)}
    may_lack = {name for name, kind, default in ASKED_FOR if (kind, default) == ("-", "")}
    assert named == secret - may_lack
    assert not {name for name, kind, default in ASKED_FOR if kind == "-" and default} & secret
    for name, kind, advice in ASKED_FOR:
        assert kind != "?" or advice == "run scripts/make-compose-secrets.sh deploy", name


def test_the_script_makes_what_the_example_sets_anew_each_time(
    made: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    other = tmp_path_factory.mktemp("other")
    subprocess.run(["sh", ROOT / "scripts" / "make-compose-secrets.sh", other], check=True)
    first, second = (told((folder / ".env").read_text(), optional=False) for folder in (made, other))
    assert first.keys() == second.keys() == told(EXAMPLE, optional=False).keys()
    for name in first.keys() - OF_COMPOSE_ITSELF - {"ONOMA_USER"}:
        assert first[name] != second[name], name
    assert re.fullmatch(r"[1-9]\d*:\d+", first["ONOMA_USER"])
    assert list((made / "signing-keys").glob("*.pem"))


def test_secrets_are_for_those_alone_who_made_them_and_stay_as_they_are(made: Path) -> None:
    before = (made / ".env").read_bytes()
    for path in (made / ".env", made / "backups", made / "signing-keys", *(made / "signing-keys").iterdir()):
        assert not stat.S_IMODE(path.stat().st_mode) & 0o077, path
    again = subprocess.run(
        ["sh", ROOT / "scripts" / "make-compose-secrets.sh", made], capture_output=True, text=True
    )
    assert (again.returncode, (made / ".env").read_bytes()) == (1, before)
    assert "stays as it is" in again.stderr


def test_every_setting_is_one_that_a_service_reads() -> None:
    for name in SERVICES:
        settings = {key for key in CONTAINERS[name]["environment"] if key.startswith("ONOMA_")}
        assert settings <= known_settings(), name


@pytest.mark.parametrize("name", SERVICES)
def test_services_take_what_they_are_told(name: str, made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given = told((made / ".env").read_text(), optional=False)

    def filled_in(value: str) -> str:
        return re.sub(
            r"\$\{(\w+)(?::[-?]([^}]*))?\}", lambda found: given.get(found[1], found[2] or ""), value
        )

    for key, value in CONTAINERS[name]["environment"].items():
        monkeypatch.setenv(key, filled_in(value))
    settings = read_settings(RuntimeSettings)
    assert settings.access_token == given["ONOMA_ACCESS_TOKEN"]
    assert settings.tls == "outside"
    assert bool(settings.database_url) == (name in SERVICES_WITH_DATABASE)
    assert (settings.object_store == "s3") == (name in ("inference", "attribution"))
    assert settings.signing_keys_dir is not None
    assert str(settings.signing_keys_dir) in [
        volume["target"] for volume in CONTAINERS[name]["volumes"] if isinstance(volume, dict)
    ]


@pytest.mark.parametrize("name", CONTAINERS)
def test_a_container_has_no_rights_that_it_does_not_need(name: str) -> None:
    one = CONTAINERS[name]
    assert one["read_only"] is True
    assert one["cap_drop"] == ["ALL"]
    assert one["security_opt"] == ["no-new-privileges:true"]
    assert not one.keys() & {"privileged", "cap_add", "devices", "network_mode", "pid", "ipc", "userns_mode"}
    # The store's image owns its folder as root; without any capability that root is nobody else's.
    assert one["user"].startswith("0:") == (name == "objects")
    assert not any("docker.sock" in str(volume) for volume in one.get("volumes", ()))


@pytest.mark.parametrize("name", CONTAINERS)
def test_a_container_takes_no_more_than_its_share(name: str) -> None:
    one = CONTAINERS[name]
    assert one["pids_limit"] > 0
    assert re.search(r"\d+g", one["mem_limit"])
    assert one["logging"]["options"].keys() == {"max-size", "max-file"}


@pytest.mark.parametrize("name", CONTAINERS)
def test_a_container_has_one_place_to_write_beside_what_it_keeps(name: str) -> None:
    one = CONTAINERS[name]
    volumes = [volume.split(":")[1] for volume in one.get("volumes", ()) if isinstance(volume, str)]
    assert "/tmp" in [*one.get("tmpfs", ()), *volumes]
    for volume in one.get("volumes", ()):
        if isinstance(volume, dict):
            assert volume["read_only"] is True, volume
        elif volume.startswith(("$", ".", "/")):  # a folder of the machine's
            assert volume.endswith(":ro") or name == "backup", volume


def test_backups_are_made_where_they_are_asked_for_and_by_nobody_else() -> None:
    assert {name for name, one in CONTAINERS.items() if "profiles" in one} == {"backup"}
    assert CONTAINERS.keys() == {*SERVICES, *STORAGE, "backup"}
    [made] = re.findall(r"(?m)^  backup:.*\n(?:    .*\n)*", TEXT)
    assert "*with-database, *with-store" in made
    [client] = re.findall(r"(?m)^ARG POSTGRES=(\S+)$", DOCKERFILE)
    assert client == CONTAINERS["database"]["image"]  # pg_dump takes no server that is newer than itself


@pytest.mark.parametrize("name", [*SERVICES, *STORAGE])
def test_a_container_that_stays_says_whether_it_is_healthy(name: str) -> None:
    one = CONTAINERS[name]
    assert one["restart"] == "unless-stopped"
    if name in STORAGE:
        assert one["healthcheck"]["test"][0] == "CMD"
    else:
        target = one["build"]["target"]
        [stage] = re.findall(rf"(?ms)^FROM \S+ AS {target}$(.*?)(?=^FROM |\Z)", DOCKERFILE)
        assert "\nHEALTHCHECK " in stage
    for needed in one.get("depends_on", {}).values():
        assert needed == {"condition": "service_healthy"}


def test_storage_is_reached_by_those_alone_who_keep_something_there() -> None:
    assert yaml.safe_load(TEXT)["networks"]["storage"]["internal"] is True
    on_it = {name for name, one in CONTAINERS.items() if "storage" in one["networks"]}
    assert on_it >= {*SERVICES_WITH_DATABASE, *STORAGE}
    assert not on_it & {"analytics", "gateway"}
    for name in STORAGE:
        assert CONTAINERS[name]["networks"] == ["storage"]


def test_the_database_takes_every_connection_that_may_be_opened() -> None:
    assert "command" not in CONTAINERS["database"], "it sets no max_connections, so PostgreSQL's 100"
    reserved, backup_and_doctor = 3, 5
    assert len(SERVICES_WITH_DATABASE) * most_connections() + backup_and_doctor + reserved <= 100


def test_lines_of_grpc_do_not_come_among_those_of_the_log() -> None:
    [of_all] = re.findall(r"(?ms)^FROM \S+ AS python$(.*?)(?=^FROM )", DOCKERFILE)
    assert "GRPC_VERBOSITY=ERROR" in of_all


def test_what_is_published_is_published_on_loopback() -> None:
    for name, one in CONTAINERS.items():
        assert bool(one.get("ports")) == (name in SERVICES)
        assert all(re.fullmatch(r"127\.0\.0\.1:(\d+):\1", port) for port in one.get("ports", ()))


def test_images_of_others_are_pinned_to_a_release() -> None:
    for name in STORAGE:
        assert re.fullmatch(r"docker\.io/\S+:(?!latest)\S*\d\S*", CONTAINERS[name]["image"])
