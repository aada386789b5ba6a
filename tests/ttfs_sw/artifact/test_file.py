# SPDX-License-Identifier: Apache-2.0
"""``network.npz``: written once, read back equal, and refused when anything about it is wrong."""

import dataclasses
import io
import json
import re
import struct
import tracemalloc
import zipfile
from pathlib import Path

import numpy as np
import pytest

from ttfs_sw.artifact import file as network_file
from ttfs_sw.artifact.network import Network, NetworkError
from ttfs_sw.common.errors import InputError

PAGE = Path(__file__).parents[3] / "docs" / "network-format.md"


@pytest.fixture(scope="module")
def network(make_network):
    return make_network((6, 5, 4, 3), ticks=(7, 15), dataset="made-up", preset="none")


@pytest.fixture
def path(network, tmp_path):
    network.save(tmp_path / "network.npz")
    return tmp_path / "network.npz"


def unpack(path):
    """Header and arrays as numpy reads them."""
    with np.load(path, allow_pickle=False) as archive:
        arrays = dict(archive)
    return json.loads(str(arrays.pop("header"))), arrays


def documented_sha256(header, arrays):
    """The SHA-256 as ``docs/network-format.md`` computes it."""
    code = re.search(r"```python\n(.*?)\nheader\[", PAGE.read_text(), re.DOTALL)[1]
    names = {}
    exec(code, names)
    return names["sha256"](header, arrays)


def pack(path, header, arrays, *, seal=True, save=np.savez):
    """Write a network as a stranger would; ``seal`` computes its SHA-256 anew."""
    if seal:
        header = {**header, "sha256": documented_sha256(header, arrays)}
    save(path, header=np.array(json.dumps(header)), **arrays)


def refusal(path):
    """The message with which a file is refused: it names the file, in one line."""
    with pytest.raises(NetworkError) as caught:
        Network.load(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: ") and "\n" not in message
    return message


class TestRoundTrip:
    def test_everything_comes_back(self, network, path):
        loaded = Network.load(path)
        assert loaded == network
        for field in dataclasses.fields(Network):
            if field.name not in ("layers", "input_codes"):
                assert getattr(loaded, field.name) == getattr(network, field.name)
        for there, here in zip(loaded.layers, network.layers, strict=True):
            for field in dataclasses.fields(here):
                one, other = getattr(there, field.name), getattr(here, field.name)
                assert type(one) is type(other)
                assert np.array_equal(one, other)
                if isinstance(one, np.ndarray):
                    assert one.dtype == other.dtype

    def test_path_as_string(self, network, path):
        network.save(str(path))
        assert Network.load(str(path)) == network

    def test_equal_networks_give_equal_bytes(self, network, path):
        Network.load(path).save(path.with_name("again.npz"))
        assert path.read_bytes() == path.with_name("again.npz").read_bytes()

    def test_names_need_not_be_ascii(self, make_network, tmp_path):
        network = make_network(dataset="ziffern-größe-😀")
        network.save(tmp_path / "network.npz")
        assert Network.load(tmp_path / "network.npz").dataset == "ziffern-größe-😀"

    def test_numpy_reads_it_without_pickle(self, network, path):
        header, arrays = unpack(path)
        assert (header["format"], header["version"]) == ("ttfs-network", 1)
        assert header["sha256"] == network.sha256
        assert np.array_equal(arrays["layer1_weight"], network.layers[1].weight)


class TestStrangers:
    """Files that other programs wrote from the documentation."""

    def test_documented_sha256(self, network, path):
        assert documented_sha256(*unpack(path)) == network.sha256

    @pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
    def test_written_by_numpy(self, network, path, save):
        pack(path, *unpack(path), save=save)
        assert Network.load(path) == network

    def test_other_byte_and_memory_order(self, network, path):
        header, arrays = unpack(path)
        arrays = {
            name: np.asfortranarray(array.astype(array.dtype.newbyteorder(">")))
            for name, array in arrays.items()
        }
        pack(path, header, arrays)
        assert Network.load(path) == network

    def test_whole_scale_written_as_an_integer(self, network, path):
        header, arrays = unpack(path)
        header["input_scale"] = 2.0
        sealed = {**header, "sha256": documented_sha256(header, arrays)}
        pack(path, {**sealed, "input_scale": 2}, arrays, seal=False)
        assert Network.load(path).input_scale == 2.0

    def test_every_field_is_documented(self):
        page = PAGE.read_text()
        for name in ("format", "version", "sha256", "layers", *network_file.NETWORK_FIELDS,
                     *network_file.LAYER_FIELDS):
            assert f"`{name}`" in page


class TestDamage:
    def test_missing(self, tmp_path):
        assert "cannot read the network: No such file" in refusal(tmp_path / "no.npz")

    def test_folder(self, tmp_path):
        assert "not a file" in refusal(tmp_path)

    def test_folder_in_the_path_is_a_file(self, path):
        assert "cannot read the network" in refusal(path / "network.npz")

    @pytest.mark.parametrize("content", [b"", b"PK", b"a text\n", b"\x93NUMPY\x01\x00"])
    def test_not_a_zip(self, path, content):
        path.write_bytes(content)
        assert "it is not a zip archive" in refusal(path)

    def test_cut_short_anywhere(self, path):
        content = path.read_bytes()
        for length in range(4, len(content), 97):
            path.write_bytes(content[:length])
            assert "it is damaged or cut short" in refusal(path)

    def test_one_changed_byte_is_refused_or_means_nothing(self, network, path):
        """A zip has bytes that mean nothing, such as dates; all the others must be noticed."""
        content = path.read_bytes()
        generator = np.random.default_rng(0)
        harmless = 0
        for position in generator.choice(len(content), 400, replace=False):
            changed = bytearray(content)
            changed[position] ^= 1 << generator.integers(8)
            path.write_bytes(changed)
            try:
                harmless += Network.load(path) == network
            except NetworkError as error:
                assert str(error).startswith(f"{path}: ")
            else:
                assert Network.load(path) == network
        assert harmless < 100

    def test_end_of_archive_points_before_its_start(self, path):
        """Found by changing every byte once: zipfile raises a bare ValueError here."""
        content = bytearray(path.read_bytes())
        content[-4] ^= 1
        path.write_bytes(content)
        assert "damaged or cut short" in refusal(path)

    def test_huge_file_is_not_read(self, path):
        with path.open("r+b") as file:
            file.truncate(network_file.MAX_BYTES + 1)
        assert "too many for a network" in refusal(path)


class TestHostile:
    def test_zip_bomb(self, path, monkeypatch):
        monkeypatch.setattr(network_file, "MAX_BYTES", 1 << 20)
        with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("bomb.npy", bytes(1 << 20))
        assert path.stat().st_size < 1 << 14
        assert "would unpack to" in refusal(path)

    def test_zip_bomb_that_lies_about_its_size(self, path):
        """32 MiB of zeros, declared as 130 bytes, take no more memory than that."""
        members = self.members(path)
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("input_codes.npy", bytes(32 << 20))
            for name, content in members.items():
                if name != "input_codes.npy":
                    archive.writestr(name, content)
        content = path.read_bytes()
        path.write_bytes(content.replace(struct.pack("<I", 32 << 20), struct.pack("<I", 130)))
        tracemalloc.start()
        try:
            assert "damaged" in refusal(path)
            assert tracemalloc.get_traced_memory()[1] < 4 << 20
        finally:
            tracemalloc.stop()

    def test_array_that_claims_to_be_huge(self, path):
        self.replace(path, "layer0_weight", shape=(1 << 40, 1 << 40))
        assert "array 'layer0_weight' has 30 bytes, which are not its shape" in refusal(path)

    def test_array_of_a_negative_size(self, path):
        self.replace(path, "layer0_weight", shape=(-5, -6))
        assert "which are not its shape (-5, -6)" in refusal(path)

    def test_pickle_is_never_loaded(self, path):
        header, arrays = unpack(path)
        arrays["layer0_weight"] = np.array([[print]], dtype=object)
        np.savez(path, header=np.array(json.dumps(header)), **arrays)
        assert "array 'layer0_weight' must be of type int8, not object" in refusal(path)

    def test_member_that_is_no_array(self, path):
        with zipfile.ZipFile(path, "a") as archive:
            archive.writestr("layer0_weight.npy.txt", "surprise")
        assert "unexpected member 'layer0_weight.npy.txt'" in refusal(path)

    def test_member_twice(self, path):
        with zipfile.ZipFile(path, "a") as archive:
            with pytest.warns(UserWarning, match="Duplicate name"):
                archive.writestr("header.npy", b"")
        assert "unexpected member 'header.npy'" in refusal(path)

    def test_member_not_in_numpy_format(self, path):
        self.replace(path, "layer0_weight", content=b"weights")
        assert "array 'layer0_weight' is not in numpy's format" in refusal(path)

    def test_compression_that_numpy_never_uses(self, path):
        members = self.members(path)
        with zipfile.ZipFile(path, "w", zipfile.ZIP_BZIP2) as archive:
            for name, content in members.items():
                archive.writestr(name, content)
        assert "packed in a way numpy never does" in refusal(path)

    def test_endless_header(self, path, monkeypatch):
        monkeypatch.setattr(network_file, "MAX_HEADER_BYTES", 1000)
        assert "header is longer than 1000 bytes" in refusal(path)

    def test_header_of_brackets(self, path):
        _, arrays = unpack(path)
        np.savez(path, header=np.array("[" * 100_000), **arrays)
        assert "header is not JSON" in refusal(path)

    @staticmethod
    def members(path):
        with zipfile.ZipFile(path) as archive:
            return {name: archive.read(name) for name in archive.namelist()}

    def replace(self, path, name, *, shape=None, content=None):
        """Replace a member, or only the shape that it claims to have."""
        members = self.members(path)
        member = f"{name}.npy"
        if shape is not None:
            array = np.load(io.BytesIO(members[member]))
            stream = io.BytesIO()
            np.lib.format.write_array_header_1_0(
                stream, {"descr": array.dtype.str, "fortran_order": False, "shape": shape}
            )
            content = stream.getvalue() + array.tobytes()
        members[member] = content
        with zipfile.ZipFile(path, "w") as archive:
            for each, data in members.items():
                archive.writestr(each, data)


class TestForeign:
    def test_npz_of_something_else(self, path):
        np.savez(path, x_train=np.zeros(3))
        assert "not a network, because it has no header" in refusal(path)

    @pytest.mark.parametrize(("header", "message"), [
        (np.zeros(3), "array 'header' must be of type str, not float64"),
        (np.array(["{}", "{}"]), "header must be a single string"),
        (np.array("not json"), "header is not JSON"),
        (np.array(""), "header is not JSON"),
        (np.array("[]"), "header does not say format 'ttfs-network'"),
        (np.array('{"format": "other"}'), "header does not say format 'ttfs-network'"),
        (np.array('{"format": "ttfs-network"}'), "has format version None, and this ttfs reads"),
    ])
    def test_header(self, path, header, message):
        _, arrays = unpack(path)
        np.savez(path, header=header, **arrays)
        assert message in refusal(path)

    @pytest.mark.parametrize("version", [0, 2, "1", None])
    def test_unsupported_version(self, path, version):
        header, arrays = unpack(path)
        pack(path, {**header, "version": version}, arrays)
        assert f"has format version {version!r}, and this ttfs reads version 1" in refusal(path)

    @pytest.mark.parametrize("field", [
        *network_file.NETWORK_FIELDS, "layers", "sha256"
    ])
    def test_missing_field(self, path, field):
        header, arrays = unpack(path)
        del header[field]
        pack(path, header, arrays, seal=False)
        assert f"header has no field {field!r}" in refusal(path)

    @pytest.mark.parametrize("field", network_file.LAYER_FIELDS)
    def test_missing_layer_field(self, path, field):
        header, arrays = unpack(path)
        del header["layers"][1][field]
        pack(path, header, arrays)
        assert f"layer 1 in the header has no field {field!r}" in refusal(path)

    def test_unknown_fields(self, path):
        header, arrays = unpack(path)
        pack(path, {**header, "author": "me"}, arrays)
        assert "header has a field 'author', which this version does not know" in refusal(path)
        header["layers"][0]["leak"] = 1
        pack(path, header, arrays)
        assert "layer 0 in the header has a field 'leak'" in refusal(path)

    @pytest.mark.parametrize("layers", [{}, 3, [None], [{}] * 256])
    def test_layers_of_the_wrong_type(self, path, layers):
        header, arrays = unpack(path)
        pack(path, {**header, "layers": layers}, arrays)
        assert "in the header must be" in refusal(path)


class TestContent:
    def test_content_changed_after_it_was_sealed(self, path):
        header, arrays = unpack(path)
        arrays["layer0_bias"] = arrays["layer0_bias"] + np.int32(1)
        pack(path, header, arrays, seal=False)
        assert "sha256 does not match the content" in refusal(path)

    def test_missing_array(self, path):
        header, arrays = unpack(path)
        del arrays["layer2_bias"]
        pack(path, header, arrays)
        assert "array 'layer2_bias' is missing" in refusal(path)

    def test_unknown_array(self, path):
        header, arrays = unpack(path)
        pack(path, header, {**arrays, "layer3_bias": arrays["layer2_bias"]})
        assert "unexpected array 'layer3_bias': the header has 3 layers" in refusal(path)

    @pytest.mark.parametrize(("name", "dtype"), [
        ("layer0_weight", np.int16), ("layer0_bias", np.float32), ("layer0_multiplier", np.int32),
        ("layer0_shift", np.int8), ("input_codes", np.int64), ("layer0_weight", np.bool_),
    ])
    def test_wrong_type(self, path, name, dtype):
        header, arrays = unpack(path)
        pack(path, header, {**arrays, name: arrays[name].astype(dtype)})
        assert f"array {name!r} must be of type" in refusal(path)

    def test_wrong_shape(self, path):
        header, arrays = unpack(path)
        arrays["layer1_weight"] = arrays["layer1_weight"].reshape(-1)
        pack(path, header, arrays)
        assert "layer 'hidden2': weight must have shape (5, 4), not (20,)" in refusal(path)

    @pytest.mark.parametrize(("layer", "change", "message"), [
        (1, {"weight_bits": 3}, "layer 'hidden2': weight has values from"),
        (1, {"source": 5}, "layer 'hidden2': source must be"),
        (1, {"weight_scale": float("nan")}, "layer 'hidden2': weight_scale must be finite"),
        (0, {"in_shape": [1, 1, 7]}, "layer 'hidden1': weight must have shape (7, 5)"),
        (0, {"ticks": "7"}, "layer 'hidden1': ticks must be an integer"),
        (0, {"spiking": False, "ticks": 0}, "layer 'hidden1': multiplier must have shape (0,)"),
        (2, {"name": "hidden1"}, "layer 'hidden1': the name is taken"),
    ])
    def test_rules_apply_to_files(self, path, layer, change, message):
        header, arrays = unpack(path)
        header["layers"][layer].update(change)
        pack(path, header, arrays)
        assert message in refusal(path)

    def test_codes_beyond_the_window(self, path):
        header, arrays = unpack(path)
        pack(path, {**header, "input_ticks": 3}, arrays)
        assert "input_codes has the code 7, which is more than input_ticks 3" in refusal(path)


class TestSave:
    def test_folder_is_missing(self, network, tmp_path):
        with pytest.raises(InputError, match=r"cannot write .*network\.npz"):
            network.save(tmp_path / "no" / "network.npz")

    def test_folder_is_a_file(self, network, path):
        with pytest.raises(InputError, match=r"cannot write .*network\.npz"):
            network.save(path / "network.npz")
        assert Network.load(path) == network
