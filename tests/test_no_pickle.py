"""Nothing that comes from elsewhere can run code by being read: no module unpickles, or evaluates text."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCES = [path for folder in ("onoma", "services", "scripts") for path in (ROOT / folder).rglob("*.py")]
RUN_WHAT_THEY_READ = {"_pickle", "cloudpickle", "dill", "joblib", "marshal", "pickle", "shelve"}
EVALUATE = {"eval", "exec"}
# A reader, and what it must be told so that it unpickles nothing, or no more than tensors.
READERS = {"np.load": ("allow_pickle", False), "torch.load": ("weights_only", True)}
UNPICKLE = {
    "torch.export.load",
    "torch.jit.load",
    "torch.package.PackageImporter",
    "yaml.load",
    "pd.read_pickle",
}

# Of an archive that `program_archive.checked` has emptied of all that is pickled: its tests have a canary.
LOOKED_INTO_BEFORE = {"onoma/science/program.py": ["torch.export.load"]}


def breaches(source: str) -> list[str]:
    """What a module does that could run what it reads."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found += [name.name for name in node.names if name.name.split(".")[0] in RUN_WHAT_THEY_READ]
        elif isinstance(node, ast.ImportFrom):
            found += [node.module] if (node.module or "").split(".")[0] in RUN_WHAT_THEY_READ else []
        elif isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            if called in EVALUATE or called in UNPICKLE:
                found.append(called)
            elif called in READERS:
                name, value = READERS[called]
                given = {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords}
                found += [] if given.get(name) == str(value) else [f"{called} without {name}={value}"]
    return found


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_module_runs_nothing_that_it_reads(path: Path) -> None:
    expected = LOOKED_INTO_BEFORE.get(path.relative_to(ROOT).as_posix(), [])
    assert breaches(path.read_text(encoding="utf-8")) == expected


@pytest.mark.parametrize(
    "source",
    [
        "import pickle",
        "def f():\n    from pickle import loads",
        "import joblib.numpy_pickle",
        "np.load(file)",
        "np.load(file, allow_pickle=True)",
        "torch.load(file)",
        "torch.load(file, weights_only=False)",
        "torch.export.load(file)",
        "eval('1')",
    ],
)
def test_a_breach_is_seen(source: str) -> None:
    assert breaches(source)
