"""The notebooks run from their first cell to their last, and are kept without output."""

from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

from tests.conftest import OpenStudy

NOTEBOOKS = Path(__file__).parents[2] / "notebooks"
WITHIN_S = 240


def printed(name: str) -> str:
    """Runs a notebook in a kernel of its own; all that its cells print."""
    notebook = nbformat.read(NOTEBOOKS / name, as_version=4)
    runs = NotebookClient(notebook, timeout=WITHIN_S, resources={"metadata": {"path": str(NOTEBOOKS)}})
    runs.execute()
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", ())]
    assert any("image/png" in output.get("data", {}) for output in outputs), "no figure"
    return "".join(output.get("text", "") for output in outputs)


def test_the_library_alone_explains_and_names_synthetic_pictures() -> None:
    said = printed("library.ipynb")
    assert "X-features matter" in said
    assert "CX-purity" in said
    assert "agreement one_to_one" in said


def test_the_client_names_a_study_of_a_running_server(
    open_study: OpenStudy, monkeypatch: pytest.MonkeyPatch
) -> None:
    for service, address in open_study.running.addresses.items():
        monkeypatch.setenv(f"ONOMA_{service.upper()}_ADDRESS", address)
    said = printed("client.ipynb")
    assert "0 maps left in the pool" in said
    assert "upper half" in said


@pytest.mark.parametrize("name", ["library.ipynb", "client.ipynb"])
def test_a_notebook_is_kept_without_output(name: str) -> None:
    for cell in nbformat.read(NOTEBOOKS / name, as_version=4).cells:
        assert not cell.get("outputs")
        assert cell.get("execution_count") is None
