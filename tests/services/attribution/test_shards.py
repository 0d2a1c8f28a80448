"""Maps in stored form."""

import numpy as np
import pytest
from safetensors import safe_open

from services.attribution.shards import Place, pack, read, shard
from services.runtime.directory_store import DirectoryStore
from services.runtime.errors import DataLoss


def random_maps(count: int) -> np.ndarray:
    maps = np.random.default_rng(0).random((count, 5, 7), np.float32) ** 8
    return maps / maps.sum((1, 2), keepdims=True)


def test_a_stored_value_is_within_the_error_that_is_stated():
    maps = random_maps(50)
    packed = pack(maps)
    stored = np.frombuffer(packed.data, "<f2").reshape(maps.shape).astype(np.float32)
    scales = np.array(packed.scales, np.float32)[:, None, None]
    assert (np.abs(stored * scales - maps) <= scales * (2**-12 + 1e-7)).all()


def test_an_empty_map_has_scale_zero():
    packed = pack(np.zeros((1, 5, 7), np.float32))
    assert packed.scales == [0]
    assert not any(packed.data)


def test_no_maps_are_no_bytes():
    assert pack(np.zeros((0, 5, 7), np.float32)).data == b""


def test_one_shard_is_read_once_for_all_its_maps(tmp_path, monkeypatch):
    store = DirectoryStore(tmp_path)
    packed = pack(random_maps(9))
    key = store.put(b"header" + packed.data)
    places = [Place(key, 6, index, packed.checksums[index]) for index in (7, 2, 5)]
    reads = []
    get_range = DirectoryStore.get_range

    def counted(self, *arguments):
        reads.append(arguments)
        return get_range(self, *arguments)

    monkeypatch.setattr(DirectoryStore, "get_range", counted)
    pieces = [packed.data[i * 70 : (i + 1) * 70] for i in (7, 2, 5)]
    assert read(store, places, 70) == b"".join(pieces)
    assert reads == [(key, 6 + 2 * 70, 6 * 70)]


def test_a_shard_is_a_safetensors_file_that_says_what_it_holds(tmp_path):
    maps = random_maps(3)
    packed = pack(maps)
    data, start = shard(packed, 5, 7, [4, 0, 2], {"format": "onoma-maps"})
    assert data[start : start + len(packed.data)] == packed.data
    path = tmp_path / "shard.safetensors"
    path.write_bytes(data)
    with safe_open(path, "numpy") as file:
        assert file.metadata() == {"format": "onoma-maps"}
        assert file.get_tensor("x_features").tolist() == [4, 0, 2]
        restored = file.get_tensor("maps") * file.get_tensor("scales")[:, None, None]
    np.testing.assert_allclose(restored, maps, atol=float(maps.max()) * 2**-11)


def test_a_map_with_another_checksum_is_refused(tmp_path):
    store = DirectoryStore(tmp_path)
    packed = pack(random_maps(2))
    with pytest.raises(DataLoss, match="is damaged"):
        read(store, [Place(store.put(packed.data), 0, 0, packed.checksums[1])], 70)


def test_the_same_maps_are_the_same_shard():
    about = {f"key {i}": "value" for i in range(20)}  # whose order safetensors changes from file to file
    made = [shard(pack(random_maps(2)), 5, 7, [0, 1], about) for _ in range(5)]
    assert len({data for data, _ in made}) == 1
    assert made[0][1] % 8 == 0
