"""Archives made to run code, to hide entries or to burst: each is refused by name, and the canary stays absent."""

import io
import json
import pickle
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from onoma.science.program import load, save
from onoma.science.program_archive import RefusedProgram, checked
from tests.networks import SHAPE, images, vgg_like

GRAPH, WEIGHTS, CONSTANTS = (
    "models/model.json",
    "data/weights/model_weights_config.json",
    "data/constants/model_constants_config.json",
)
Entries = dict[str, bytes]


@pytest.fixture(scope="module")
def archive() -> bytes:
    return save(vgg_like(), images(2, SHAPE), {})


class Canary:
    """Unpickling it makes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return Path.touch, (self.path,)  # type: ignore[return-value]


def entries_of(archive: bytes) -> Entries:
    with zipfile.ZipFile(io.BytesIO(archive)) as opened:
        root = opened.namelist()[0].split("/")[0]
        return {info.filename.removeprefix(f"{root}/"): opened.read(info) for info in opened.infolist()}


def zipped(entries: Entries, **options: Any) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", **options) as opened:
        for name, content in entries.items():
            opened.writestr(f"archive/{name}", content)
    return buffer.getvalue()


def with_json(archive: bytes, name: str, change: Callable[[dict[str, Any]], None], **more: bytes) -> bytes:
    """The archive with one JSON entry changed, and others (/ as __) added."""
    entries = entries_of(archive)
    content = json.loads(entries[name])
    change(content)
    added = {key.replace("__", "/"): value for key, value in more.items()}
    return zipped({**entries, name: json.dumps(content).encode(), **added})


def nodes(graph: dict[str, Any]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = graph["graph_module"]["graph"]["nodes"]
    return found


def replace_everywhere(value: Any, key: str, text: str) -> None:
    if isinstance(value, dict):
        for name, inner in value.items():
            if name == key:
                value[name] = text
            replace_everywhere(inner, key, text)
    elif isinstance(value, list):
        for inner in value:
            replace_everywhere(inner, key, text)


def test_an_archive_of_ours_is_taken(archive: bytes) -> None:
    checked(archive)
    assert load(archive).class_count == 4


def test_a_shape_that_is_python_code_is_never_evaluated(archive: bytes, tmp_path: Path) -> None:
    canary = tmp_path / "canary"
    code = f"__import__('pathlib').Path('{canary}').touch()"
    bad = with_json(archive, GRAPH, lambda graph: replace_everywhere(graph, "expr_str", code))
    with pytest.raises(RefusedProgram, match="which torch could run as code"):
        load(bad)
    assert not canary.exists()


@pytest.mark.parametrize(
    "text",
    [
        "Symbol('s0', positive=True, integer=True)",
        "Mul(Integer(2), Symbol('s12', integer=True))",
        "Integer(-3)",
    ],
)
def test_shapes_that_torch_writes_are_taken(archive: bytes, text: str) -> None:
    checked(with_json(archive, GRAPH, lambda graph: replace_everywhere(graph, "expr_str", text)))


@pytest.mark.parametrize(
    "text",
    [
        "open('x', 'w')",
        "Symbol('s0').__class__",
        "Symbol('s0') if True else 1",
        "lambda: 0",
        "Pow(Integer(9), Pow(Integer(9), Integer(999999999)))",
        "Add(" * 400,
        "s0\nimport os",
    ],
)
def test_shapes_that_are_more_are_refused(archive: bytes, text: str) -> None:
    bad = with_json(archive, GRAPH, lambda graph: replace_everywhere(graph, "expr_str", text))
    with pytest.raises(RefusedProgram):
        checked(bad)


def test_an_opaque_constant_is_never_unpickled(archive: bytes, tmp_path: Path) -> None:
    canary = tmp_path / "canary"
    meta = next(iter(json.loads(entries_of(archive)[WEIGHTS])["config"].values()))["tensor_meta"]
    entry = {"path_name": "opaque_obj_0", "is_param": False, "use_pickle": False, "tensor_meta": meta}
    bad = with_json(archive, CONSTANTS, lambda config: config["config"].update(x=entry))
    with pytest.raises(RefusedProgram, match="constant 'x' is no raw tensor but 'opaque_obj_0'"):
        load(bad)
    bad = zipped({**entries_of(bad), "data/constants/opaque_obj_0": pickle.dumps(Canary(canary))})
    with pytest.raises(RefusedProgram, match="opaque_obj_0' is pickled or a script object"):
        load(bad)
    assert not canary.exists()


def test_a_second_network_cannot_bring_its_own_list_of_weights(archive: bytes, tmp_path: Path) -> None:
    canary = tmp_path / "canary"
    buffer = io.BytesIO()
    torch.save(Canary(canary), buffer)
    entry = {"path_name": "weight_99", "is_param": False, "use_pickle": True, "tensor_meta": None}
    entries = entries_of(archive)
    bad = zipped(
        {
            **entries,
            "models/aaa.json": entries[GRAPH],
            "data/weights/aaa_weights_config.json": json.dumps({"config": {"x": entry}}).encode(),
            "data/weights/weight_99": buffer.getvalue(),
        }
    )
    with pytest.raises(RefusedProgram, match=r"models/aaa.json' does not belong in the .pt2 archive of one"):
        load(bad)
    assert not canary.exists()


@pytest.mark.parametrize(
    "target",
    [
        "torch.os.system",
        "torch.ops.higher_order.cond",
        "torch.ops.mylib.run.default",
        "torch.ops.aten.from_file.default",
        "os.system",
        "#custom:run",
    ],
)
def test_operators_that_are_not_atens_are_refused_by_name(archive: bytes, target: str) -> None:
    bad = with_json(archive, GRAPH, lambda graph: nodes(graph)[0].update(target=target))
    with pytest.raises(RefusedProgram, match=f"operator '{target}' is none of ATen's"):
        load(bad)


def test_guards_and_stack_traces_are_left_out_of_what_torch_reads(archive: bytes) -> None:
    def add_guard(graph: dict[str, Any]) -> None:
        graph["guards_code"] = ["__import__('os').abort()"]

    graph = json.loads(entries_of(checked(with_json(archive, GRAPH, add_guard)))[GRAPH])
    assert graph["guards_code"] == []
    assert all(node["metadata"] == {} for node in nodes(graph))


def test_names_that_could_end_a_string_of_generated_code_are_refused(archive: bytes) -> None:
    def rename(graph: dict[str, Any]) -> None:
        graph["graph_module"]["signature"]["input_specs"][0]["parameter"]["arg"]["name"] = 'x"); import os #'

    with pytest.raises(RefusedProgram, match="which torch could run as code"):
        load(with_json(archive, GRAPH, rename))


@pytest.mark.parametrize(
    ("type_", "context"),
    [
        ("collections.defaultdict", '{"default_factory_module": "os", "default_factory_name": "abort"}'),
        ("builtins.tuple", '{"\\u005f_enum__": "x"}'),
    ],
)
def test_input_structures_that_import_what_they_name_are_refused(
    archive: bytes, type_: str, context: str
) -> None:
    tree = json.dumps([1, {"type": type_, "context": context, "children_spec": []}])
    with pytest.raises(RefusedProgram, match="which torch could run as code"):
        load(with_json(archive, GRAPH, lambda graph: replace_everywhere(graph, "in_spec", tree)))


@pytest.mark.parametrize("twin", ["models/model.json", "models/MODEL.json"])
def test_two_entries_of_one_name_are_refused(archive: bytes, twin: str) -> None:
    """One zip reader would take the first and another the second."""
    buffer = io.BytesIO(archive)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with zipfile.ZipFile(buffer, "a") as opened:
            root = opened.namelist()[0].split("/")[0]
            opened.writestr(f"{root}/{twin}", b"{}")
    with pytest.raises(RefusedProgram, match=r"two entries of one name|does not belong"):
        load(buffer.getvalue())


def test_a_compressed_entry_is_refused_before_it_is_unpacked(archive: bytes) -> None:
    bomb = zipped(
        {**entries_of(archive), "data/weights/weight_999": bytes(50 << 20)}, compression=zipfile.ZIP_DEFLATED
    )
    assert len(bomb) < 1 << 20
    with pytest.raises(RefusedProgram, match="is compressed"):
        load(bomb)


def test_entries_that_share_their_bytes_are_refused(archive: bytes) -> None:
    """A thousand entries over the same megabyte would unpack to a gigabyte."""
    buffer = io.BytesIO(archive)
    with zipfile.ZipFile(buffer, "a") as opened:
        whole = max(opened.infolist(), key=lambda info: info.file_size)
        for number in range(900, 940):
            copied = zipfile.ZipInfo(f"{whole.filename.rsplit('_', 1)[0]}_{number}")
            copied.header_offset, copied.CRC = whole.header_offset, whole.CRC
            copied.file_size = copied.compress_size = whole.file_size
            opened.filelist.append(copied)
            opened.NameToInfo[copied.filename] = copied
        opened._didModify = True  # type: ignore[attr-defined]
    with pytest.raises(RefusedProgram):
        load(buffer.getvalue())


def test_json_that_nests_without_end_is_refused(archive: bytes) -> None:
    bad = zipped({**entries_of(archive), GRAPH: b"[" * 200_000})
    with pytest.raises(RefusedProgram, match="is no JSON"):
        load(bad)
