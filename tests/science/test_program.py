"""Programs: what goes in comes out, where xNN and maps attach, and everything that is refused."""

import io
import json
import os
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from onoma.science.excitation import prepare
from onoma.science.nodes import shape_of
from onoma.science.program import (
    Program,
    cuts,
    find_attachment,
    find_map_layer,
    load,
    save,
    with_features,
)
from onoma.science.program_archive import RefusedProgram, checked
from tests.networks import SHAPE, MobileLike, images, program_of, vgg_like

METADATA = {"name": "tiny", "classes": ["a", "b", "c", "d"], "preprocessing": {"height": 32}}


@pytest.fixture(scope="module")
def archive() -> bytes:
    return save(vgg_like(), images(2, SHAPE), METADATA)


def scores_of(program: Program, pixels: Tensor) -> Tensor:
    with torch.inference_mode():
        return program.scores(pixels)


def layers(program: Program, operator: str) -> list[str]:
    return [n.name for n in program.graph_module.graph.nodes if str(n.target) == f"aten.{operator}"]


def sequential(*modules: nn.Module) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(*modules).eval()


# round trip


@pytest.mark.parametrize("count", [1, 2, 5])
def test_a_loaded_program_scores_as_the_network_did(archive: bytes, count: int) -> None:
    pixels = images(count, SHAPE)
    with torch.no_grad():
        expected = vgg_like()(pixels)
    torch.testing.assert_close(scores_of(load(archive), pixels), expected)


def test_a_program_knows_its_shapes_and_metadata(archive: bytes) -> None:
    program = load(archive)
    assert (program.input_shape, program.class_count, program.metadata) == (SHAPE, 4, METADATA)


def test_a_program_without_metadata_has_none() -> None:
    assert load(_saved_by_torch(torch.export.Dim.DYNAMIC)).metadata == {}


def test_a_program_for_batches_of_one_size_is_refused() -> None:
    with pytest.raises(RefusedProgram, match=r"takes batches of 2 alone; export it for any number"):
        load(_saved_by_torch(torch.export.Dim.STATIC))


def _saved_by_torch(batch: Any) -> bytes:
    exported = torch.export.export(vgg_like(), (images(2, SHAPE),), dynamic_shapes=({0: batch},))
    buffer = io.BytesIO()
    torch.export.save(exported, buffer)
    return buffer.getvalue()


def test_nothing_pickled_is_written(archive: bytes) -> None:
    with zipfile.ZipFile(io.BytesIO(archive)) as opened:
        [pickled] = [i for i in opened.infolist() if i.filename.endswith((".pt", ".pkl"))]
    assert pickled.file_size == 0


def test_batch_norms_are_folded_also_where_gamma_is_negative() -> None:
    network, pixels = MobileLike(), images(3, SHAPE)
    assert min(float(m.weight.detach().min()) for m in network.modules() if isinstance(m, nn.BatchNorm2d)) < 0
    program = program_of(network, SHAPE)
    with torch.no_grad():
        expected = network(pixels)
    torch.testing.assert_close(scores_of(program, pixels), expected, atol=1e-5, rtol=1e-4)
    assert not layers(program, "_native_batch_norm_legit_no_training.default")


@pytest.mark.parametrize(
    "convolution",
    [
        nn.ConvTranspose2d(3, 3, 3),
        nn.ConvTranspose2d(3, 6, 3),
        nn.Conv2d(3, 6, 3, groups=3),
        nn.Conv2d(3, 4, 3, bias=False),
    ],
)
def test_scores_survive_a_batch_norm_after_any_convolution(convolution: nn.Module) -> None:
    norm = nn.BatchNorm2d(convolution.out_channels)
    nn.init.uniform_(norm.weight, -1, 1)
    nn.init.uniform_(norm.running_mean)
    network = sequential(
        convolution, norm, nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.LazyLinear(2)
    )
    pixels = images(2, (3, 8, 8))
    with torch.no_grad():
        expected = network(pixels)
    torch.testing.assert_close(scores_of(program_of(network), pixels), expected)


@pytest.mark.parametrize("bias", [True, False])
def test_a_batch_norm_after_a_fully_connected_layer_is_folded(bias: bool) -> None:
    network = sequential(
        nn.Flatten(), nn.Linear(12, 6, bias=bias), nn.BatchNorm1d(6), nn.ReLU(), nn.Linear(6, 2)
    )
    nn.init.uniform_(network[2].weight, -1.0, 1.0)
    nn.init.uniform_(network[2].running_mean)
    program = program_of(network, (3, 2, 2))
    assert layers(program, "_native_batch_norm_legit_no_training.default") == []
    pixels = images(4, (3, 2, 2))
    torch.testing.assert_close(scores_of(program, pixels), network(pixels).detach())


@pytest.mark.parametrize("layer", ["convolution", "fully connected"])
def test_two_batch_norms_in_a_row_are_both_folded(layer: str) -> None:
    if layer == "convolution":
        norms = [nn.BatchNorm2d(4), nn.BatchNorm2d(4)]
        network = sequential(nn.Conv2d(3, 4, 3), *norms, nn.ReLU(), nn.Flatten(), nn.Linear(144, 2))
    else:
        norms = [nn.BatchNorm1d(6), nn.BatchNorm1d(6)]
        network = sequential(nn.Flatten(), nn.Linear(192, 6), *norms, nn.ReLU(), nn.Linear(6, 2))
    for norm in norms:
        nn.init.uniform_(norm.weight, -1.0, 1.0)
        nn.init.uniform_(norm.bias, -1.0, 1.0)
        nn.init.uniform_(norm.running_mean)
    program, pixels = program_of(network), images(4, (3, 8, 8))
    assert layers(program, "_native_batch_norm_legit_no_training.default") == []
    torch.testing.assert_close(scores_of(program, pixels), network(pixels).detach())


class BiasApart(nn.Module):
    """A convolution and a fully-connected layer, with their biases added to what they give."""

    def __init__(self, size: int, *, swapped: bool) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.swapped = swapped
        self.convolve, self.combine = nn.Conv2d(3, 6, 3, bias=swapped), nn.Linear(6, 5, bias=False)
        self.of_cells, self.of_units = (nn.Parameter(torch.randn(min(size, of))) for of in (6, 5))

    def forward(self, pixels: Tensor) -> Tensor:
        """(n, 3, 8, 8) to (n, 5)."""
        cells, bias = self.convolve(pixels), self.of_cells.view(-1, 1, 1)
        cells = bias + cells if self.swapped else cells + bias[None]
        return self.combine(nn.functional.gelu(cells).mean((2, 3))) + self.of_units


@pytest.mark.parametrize("swapped", [False, True])
@pytest.mark.parametrize("size", [6, 1])
def test_biases_that_are_added_apart_are_folded(swapped: bool, size: int) -> None:
    network, pixels = BiasApart(size, swapped=swapped), images(4, (3, 8, 8))
    program = program_of(network, (3, 8, 8))
    assert layers(program, "add.Tensor") == []
    torch.testing.assert_close(scores_of(program, pixels), network(pixels).detach())


@pytest.mark.parametrize(
    "added",
    [
        lambda cells: cells + torch.arange(4.0),  # a number a column
        lambda cells: cells + torch.ones(1, 1, 4, 4),
        lambda cells: (cells + torch.ones(4, 1, 1, dtype=torch.float64)).float(),
        lambda cells: torch.add(cells, torch.arange(4.0).view(4, 1, 1), alpha=2),
        lambda cells: cells + cells.mean((2, 3), keepdim=True),
    ],
    ids=["of columns", "of cells", "of another dtype", "twice", "of the image"],
)
def test_what_is_no_bias_stays_a_sum(added: Callable[[Tensor], Tensor]) -> None:
    class Adding(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.convolve = nn.Conv2d(3, 4, 5)

        def forward(self, pixels: Tensor) -> Tensor:
            return torch.relu(added(self.convolve(pixels))).mean((2, 3))

    network, pixels = Adding().eval(), images(2, (3, 8, 8))
    program = program_of(network)
    assert len(layers(program, "add.Tensor")) == 1
    torch.testing.assert_close(scores_of(program, pixels), network(pixels).detach())


def test_a_convolution_that_feeds_two_keeps_its_batch_norm() -> None:
    class Forked(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.convolve, self.norm = nn.Conv2d(3, 2, 3), nn.BatchNorm2d(2)
            nn.init.constant_(self.norm.weight, -2)

        def forward(self, pixels: Tensor) -> Tensor:
            cells = self.convolve(pixels)
            return (self.norm(cells) + cells).mean((2, 3))

    network, pixels = Forked().eval(), images(2, (3, 8, 8))
    program = program_of(network)
    with torch.no_grad():
        torch.testing.assert_close(scores_of(program, pixels), network(pixels))
    assert layers(program, "_native_batch_norm_legit_no_training.default")


# where the xNN reads and the maps are drawn


def test_the_xnn_reads_the_first_of_several_linear_layers_after_its_relu(archive: bytes) -> None:
    program = load(archive)
    assert shape_of(program.node(find_attachment(program))) == (2, 24)
    assert find_attachment(program) in layers(program, "relu.default")


@pytest.mark.parametrize("activation", [nn.ReLU, nn.GELU, nn.SiLU, nn.LeakyReLU])
@pytest.mark.parametrize("norm", [nn.Identity, nn.BatchNorm1d])
def test_the_xnn_reads_the_first_layer_whatever_follows_it(
    activation: type[nn.Module], norm: type[nn.Module]
) -> None:
    layers = [nn.Linear(12, 6), norm(6), activation(), nn.Linear(6, 5), activation(), nn.Linear(5, 2)]
    program = program_of(sequential(nn.Flatten(), *layers), (3, 2, 2))
    assert shape_of(program.node(find_attachment(program))) == (2, 6)


def test_the_xnn_reads_what_feeds_the_only_linear_layer() -> None:
    program = program_of(MobileLike(), SHAPE)
    assert [find_attachment(program)] == layers(program, "mean.dim")


def test_linear_layers_of_a_gate_do_not_count() -> None:
    class Gated(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.convolve, self.classify = nn.Conv2d(3, 4, 3), nn.Linear(4, 2)
            self.squeeze, self.excite = nn.Linear(4, 3), nn.Linear(3, 4)

        def forward(self, pixels: Tensor) -> Tensor:
            cells = torch.relu(self.convolve(pixels))
            gate = torch.sigmoid(self.excite(torch.relu(self.squeeze(cells.mean((2, 3))))))
            return self.classify((cells * gate[..., None, None]).mean((2, 3)))

    program = program_of(Gated().eval())
    assert find_attachment(program) == layers(program, "mean.dim")[-1]


def test_a_network_without_a_linear_layer_has_no_place_for_an_xnn() -> None:
    program = program_of(sequential(nn.Conv2d(3, 2, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten()))
    with pytest.raises(
        ValueError, match=r"no fully-connected layer lies on every path .* name the attachment"
    ):
        find_attachment(program)


def test_a_network_that_ends_in_a_convolution_has_its_xnn_before_that() -> None:
    network = sequential(
        nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 2, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten()
    )
    program = program_of(network)
    assert find_attachment(program) == layers(program, "relu.default")[-1]


def test_maps_are_drawn_on_the_deepest_layer_with_enough_cells(archive: bytes) -> None:
    """32x32, then 16x16 until the second pool, then 8x8."""
    program = load(archive)
    found = program.node(find_map_layer(program, find_attachment(program)))
    assert shape_of(found)[2:] == (16, 16)
    assert found.name == layers(program, "relu.default")[2]


def test_where_no_layer_has_enough_cells_the_one_with_most_is_taken(archive: bytes) -> None:
    program = load(archive)
    found = program.node(find_map_layer(program, find_attachment(program), min_cells=100))
    assert shape_of(found)[2:] == (32, 32)
    assert found.name == layers(program, "relu.default")[0]


def test_without_rows_and_columns_there_is_no_map_layer() -> None:
    program = program_of(sequential(nn.Flatten(), nn.Linear(192, 8), nn.ReLU(), nn.Linear(8, 2)))
    with pytest.raises(ValueError, match="has rows and columns to draw maps on"):
        find_map_layer(program, find_attachment(program))


class ChannelsLast(nn.Module):
    """A residual whose axes are images, rows, columns, channels."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.patches, self.mix, self.classify = (
            nn.Conv2d(3, 20, 2, stride=2),
            nn.Linear(20, 20),
            nn.Linear(20, 2),
        )

    def forward(self, pixels: Tensor) -> Tensor:
        """(n, 3, 32, 32) to (n, 2)."""
        cells = self.patches(pixels).permute(0, 2, 3, 1)
        return self.classify((cells + self.mix(cells)).mean((1, 2)))


def test_a_layer_with_its_channels_last_may_be_a_map_layer() -> None:
    """Its rows and columns are the second and third axis."""
    program = program_of(ChannelsLast().eval(), SHAPE)
    attachment = find_attachment(program)
    layer = find_map_layer(program, attachment)
    assert layer == layers(program, "add.Tensor")[-1]
    assert prepare(program, attachment, layer, "strict").cells == (16, 16)


def test_a_layer_whose_first_axis_is_not_the_images_is_no_map_layer() -> None:
    layers = [nn.Conv2d(3, 4, 3), nn.ReLU(), nn.InstanceNorm2d(4), nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    program = program_of(sequential(*layers, nn.Linear(4, 2)), SHAPE)
    assert find_map_layer(program, find_attachment(program)) == "relu"


def test_a_layer_on_all_cells_at_once_stays_one() -> None:
    """Its views look like those of a layer at every cell."""
    network = sequential(
        nn.Flatten(), nn.Linear(192, 64), nn.Unflatten(1, (4, 8, 2)), nn.Flatten(), nn.Linear(64, 2)
    )
    program = program_of(sequential(nn.ReLU(), network), (3, 8, 8))
    pixels = images(2, (3, 8, 8))
    torch.testing.assert_close(scores_of(program, pixels), network(pixels.relu()).detach())


@pytest.mark.parametrize("how", ["alpha", "beta", "image's bias", "each image's bias"])
def test_a_product_that_is_no_layer_at_every_cell_stays_what_it_is(how: str) -> None:
    """Written with `torch.addmm` between the views of one."""

    class Written(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.convolve, self.inner, self.classify = nn.Conv2d(3, 4, 1), nn.Linear(4, 4), nn.Linear(4, 2)

        def forward(self, pixels: Tensor) -> Tensor:
            cells = torch.relu(self.convolve(pixels)).flatten(2).mT.reshape(-1, 4)
            bias = {"image's bias": cells.mean(0), "each image's bias": cells}.get(how, self.inner.bias)
            scaled = {how: 0.5} if how in ("alpha", "beta") else {}
            inner = torch.addmm(bias, cells, self.inner.weight.t(), **scaled).view(pixels.shape[0], 64, 4)
            return self.classify(torch.relu(inner).mean(1))

    network, pixels = Written().eval(), images(3, (3, 8, 8))
    program = program_of(network)
    assert len(layers(program, "addmm.default")) == 2
    torch.testing.assert_close(scores_of(program, pixels), network(pixels).detach())


def test_layers_beside_a_residual_branch_are_no_cuts() -> None:
    program = program_of(MobileLike(), SHAPE)
    found = {node.name for node in cuts(program, find_attachment(program))}
    convolutions, norms = layers(program, "convolution.default"), layers(program, "add.Tensor")
    stem, shrink, widen, depthwise, narrow, head = convolutions
    assert {stem, shrink, head, *norms} <= found
    assert not {widen, depthwise, narrow} & found


def test_an_unknown_layer_is_named(archive: bytes) -> None:
    with pytest.raises(ValueError, match="no layer 'conv9'"):
        load(archive).node("conv9")


@pytest.mark.parametrize("layer", ["attachment", "map layer"])
def test_scores_and_features_come_out_together(archive: bytes, layer: str) -> None:
    program, pixels = load(archive), images(3, SHAPE)
    attachment = find_attachment(program)
    name = attachment if layer == "attachment" else find_map_layer(program, attachment)
    with torch.inference_mode():
        scores, features = with_features(program, name)(pixels)
    assert scores.equal(scores_of(program, pixels))
    assert features.shape == (3, torch.Size(shape_of(program.node(name))[1:]).numel())
    assert len(load(archive).graph_module.graph.nodes) == len(program.graph_module.graph.nodes)


# what is refused


def rewritten(archive: bytes, **changes: bytes | None) -> bytes:
    """The archive with entries (by the end of their name, / as __) replaced or, as new ones, added."""
    buffer = io.BytesIO()
    left = {name.replace("__", "/"): content for name, content in changes.items()}
    with zipfile.ZipFile(io.BytesIO(archive)) as old, zipfile.ZipFile(buffer, "w") as new:
        root = old.namelist()[0].split("/")[0]
        for info in old.infolist():
            name = info.filename.removeprefix(f"{root}/")
            new.writestr(info.filename, left.pop(name, None) or old.read(info))
        for name, content in left.items():
            new.writestr(f"{root}/{name}", content)
    return buffer.getvalue()


def saved(content: object) -> bytes:
    buffer = io.BytesIO()
    torch.save(content, buffer)
    return buffer.getvalue()


def zipped(name: str, content: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as opened:
        opened.writestr(name, content)
    return buffer.getvalue()


def scripted() -> bytes:
    buffer = io.BytesIO()
    torch.jit.save(torch.jit.trace(nn.Linear(2, 2), torch.zeros(1, 2)), buffer)
    return buffer.getvalue()


class Canary:
    """Unpickling it makes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "no .pt2 archive"),
        (b"weights\n", "no .pt2 archive"),
        (pickle.dumps({"weight": [1.0]}), "the file is a pickle"),
        (zipped("word/document.xml", b"<xml/>"), "a zip of something else"),
        (zipped("archive/data.txt", b"hi"), "a zip of something else"),
    ],
    ids=["empty", "text", "pickle", "zip", "zip with a folder"],
)
def test_what_is_no_archive_is_refused(data: bytes, reason: str) -> None:
    with pytest.raises(RefusedProgram, match=reason):
        load(data)
    with pytest.raises(RefusedProgram, match=reason):
        checked(data)


def test_an_empty_zip_is_refused() -> None:
    buffer = io.BytesIO()
    zipfile.ZipFile(buffer, "w").close()
    with pytest.raises(RefusedProgram):
        load(buffer.getvalue())


def test_a_checkpoint_is_refused_by_name() -> None:
    with pytest.raises(RefusedProgram, match=r"torch\.save checkpoint"):
        load(saved(vgg_like().state_dict()))


@pytest.mark.filterwarnings("ignore:.torch.jit:FutureWarning")
def test_a_torchscript_archive_is_refused_by_name() -> None:
    with pytest.raises(RefusedProgram, match="TorchScript archive"):
        load(scripted())


@pytest.mark.parametrize(
    ("entry", "reason"),
    [
        ("data__constants__custom_obj_0", "script object"),
        ("data__weights__weights.pkl", "pickled or a script object"),
        ("data__aotinductor__model__wrapper.so", "compiled code"),
        ("data__aotinductor__model__notes.txt", "compiled code"),
        ("extra__model.so", "compiled code"),
        ("..__..__etc__passwd", "points out of the archive"),
        ("code__model.py", "does not belong"),
    ],
)
def test_entries_that_could_run_or_write_are_refused(archive: bytes, entry: str, reason: str) -> None:
    with pytest.raises(RefusedProgram, match=reason):
        load(rewritten(archive, **{entry: b"x" * 64}))


def test_an_entry_outside_the_archives_folder_is_refused(archive: bytes) -> None:
    buffer = io.BytesIO(archive)
    with zipfile.ZipFile(buffer, "a") as opened:
        opened.writestr("../../tmp/evil", b"x")
    with pytest.raises(RefusedProgram, match="points out of the archive"):
        load(buffer.getvalue())


def test_a_truncated_archive_is_refused(archive: bytes) -> None:
    for size in (100, len(archive) // 2, len(archive) - 10):
        with pytest.raises(RefusedProgram, match=r"no .pt2 archive, or it is damaged"):
            load(archive[:size])


def test_a_flipped_byte_in_a_weight_is_noticed(archive: bytes) -> None:
    with zipfile.ZipFile(io.BytesIO(archive)) as opened:
        info = max(opened.infolist(), key=lambda i: i.file_size if "/weight_" in i.filename else 0)
        content = opened.read(info)
    at = archive.index(content) + len(content) // 2
    damaged = archive[:at] + bytes((archive[at] ^ 1,)) + archive[at + 1 :]
    with pytest.raises(RefusedProgram, match="Bad CRC-32"):
        load(damaged)


def test_metadata_that_is_no_json_object_is_refused(archive: bytes) -> None:
    for text in (b"not json", b"[1, 2]", b"\xff\xfe"):
        with pytest.raises(RefusedProgram):
            load(rewritten(archive, **{"extra__onoma.json": text}))


def test_pickled_sample_inputs_are_never_read(archive: bytes, tmp_path: Path) -> None:
    canary = tmp_path / "canary"
    planted = rewritten(archive, **{"data__sample_inputs__model.pt": saved(Canary(canary))})
    torch.testing.assert_close(
        scores_of(load(planted), images(2, SHAPE)), scores_of(load(archive), images(2, SHAPE))
    )
    assert not canary.exists()


def test_a_pickled_weight_is_refused_unread(archive: bytes, tmp_path: Path) -> None:
    canary = tmp_path / "canary"
    config_name = "data/weights/model_weights_config.json"
    with zipfile.ZipFile(io.BytesIO(archive)) as opened:
        root = opened.namelist()[0].split("/")[0]
        config = json.loads(opened.read(f"{root}/{config_name}"))
    name, entry = next(iter(config["config"].items()))
    entry["use_pickle"] = True
    changes = {
        config_name.replace("/", "__"): json.dumps(config).encode(),
        f"data__weights__{entry['path_name']}": saved(Canary(canary)),
    }
    with pytest.raises(RefusedProgram, match=f"weight '{name}' is pickled"):
        load(rewritten(archive, **changes))
    assert not canary.exists()


def test_the_canary_would_have_sung(tmp_path: Path) -> None:
    torch.load(io.BytesIO(saved(Canary(tmp_path / "canary"))), weights_only=False)
    assert (tmp_path / "canary").exists()


class TwoInputs(nn.Module):
    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        return (first + second).mean((2, 3))


def test_a_network_of_two_inputs_is_refused() -> None:
    pixels, buffer = torch.zeros(2, 3, 8, 8), io.BytesIO()
    torch.export.save(torch.export.export(TwoInputs(), (pixels, pixels)), buffer)
    with pytest.raises(RefusedProgram, match="takes 2 inputs; one batch of images"):
        load(buffer.getvalue())


@pytest.mark.parametrize(
    ("network", "shape", "reason"),
    [
        (
            sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(5, 2)),
            (5, 8, 8),
            "have 5 channels; 1 .grey. or 3",
        ),
        (
            sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 1)),
            (3, 8, 8),
            r"gives \(2, 1\) for two",
        ),
        (sequential(nn.Conv2d(3, 4, 3)), (3, 8, 8), r"gives \(2, 4, 6, 6\) for two"),
        (sequential(nn.Linear(8, 2)), (8,), "not a float32 batch of images"),
    ],
    ids=["five channels", "one score", "cells instead of scores", "no images"],
)
def test_what_classifies_no_images_is_refused(
    network: nn.Module, shape: tuple[int, ...], reason: str
) -> None:
    with pytest.raises(RefusedProgram, match=reason):
        load(save(network, torch.rand(2, *shape), {}))


def test_a_grey_network_is_taken() -> None:
    network = sequential(
        nn.Conv2d(1, 2, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(2, 2)
    )
    assert program_of(network, (1, 8, 8)).input_shape == (1, 8, 8)
