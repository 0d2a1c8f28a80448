"""The scan that `make lint` runs finds what must not be in the repository."""

import subprocess
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[1] / "scripts" / "scan-secrets.sh"


# In pieces, so that the scan does not find them here.
@pytest.mark.parametrize(
    "secret",
    [
        "-----BEGIN PRIVATE " + "KEY-----",
        "AKIA" + "IOSFODNN7ABCDEFG",
        "postgresql://onoma:" + "Gq7zLw2@db/onoma",
        "ghp_" + "a1B2c3D4e5F6g7H8i9J0k1L2m3N4o5P6q7R8",
    ],
)
def test_a_secret_is_found(tmp_path: Path, secret: str) -> None:
    (tmp_path / "settings.txt").write_text(f"value = '{secret}'\n")
    found = subprocess.run([SCRIPT, tmp_path / "settings.txt"], capture_output=True, text=True, check=False)
    assert found.returncode == 1, found.stdout + found.stderr


def test_a_placeholder_is_none(tmp_path: Path) -> None:
    (tmp_path / "settings.txt").write_text("postgresql://user:password@host/name\n")
    subprocess.run([SCRIPT, tmp_path / "settings.txt"], check=True)
