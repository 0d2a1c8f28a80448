"""What the environment may say, and the one line that answers when it says something wrong."""

import itertools
from difflib import SequenceMatcher
from pathlib import Path

import pytest

from docs.hooks import SETTINGS
from services.runtime.settings import LIKENESS, RuntimeSettings, read_settings

S3 = {"ONOMA_OBJECT_STORE": "s3", "ONOMA_S3_ENDPOINT": "127.0.0.1:9000", "ONOMA_S3_SECRET_KEY": "a-secret"}


def read(monkeypatch, **environment):
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    return read_settings(RuntimeSettings)


def ratio(one, two):
    return max(SequenceMatcher(None, *pair).ratio() for pair in ((one, two), (two, one)))


def test_every_setting_is_described():
    assert [name for name, field in RuntimeSettings.model_fields.items() if not field.description] == []


def test_settings_come_from_the_environment(monkeypatch):
    settings = read(monkeypatch, ONOMA_DATA_DIR="/srv/onoma", ONOMA_IMPORT_ROOTS='["/data", "/more"]')
    assert settings.data_dir == Path("/srv/onoma")
    assert settings.import_roots == [Path("/data"), Path("/more")]


def test_an_empty_variable_is_as_good_as_none(monkeypatch):
    assert read(monkeypatch, ONOMA_GRPC_WORKERS="").grpc_workers == 16


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.7", "onoma.example"])
def test_a_host_that_others_can_reach_is_refused_with_the_way_out(monkeypatch, host):
    monkeypatch.setenv("ONOMA_ACCESS_TOKEN", "a-token")  # which says nothing of the services among each other
    with pytest.raises(
        ValueError, match=f"^ONOMA_HOST={host} can be reached.*set ONOMA_SIGNING_KEYS_DIR$"
    ) as error:
        read(monkeypatch, ONOMA_HOST=host)
    assert "\n" not in str(error.value)
    with pytest.raises(
        ValueError, match=f"^ONOMA_HOST={host} can be reached.*set ONOMA_TLS_DIR, or ONOMA_TLS=outside"
    ):
        read(monkeypatch, ONOMA_HOST=host, ONOMA_SIGNING_KEYS_DIR="/keys")


@pytest.mark.parametrize("way", [{"ONOMA_TLS_DIR": "/tls"}, {"ONOMA_TLS": "outside"}])
def test_a_host_that_others_can_reach_is_served_where_callers_are_known_and_nobody_listens_in(
    monkeypatch, way
):
    assert read(monkeypatch, ONOMA_HOST="0.0.0.0", ONOMA_SIGNING_KEYS_DIR="/keys", **way).host == "0.0.0.0"


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.8.8", "::1", "localhost"])
def test_loopback_is_served(monkeypatch, host):
    assert read(monkeypatch, ONOMA_HOST=host).host == host


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("ONOMA_GRPC_WORKERS", "many"),
        ("ONOMA_GRPC_WORKERS", "0"),
        ("ONOMA_OBJECT_STORE", "cloud"),
        ("ONOMA_DRAIN_S", "-1"),
        ("ONOMA_DRAIN_S", "inf"),
        ("ONOMA_MAX_MESSAGE_BYTES", "4294967296"),
        ("ONOMA_MAX_CONNECTION_AGE_S", "3000000"),
        ("ONOMA_S3_ENDPOINT", "https://minio:9000"),
        ("ONOMA_NAMING_ADDRESS", "naming"),
        ("ONOMA_LOG_LEVEL", "LOUD"),
    ],
)
def test_a_wrong_value_is_named_with_its_setting(monkeypatch, name, value):
    with pytest.raises(ValueError, match=f"^{name}={value}: ") as error:
        read(monkeypatch, **{name: value})
    assert "\n" not in str(error.value)


def test_a_list_that_is_not_json_is_named(monkeypatch):
    with pytest.raises(ValueError, match=r"import_roots.*JSON"):
        read(monkeypatch, ONOMA_IMPORT_ROOTS="/data")


@pytest.mark.parametrize(
    ("variable", "meant"),
    [
        ("ONOMA_DATABSE_URL", "ONOMA_DATABASE_URL"),
        ("ONOMA_IMPORT_ROOT", "ONOMA_IMPORT_ROOTS"),
        ("onoma_s3_endpiont", "ONOMA_S3_ENDPOINT"),
    ],
)
def test_a_misspelled_setting_is_refused_with_the_name_that_was_meant(monkeypatch, variable, meant):
    with pytest.raises(ValueError, match=f"^{variable} is no setting; {meant} is: correct its name"):
        read(monkeypatch, **{variable: "a-value"})


@pytest.mark.parametrize(
    "variable", ["ONOMA_BATCH_IMAGES", "ONOMA_VERSION", "ONOMA_PORT_8080_TCP", "ONOMA_S3"]
)
def test_what_may_be_for_another_program_passes(monkeypatch, variable):
    assert read(monkeypatch, **{variable: "a-value"}) == read_settings(RuntimeSettings)


def test_no_two_settings_are_so_alike_that_one_is_taken_for_the_other_misspelled():
    names = sorted({name for kind in SETTINGS.values() for name in kind.model_fields})
    alike = [(one, two) for one, two in itertools.combinations(names, 2) if ratio(one, two) >= LIKENESS]
    assert len(names) > 40
    assert alike == []


def test_an_s3_store_without_its_keys_names_what_is_missing(monkeypatch):
    with pytest.raises(ValueError, match=r"needs ONOMA_S3_ACCESS_KEY$"):
        read(monkeypatch, **S3)


def test_the_password_that_everybody_knows_is_refused(monkeypatch):
    with pytest.raises(ValueError, match="minioadmin"):
        read(monkeypatch, **S3, ONOMA_S3_ACCESS_KEY="minioadmin")


def test_secrets_are_not_shown(monkeypatch):
    settings = read(
        monkeypatch,
        **S3,
        ONOMA_S3_ACCESS_KEY="someone",
        ONOMA_DATABASE_URL="postgresql://onoma:hidden@127.0.0.1/onoma",
    )
    assert "a-secret" not in repr(settings)
    assert "hidden" not in repr(settings)
