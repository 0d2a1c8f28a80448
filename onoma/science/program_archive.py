"""What may be in a `.pt2` archive: a JSON graph and raw tensors, each looked at before torch reads anything.

torch.export.load unpickles sample inputs, pickled weights and opaque constants, evaluates shape expressions as Python
(sympy.sympify), compiles guards out of text, and takes whichever entry its zip reader finds first. So everything here
is by allow-list, and torch is given an archive written anew from what was checked, never the bytes that came in.
"""

from __future__ import annotations

import io
import json
import re
import zipfile
from collections.abc import Iterator, Mapping
from typing import Any

import torch

METADATA_ENTRY = "onoma.json"
METADATA_KEYS = ("name", "classes", "preprocessing")
_GRAPH = "models/model.json"
_WEIGHTS = "data/weights/model_weights_config.json"
_CONSTANTS = "data/constants/model_constants_config.json"
_WAY_OUT = "export the network with onoma.science.program.save (docs/howto/own-model.md)"
_SAMPLE_INPUTS = "data/sample_inputs/model.pt"  # pickled by torch.export.save; never read, emptied
_ENTRIES = re.compile(
    r"data/weights/weight_\d+|data/constants/tensor_\d+|extra/[A-Za-z0-9_.-]+|\.data/(?:serialization_id|version)"
    rf"|archive_format|archive_version|byteorder|version|{re.escape(_GRAPH)}|{re.escape(_WEIGHTS)}"
    rf"|{re.escape(_CONSTANTS)}|{re.escape(_SAMPLE_INPUTS)}"
)
_WRITTEN_BY_TORCH = (".data/serialization_id", ".data/version", "byteorder", "version")
_PICKLES = tuple(bytes((0x80, protocol)) for protocol in range(2, 6))
_MAX_JSON_BYTES = 64 << 20

_TARGET = re.compile(
    r"torch\.ops\.aten\.[A-Za-z0-9_]+\.[A-Za-z0-9_]+|torch\.sym_[a-z]+|_operator\.[a-z_]+|math\.[a-z]+"
)
_FILE_OPERATORS = ("torch.ops.aten.from_file.",)
_PLAIN = re.compile(r"[A-Za-z0-9_.:,>+\- ]*")  # nothing that could end a string or a line of generated code
_EXPRESSION = re.compile(  # sympy's srepr, as torch.export writes it
    r"(?:Symbol\('[a-z]+\d+'(?:, [a-z]+=(?:True|False))*\)|Integer\(-?\d{1,18}\)|-?\d{1,18}"
    r"|(?:Add|Mul|FloorDiv|CleanDiv|Mod|PythonMod|Max|Min|Eq|Equality|Ne|Unequality|Ge|GreaterThan|Gt"
    r"|StrictGreaterThan|Le|LessThan|Lt|StrictLessThan|And|Or|Not)\(|, |\))*"
)
_MAX_EXPRESSION = 1000
_TREE_CONTEXT = re.compile(r"|null|\[[A-Za-z0-9_\", ]*\]")  # null, or the keys of a dict
_TREE_TYPES = (None, "builtins.tuple", "builtins.list", "builtins.dict")


class RefusedProgram(ValueError):
    """These bytes are not a program that can be taken; the message says what is wrong."""


def without_pickles(data: bytes) -> bytes:
    """The archive with its pickled sample inputs emptied, for one that was just exported here."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        root = archive.namelist()[0].split("/")[0]
        entries = {
            entry.filename.removeprefix(f"{root}/"): archive.read(entry) for entry in archive.infolist()
        }
    return _written({**entries, _SAMPLE_INPUTS: b""})


def checked(data: bytes) -> bytes:
    """The archive written anew from what was checked, for torch.export.load.

    Guards, stack traces and sample inputs are left out: they are text or pickles that torch would run or keep.

    Raises:
        RefusedProgram: and says which entry is wrong.
    """
    entries, graph = _checked_entries(data)
    graph["guards_code"] = []
    for node in _nodes(graph):
        node["metadata"] = {}
    return _written({**entries, _GRAPH: json.dumps(graph).encode(), _SAMPLE_INPUTS: b""})


def _checked_entries(data: bytes) -> tuple[dict[str, bytes], dict[str, Any]]:
    """Content of every entry by its name below the archive's root, and the graph."""
    if data.startswith(_PICKLES):
        raise RefusedProgram(f"the file is a pickle, which can run code; {_WAY_OUT}")
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            infos = archive.infolist()
            names = [info.filename for info in infos]
            root = names[0].split("/")[0] if names else ""
            if f"{root}/archive_format" not in names:
                raise RefusedProgram(_what_else(root, names))
            for info in infos:
                _check_entry(info, root)
            if sum(info.file_size for info in infos) > len(data):
                raise RefusedProgram(
                    "the archive declares more bytes than it holds; it was not written by torch"
                )
            if len({name.lower() for name in names}) < len(names):
                raise RefusedProgram("the archive holds two entries of one name; it was not written by torch")
            entries = {info.filename.removeprefix(f"{root}/"): archive.read(info) for info in infos}
    except (zipfile.BadZipFile, NotImplementedError, EOFError, OSError, RuntimeError) as error:
        raise RefusedProgram(
            f"the file is no .pt2 archive, or it is damaged ({error}); docs/howto/own-model.md says how one is made"
        ) from error
    if entries["archive_format"] != b"pt2":
        raise RefusedProgram("the archive's format is not 'pt2'")
    for name in (_GRAPH, _WEIGHTS, _CONSTANTS):
        if name not in entries:
            raise RefusedProgram(f"the archive has no '{name}': export one network with torch.export.save")
    _check_tensors(_json(entries, _WEIGHTS), "weight", r"weight_\d+")
    _check_tensors(_json(entries, _CONSTANTS), "constant", r"tensor_\d+")
    graph = _json(entries, _GRAPH)
    for node in _nodes(graph):
        _check_target(node["target"])
    _check_texts({**graph, "guards_code": []})
    return entries, graph


def _check_entry(info: zipfile.ZipInfo, root: str) -> None:
    whole, name = info.filename, info.filename.removeprefix(f"{root}/")
    if not whole.startswith(f"{root}/") or ".." in name.split("/") or name.startswith("/"):
        raise RefusedProgram(f"entry '{whole}' points out of the archive")
    if name.startswith("data/aotinductor/") or name.endswith((".so", ".cubin", ".cpp")):
        raise RefusedProgram(f"entry '{whole}' is compiled code; export the network without compiling it")
    if (
        "custom_obj" in name
        or "opaque_obj" in name
        or (name.endswith((".pkl", ".pt")) and name != _SAMPLE_INPUTS)
    ):
        raise RefusedProgram(f"entry '{whole}' is pickled or a script object, which can run code")
    if not _ENTRIES.fullmatch(name):
        raise RefusedProgram(f"entry '{whole}' does not belong in the .pt2 archive of one network")
    if info.compress_type != zipfile.ZIP_STORED:
        raise RefusedProgram(f"entry '{whole}' is compressed; torch.export.save does not do that")


def _json(entries: Mapping[str, bytes], name: str) -> dict[str, Any]:
    if len(entries[name]) > _MAX_JSON_BYTES:
        raise RefusedProgram(
            f"entry '{name}' has {len(entries[name])} bytes; at most {_MAX_JSON_BYTES} are read"
        )
    try:
        found = json.loads(entries[name])
    except (ValueError, RecursionError) as error:
        raise RefusedProgram(f"entry '{name}' is no JSON: {error}") from error
    if not isinstance(found, dict):
        raise RefusedProgram(f"entry '{name}' is no JSON object")
    return found


def _check_tensors(config: dict[str, Any], kind: str, path: str) -> None:
    tensors = config.get("config")
    if not isinstance(tensors, dict):
        raise RefusedProgram(f"the archive's list of {kind}s cannot be read")
    for name, entry in tensors.items():
        if not isinstance(entry, dict) or entry.get("use_pickle") is not False:
            raise RefusedProgram(
                f"{kind} '{name}' is pickled, which can run code; save it as a raw tensor on the CPU"
            )
        if not re.fullmatch(path, str(entry.get("path_name"))):
            raise RefusedProgram(f"{kind} '{name}' is no raw tensor but '{entry.get('path_name')}'")
        _check_texts(entry)


def _nodes(value: Any) -> Iterator[dict[str, Any]]:  # JSON
    """Every operator of the graph, those of graphs within it included."""
    for found in _objects(value):
        if "target" in found and "inputs" in found:
            yield found


def _objects(value: Any) -> Iterator[dict[str, Any]]:  # JSON
    waiting = [value]
    while waiting:
        found = waiting.pop()
        if isinstance(found, dict):
            yield found
            waiting += found.values()
        elif isinstance(found, list):
            waiting += found


def _check_target(target: Any) -> None:  # JSON
    if not isinstance(target, str) or not _TARGET.fullmatch(target) or target.startswith(_FILE_OPERATORS):
        raise RefusedProgram(f"operator '{str(target)[:200]}' is none of ATen's: it cannot be taken")


def _check_texts(graph: dict[str, Any]) -> None:
    """Refuses every text that torch would evaluate, import or put into code, unless it is plainly harmless."""
    for key, text in _texts(graph):
        if key == "expr_str":
            is_fine = len(text) <= _MAX_EXPRESSION and bool(_EXPRESSION.fullmatch(text))
        elif key in ("in_spec", "out_spec"):
            is_fine = _is_plain_tree(text)
        else:
            is_fine = bool(_PLAIN.fullmatch(text))
        if not is_fine:
            raise RefusedProgram(f"the graph holds the text {text[:200]!a}, which torch could run as code")


def _texts(graph: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Every text of a graph but the nodes' metadata, with the key it stands under ("" for keys themselves)."""
    waiting: list[tuple[str, Any]] = [("", graph)]
    while waiting:
        key, found = waiting.pop()
        if isinstance(found, str):
            yield key, found
        elif isinstance(found, list):
            waiting += ((key, one) for one in found)
        elif isinstance(found, dict):
            is_node = "target" in found and "inputs" in found
            waiting += (("", name) for name in found)
            waiting += ((name, one) for name, one in found.items() if not (is_node and name == "metadata"))


def _is_plain_tree(text: str) -> bool:
    """Whether a pytree is of tuples, lists and dicts alone: other types import what they name."""
    try:
        tree = json.loads(text)
    except (ValueError, RecursionError):
        return False
    return all(
        found.get("type") in _TREE_TYPES and _TREE_CONTEXT.fullmatch(found.get("context") or "")
        for found in _objects(tree)
    )


def _written(entries: Mapping[str, bytes]) -> bytes:
    """An archive with the alignment that torch's reader wants."""
    buffer = io.BytesIO()
    writer = torch._C.PyTorchFileWriter(buffer)
    for name, content in entries.items():
        if name not in _WRITTEN_BY_TORCH:
            writer.write_record(name, content, len(content))
    writer.write_end_of_file()
    return buffer.getvalue()


def _what_else(root: str, names: list[str]) -> str:
    if f"{root}/data.pkl" not in names:
        return "the file is a zip of something else, not a .pt2 program"
    is_script = any("/code/" in name for name in names)
    kind = "a TorchScript archive" if is_script else "a torch.save checkpoint"
    return f"the file is {kind} (a pickle), not a .pt2 program; {_WAY_OUT}"
