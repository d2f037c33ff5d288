from __future__ import annotations

import builtins
import csv
import os
import struct
import subprocess
import warnings
import zipfile
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import EpsImagePlugin, Image, ImageFile
from sklearn.datasets import load_digits

from genmix import datasets
from genmix.datasets import Dataset, DatasetNotFound, catalogue, images, load, memory, records
from genmix.datasets.known import KNOWN
from genmix.datasets.sources import fingerprint


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test depends on a folder of the machine or on the network."""

    def fetch(**options: Any) -> None:
        raise OSError("offline")

    monkeypatch.delenv("GENMIX_DATA", raising=False)
    monkeypatch.setattr("sklearn.datasets.fetch_openml", fetch)


# ---------------------------------------------------------------- embedded sets


def test_digits() -> None:
    digits = load("digits")
    assert digits.X.dtype == np.float32 and digits.X.shape == (1797, 8, 8)
    np.testing.assert_array_equal(digits.X * 16, load_digits().images)
    assert (digits.X.min(), digits.X.max()) == (0, 1)
    assert digits.y is not None and digits.y.dtype == np.int64
    assert digits.class_names == tuple("0123456789") and digits.licence == "CC BY 4.0"


def test_image_segmentation_is_the_unscaled_table() -> None:
    data = load("image-segmentation")
    assert data.X.shape == (2310, 19) and data.y is not None
    assert np.bincount(data.y).tolist() == [330] * 7
    assert np.unique(data.X[:, 2]).tolist() == [9]  # the pixel count of each region: constant
    assert data.X[:, 0].max() > 200  # columns, in pixels
    assert data.feature_names is not None and data.feature_names[2] == "REGION-PIXEL-COUNT"
    assert set(data.class_names or ()) == {"BRICKFACE", "SKY", "FOLIAGE", "CEMENT", "WINDOW", "PATH", "GRASS"}
    assert len(load("image-segmentation", split="train").X) == 210


def test_artificial_characters_of_ganmm() -> None:
    data = load("artificial-characters-ganmm")
    assert data.X.shape == (30654, 6) and data.y is not None
    assert np.bincount(data.y).tolist() == [3630, 2403, 3013, 3000, 2400, 3612, 3000, 1800, 3585, 4211]


def test_embedded_data_is_small_and_attributed() -> None:
    folder = Path(datasets.__file__).parent / "embedded"
    assert sum(path.stat().st_size for path in folder.glob("*.npz")) < 700_000
    text = (folder / "ATTRIBUTION.md").read_text(encoding="utf-8")
    for known in KNOWN.values():
        if known.embedded and known.file:
            assert known.file in text and known.licence == "CC BY 4.0"
    assert text.count("Licence: CC BY 4.0") == 2


# ---------------------------------------------------------------- names, rows, catalogue


def test_catalogue_without_data() -> None:
    rows = {row["name"]: row for row in catalogue()}
    assert list(rows) == [
        "digits",
        "image-segmentation",
        "artificial-characters-ganmm",
        "artificial-characters",
        "mnist",
        "cifar10",
        "celeba-hair",
    ]
    assert {name: row["where"] for name, row in rows.items() if row["available"]} == dict.fromkeys(
        ["digits", "image-segmentation", "artificial-characters-ganmm"], "embedded"
    )
    assert (rows["mnist"]["where"], rows["celeba-hair"]["where"]) == ("OpenML", "by hand")
    assert (rows["mnist"]["n"], rows["mnist"]["shape"], rows["mnist"]["classes"]) == (70000, (28, 28), 10)
    assert all(row["licence"] and row["source"] for row in rows.values())


def test_catalogue_sees_local_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mnist.npz").write_bytes(b"")
    assert {row["name"] for row in catalogue(tmp_path) if row["where"] == "local file"} == {"mnist"}
    monkeypatch.setenv("GENMIX_DATA", str(tmp_path))
    assert {row["name"] for row in catalogue() if row["where"] == "local file"} == {"mnist"}
    for folder in ("missing", "mnist.npz"):
        with pytest.raises(ValueError, match=r"data_dir=.* is not a folder"):
            catalogue(tmp_path / folder)
    monkeypatch.setenv("GENMIX_DATA", str(tmp_path / "missing"))
    with pytest.raises(ValueError, match=r"GENMIX_DATA=.* is not a folder"):
        load("mnist")


def test_n_samples_is_a_fixed_choice_in_the_original_order() -> None:
    whole, some, again = load("digits"), load("digits", n_samples=100), load("digits", n_samples=100)
    np.testing.assert_array_equal(some.X, again.X)
    other = load("digits", n_samples=100, random_state=1)
    assert not np.array_equal(some.X, other.X)
    assert whole.y is not None and some.y is not None
    np.testing.assert_array_equal(load("digits", n_samples=1797).y, whole.y)
    rows = np.random.default_rng(0).permutation(1797)[:100]
    np.testing.assert_array_equal(some.y, whole.y[np.sort(rows)])
    assert load("image-segmentation", split="train", n_samples=7).X.shape == (7, 19)


@pytest.mark.parametrize("n_samples", [0, -1, 211])
def test_bad_n_samples(n_samples: int) -> None:
    with pytest.raises(ValueError, match=rf"n_samples={n_samples} of image-segmentation: expected 1 to 210"):
        load("image-segmentation", split="train", n_samples=n_samples)


def test_loading_leaves_the_global_random_state_alone() -> None:
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    load("digits", n_samples=10)
    assert np.array_equal(before, np.random.get_state()[1])  # noqa: NPY002


def test_bad_split() -> None:
    with pytest.raises(ValueError, match=r"split='val' of image-segmentation: expected one of train, test"):
        load("image-segmentation", split="val")
    with pytest.raises(ValueError, match=r"split='test' of digits: it has no parts"):
        load("digits", split="test")


def test_unknown_names() -> None:
    with pytest.raises(
        DatasetNotFound, match=r"'minst': did you mean 'mnist'\? known data sets are digits, "
    ):
        load("minst")
    with pytest.raises(DatasetNotFound, match=r"no file, folder or data set '/no/where\.npy': known"):
        load("/no/where.npy")
    assert issubclass(DatasetNotFound, ValueError)


def test_options_that_mean_nothing_are_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.zeros((3, 2)))
    for target, options in [
        ("digits", {"label_column": "y"}),
        ("digits", {"image_size": 8}),
        (tmp_path / "a.npy", {"label_column": "y"}),
        (tmp_path / "a.npy", {"image_size": 8}),
        (tmp_path, {"label_column": "y"}),
    ]:
        with pytest.raises(ValueError, match="means nothing for the"):
            load(target, **options)


def test_unknown_ending(tmp_path: Path) -> None:
    (tmp_path / "a.xlsx").write_bytes(b"")
    with pytest.raises(ValueError, match=r"ends in '\.xlsx': expected a \.npy, \.npz, \.csv or \.parquet"):
        load(tmp_path / "a.xlsx")


# ---------------------------------------------------------------- sets that are not embedded


def tiny_known(monkeypatch: pytest.MonkeyPatch, name: str, n: int, **changes: Any) -> None:
    """Shrink a known set, so that a test can make its data."""
    monkeypatch.setitem(KNOWN, name, replace(KNOWN[name], n=n, **changes))


def test_a_set_that_cannot_be_had_says_how_to_get_it() -> None:
    with pytest.raises(DatasetNotFound, match=r"OpenML data set 554 .*\(offline\).*mnist\.npz.*GENMIX_DATA"):
        load("mnist")
    with pytest.raises(DatasetNotFound, match=r"download CelebA .*licence.*celeba_hair5\.npz into a folder"):
        load("celeba-hair")


def fake_openml(monkeypatch: pytest.MonkeyPatch, data: Any, target: Any) -> list[dict[str, Any]]:
    calls = []

    def fetch(**options: Any) -> SimpleNamespace:
        calls.append(options)
        return SimpleNamespace(data=data, target=np.array(target, dtype=object))

    monkeypatch.setattr("sklearn.datasets.fetch_openml", fetch)
    return calls


def test_images_from_openml(monkeypatch: pytest.MonkeyPatch) -> None:
    images = np.random.default_rng(0).integers(0, 256, (20, 28, 28))
    y = np.arange(20) % 10
    digest = fingerprint(images.astype(np.uint8), y, ordered=True)
    tiny_known(monkeypatch, "mnist", 20, n_train=10, digest=digest)
    calls = fake_openml(monkeypatch, images.reshape(20, -1).astype(float), y.astype(str))
    data = load("mnist", split="test")
    assert calls[0]["data_id"] == 554
    assert data.X.dtype == np.uint8 and np.array_equal(data.X, images[10:])
    assert np.array_equal(data.y, y[10:]) and data.class_names == tuple("0123456789")
    fake_openml(monkeypatch, images.reshape(20, -1)[::-1].astype(float), y[::-1].astype(str))
    with pytest.raises(ValueError, match="checksum differs"):
        load("mnist")


def test_colour_images_from_openml_have_their_channels_first_there(monkeypatch: pytest.MonkeyPatch) -> None:
    images = np.random.default_rng(0).integers(0, 256, (30, 32, 32, 3), dtype=np.uint8)
    y = np.arange(30) % 10
    tiny_known(monkeypatch, "cifar10", 30, n_train=20)
    table = images.transpose(0, 3, 1, 2).reshape(30, -1)
    fake_openml(monkeypatch, table, y.astype(str))
    assert np.array_equal(load("cifar10").X, images)
    assert np.array_equal(load("cifar10", split="train").X, images[:20])
    assert "JPEG" not in load("cifar10").description
    fake_openml(monkeypatch, table, np.sort(y).astype(str))  # sorted by class: which were the training rows?
    with pytest.raises(ValueError, match="split='train' of cifar10"):
        load("cifar10", split="train")
    fake_openml(monkeypatch, table - 100.0, y.astype(str))
    with pytest.raises(ValueError, match="expected 0 to 255"):
        load("cifar10")


def test_a_table_from_openml_in_any_order(monkeypatch: pytest.MonkeyPatch) -> None:
    X = np.random.default_rng(0).normal(size=(20, 7)).astype(np.float32)
    y = np.arange(20) % 10
    tiny_known(monkeypatch, "artificial-characters", 20, digest=fingerprint(X, y, ordered=False))
    fake_openml(monkeypatch, X[::-1].astype(float), (y[::-1] + 1).astype(str))
    data = load("artificial-characters")
    assert np.array_equal(data.X, X[::-1]) and np.array_equal(data.y, y[::-1])
    assert data.class_names is not None and data.class_names[9] == "10"
    fake_openml(monkeypatch, X + 1, (y + 1).astype(str))
    with pytest.raises(ValueError, match="checksum differs"):
        load("artificial-characters")
    fake_openml(monkeypatch, X[:, :5], (y + 1).astype(str))
    with pytest.raises(ValueError, match=r"table of shape \(20, 5\)"):
        load("artificial-characters")


def test_openml_without_pandas(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = fake_openml(monkeypatch, np.zeros((1, 1)), ["0"])
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ValueError, match="table of shape"):
        load("mnist")
    assert calls[0]["parser"] == "liac-arff"


def test_a_local_file_that_is_something_else(tmp_path: Path) -> None:
    np.savez(tmp_path / "mnist.npz", X=np.zeros((10, 28, 28)), y=np.arange(10))
    with pytest.raises(ValueError, match=r"mnist\.npz is not mnist: expected 70000 rows with 10 classes"):
        load("mnist", data_dir=tmp_path)


def test_a_local_file_of_another_shape(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tiny_known(monkeypatch, "mnist", 10)
    np.savez(tmp_path / "mnist.npz", X=np.zeros((10, 8, 8)), y=np.arange(10))
    with pytest.raises(ValueError, match=r"rows of shape \(8, 8\): expected \(28, 28\)"):
        load("mnist", data_dir=tmp_path)


def jpeg_archive(path: Path, n: int = 20) -> list[np.ndarray]:
    from io import BytesIO

    chunks, images = [], []
    for row in range(n):
        buffer = BytesIO()
        Image.new("RGB", (32, 32), (10 * row, 50, 200)).save(buffer, "JPEG")
        chunks.append(np.frombuffer(buffer.getvalue(), np.uint8))
        images.append(np.asarray(Image.open(buffer)))
    offset = np.cumsum([0, *map(len, chunks)])
    split = np.repeat([0, 1], n // 2)
    np.savez(path, jpeg=np.concatenate(chunks), offset=offset, y=np.arange(n) % 10, split=split)
    return images


def test_cifar10_from_jpegs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    images = jpeg_archive(tmp_path / "cifar10_jpeg.npz")
    tiny_known(monkeypatch, "cifar10", 20)
    monkeypatch.setenv("GENMIX_DATA", str(tmp_path))
    data = load("cifar10", split="test")
    np.testing.assert_array_equal(data.X, images[10:])
    assert "not bit-equal" in data.description and data.class_names is not None
    assert load("cifar10", n_samples=3).X.shape == (3, 32, 32, 3)


def test_damaged_jpeg_archives(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tiny_known(monkeypatch, "cifar10", 20)
    path = tmp_path / "cifar10_jpeg.npz"
    jpeg_archive(path)
    with np.load(path) as archive:
        good = dict(archive)
    np.savez(path, **(good | {"jpeg": np.zeros_like(good["jpeg"])}))
    with pytest.raises(ValueError, match="image 0 of the JPEG archive is damaged"):
        load("cifar10", data_dir=tmp_path)
    np.savez(path, **(good | {"y": good["y"][:5]}))
    with pytest.raises(ValueError, match="20 images and 5 labels"):
        load("cifar10", data_dir=tmp_path)
    np.savez(path, X=np.zeros((20, 2)))
    with pytest.raises(ValueError, match="lacks jpeg, offset, split, y"):
        load("cifar10", data_dir=tmp_path)


@pytest.mark.data
@pytest.mark.parametrize("name", ["artificial-characters", "mnist", "celeba-hair"])
def test_real_local_sets(name: str, data_dir: Path) -> None:
    data = load(name, data_dir=data_dir)
    known = KNOWN[name]
    assert data.X.shape == (known.n, *known.shape) and data.y is not None
    assert data.licence == known.licence and data.name == name
    if known.digest:
        assert fingerprint(data.X, data.y, ordered=known.n_train is not None) == known.digest


@pytest.mark.data
def test_real_parts(data_dir: Path) -> None:
    test = load("mnist", split="test", data_dir=data_dir)
    assert test.X.shape == (10000, 28, 28) and test.y is not None
    assert test.y[:10].tolist() == [7, 2, 1, 0, 4, 1, 4, 9, 5, 9]  # as everybody knows it
    some = load("cifar10", split="train", n_samples=50, data_dir=data_dir)
    assert some.X.shape == (50, 32, 32, 3) and some.X.dtype == np.uint8


@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_a_header_of_many_long_names(tmp_path: Path, separator: str) -> None:
    limit, names = csv.field_size_limit(), [f"ENSG{number:011d}" for number in range(13_000)]
    rows = "\n".join(separator.join(map(str, range(row, row + len(names)))) for row in range(2))
    (tmp_path / "a.csv").write_text(f"{separator.join(names)}\n{rows}\n")
    data = load(tmp_path / "a.csv")
    assert data.feature_names == tuple(names) and data.X[:, -1].tolist() == [12_999, 13_000]
    assert csv.field_size_limit() == limit


def test_names_are_compared_in_linear_time(tmp_path: Path) -> None:
    class Name(str):
        def __eq__(self, other: object) -> bool:
            compared.append(1)
            return str.__eq__(self, other)

        __hash__ = str.__hash__

    compared: list[int] = []
    names: list[str] = [Name(f"gene {number}") for number in range(2000)]
    assert records.check_names(names, tmp_path) == names and len(compared) < 3 * len(names)
    with pytest.raises(ValueError, match="several columns called 'gene 7'"):
        records.check_names([*names, "gene 7", "gene 9"], tmp_path)


# ---------------------------------------------------------------- .npy and .npz


@pytest.mark.parametrize("shape", [(5, 2), (5, 4, 4), (5, 4, 4, 3), (5, 3, 4, 4)])
@pytest.mark.parametrize("dtype", [np.uint8, np.float32, np.float64, bool])
def test_npy(tmp_path: Path, shape: tuple[int, ...], dtype: type) -> None:
    X = np.random.default_rng(0).integers(0, 2, shape).astype(dtype)
    np.save(tmp_path / "mine.npy", X)
    data = load(tmp_path / "mine.npy")
    assert data.X.dtype == dtype and np.array_equal(data.X, X)
    assert (data.name, data.y) == ("mine", None)
    assert isinstance(data.X, np.memmap)
    assert load(str(tmp_path / "mine.npy"), n_samples=2).X.shape == (2, *shape[1:])


BAD_ARRAYS = {
    "1-D": (np.zeros(3), r"shape \(3,\)"),
    "5-D": (np.zeros((1, 1, 1, 1, 1)), "expected a table"),
    "no rows": (np.zeros((0, 3)), r"\.np[yz]"),
    "no columns": (np.zeros((3, 0)), r"\.np[yz]"),
    "strings": (np.array([["a"]]), "expected real numbers"),
    "complex": (np.zeros((2, 2), complex), "expected real numbers"),
    "pickled": (np.array([[{}]], dtype=object), "cannot read"),
}


@pytest.mark.parametrize("case", BAD_ARRAYS)
@pytest.mark.parametrize("suffix", ["npy", "npz"])
def test_bad_arrays(tmp_path: Path, case: str, suffix: str, monkeypatch: pytest.MonkeyPatch) -> None:
    array, message = BAD_ARRAYS[case]
    path = tmp_path / f"bad.{suffix}"
    if suffix == "npy":
        np.save(path, array)
    else:
        np.savez(path, X=array)
    for name in ("load", "loads", "Unpickler"):
        monkeypatch.setattr(f"pickle.{name}", lambda *args, **kwargs: pytest.fail("unpickled"))
    with pytest.raises(ValueError, match=message):
        load(path)


@pytest.mark.parametrize("suffix", [".npy", ".npz", ".csv", ".parquet"])
def test_files_that_are_something_else(tmp_path: Path, suffix: str) -> None:
    for content in (
        b"",
        b"\x80\x04K\x01.",
        b"\x93NUMPY\x01\x00",
        b"PK\x03\x04" + b"x" * 40,
        b"\xff\xfe\x00" * 9,
    ):
        (tmp_path / f"a{suffix}").write_bytes(content)
        with pytest.raises(ValueError, match=rf"a\{suffix}"):
            load(tmp_path / f"a{suffix}")


def test_truncated_and_flipped_archives(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    np.savez_compressed(path, X=np.random.default_rng(0).normal(size=(50, 3)), y=np.arange(50))
    good = path.read_bytes()
    chance = np.random.default_rng(1)
    for _ in range(100):
        bad = bytearray(good)
        bad[chance.integers(len(bad))] ^= int(chance.integers(1, 256))
        path.write_bytes(bytes(bad[: chance.integers(len(bad) // 2, len(bad) + 1)]))
        try:
            load(path)
        except ValueError:
            continue
    path.write_bytes(good[: len(good) // 2])
    with pytest.raises(ValueError, match=r"not an \.npz archive"):
        load(path)


def test_a_foreign_archive(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("readme.txt", "hello")
    with pytest.raises(ValueError, match=r"a\.npz holds nothing: expected the data under the name X"):
        load(tmp_path / "a.npz")


def test_npz_with_everything(tmp_path: Path) -> None:
    X = np.arange(12.0).reshape(6, 2)
    np.savez(
        tmp_path / "a.npz",
        X=X,
        y=[0, 1, 2, -1, 0, 1],
        names=["x", "y", "z"],
        features=["left", "right"],
        split=["train"] * 4 + ["test"] * 2,
    )
    data = load(tmp_path / "a.npz")
    assert data.y is not None and data.y.tolist() == [0, 1, 2, -1, 0, 1]
    assert data.class_names == ("x", "y", "z") and data.feature_names == ("left", "right")
    assert np.array_equal(load(tmp_path / "a.npz", split="test").X, X[4:])
    with pytest.raises(ValueError, match=r"split='val' of .*expected one of train, test"):
        load(tmp_path / "a.npz", split="val")


def test_feature_names_that_do_not_fit_are_left_out(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", X=np.zeros((2, 3)), features=["only", "two"])
    assert load(tmp_path / "a.npz").feature_names is None


def bomb(path: Path, key: str, shape: str = "(10000, 10000)", kind: str = "|u1", **rest: Any) -> Path:
    """Write an archive with a member whose header declares more than the member holds."""
    np.savez(path, **rest)
    text = f"{{'descr': '{kind}', 'fortran_order': False, 'shape': {shape}}}".ljust(117) + "\n"
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(f"{key}.npy", b"\x93NUMPY\x01\x00\x76\x00" + text.encode() + bytes(1000))
    return path


@pytest.mark.parametrize("key", ["X", "y", "split", "class_names", "kind", "unused"])
def test_npz_bombs(tmp_path: Path, key: str) -> None:
    rest: dict[str, Any] = {} if key == "X" else {"X": np.zeros((4, 2))}
    column = key if key == "kind" else None
    path = bomb(tmp_path / "a.npz", key, *([] if key in ("X", "unused") else ["(100000000,)", "<U0"]), **rest)
    if key == "unused":
        assert load(path, max_memory=5_000_000).X.shape == (4, 2)
        return
    words = {"split": "has shape", "class_names": "has 100000000 names: expected at most 100000"}
    words = words.get(
        key, f"with '{key}' of shape .* asks for [0-9]{{9}} bytes .*at most 5000000, as max_memory"
    )
    with pytest.raises(ValueError, match=words):
        load(path, label_column=column, max_memory=5_000_000)


def test_arrays_of_an_npz_are_counted_together(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", X=np.zeros((50, 2)), y=np.zeros(50, int))
    assert load(tmp_path / "a.npz", max_memory=1200).y is not None
    with pytest.raises(ValueError, match=r"with 'y' of shape .* asks for 1200 bytes"):
        load(tmp_path / "a.npz", max_memory=1199)


def test_memory_is_half_of_the_machines_by_default(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert memory.machine_memory() > 1e8
    np.savez(tmp_path / "a.npz", X=np.zeros((50, 2)))
    monkeypatch.setattr(memory, "machine_memory", lambda: 1599)
    with pytest.raises(ValueError, match=r"asks for 800 bytes of memory: expected at most 799, half"):
        load(tmp_path / "a.npz")
    for wrong in (0, 1.5, "4G", True):
        with pytest.raises(ValueError, match=r"max_memory=.*: expected a number of bytes"):
            load(tmp_path / "a.npz", max_memory=wrong)


def test_a_container_has_less_memory_than_its_machine(tmp_path: Path) -> None:
    for folder, name, size in (
        ("", "memory.max", "max\n"),
        ("a", "memory.max", "7000\n"),
        ("a/b", "memory.max", "9000\n"),
        ("memory", "memory.limit_in_bytes", "8000\n"),
    ):
        (tmp_path / folder).mkdir(exist_ok=True)
        (tmp_path / folder / name).write_text(size)
    groups = tmp_path / "groups"
    groups.write_text("4:cpu:/c\n3:memory:/a/c\n0::/a/b\n")
    assert sorted(memory._container_limits(groups, tmp_path)) == [7000, 8000, 9000]
    assert list(memory._container_limits(tmp_path / "none", tmp_path)) == []


def test_parquet_bombs(tmp_path: Path) -> None:
    columns = {"a": np.zeros(1000), "b": np.zeros(1000), "text": ["x" * 10_000] * 1000}
    path = write_parquet(tmp_path, columns)
    assert load(path, max_memory=60_000).X.shape == (1000, 2)  # the text is not read
    with pytest.raises(ValueError, match=r"table\.parquet, 1000 rows of 2 columns .*asks for 48000 bytes"):
        load(path, max_memory=47_999)
    data = load(path, max_memory=100_000, label_column="text")  # once, not a thousand times
    assert data.class_names == ("x" * 10_000,) and data.y is not None and not data.y.any()


@pytest.mark.parametrize(
    ("labels", "expected", "names"),
    [
        (["b", None, "a", "b"], [1, -1, 0, 1], ("a", "b")),
        ([5, None, 9, 5], [5, -1, 9, 5], None),
        ([2**53 + 1, 1, 2, 3], [2**53 + 1, 1, 2, 3], None),
        ([1.0, None, 2.0, float("nan")], [1, -1, 2, -1], None),
        ([True, False, False, True], [1, 0, 0, 1], None),
        (["3", "", "-1", "4.0"], [3, -1, -1, 4], None),
    ],
)
def test_parquet_labels(tmp_path: Path, labels: list[Any], expected: list[int], names: Any) -> None:
    data = load(write_parquet(tmp_path, {"x": np.zeros(4), "y": labels}), label_column="y")
    assert data.y is not None and data.y.tolist() == expected and data.class_names == names


def test_parquet_labels_that_are_none_are_refused(tmp_path: Path) -> None:
    from pyarrow import parquet

    path = write_parquet(tmp_path, {"x": np.zeros(4), "y": [[1], [2], [3], [4]]})
    with pytest.raises(ValueError, match=r"column 'y' of .* has cells of type list<.*: expected labels"):
        load(path, label_column="y")
    table = parquet.read_table(write_parquet(tmp_path, {"x": np.zeros(4), "y": list("abab")}))
    parquet.write_table(table, path, use_dictionary=False, column_encoding={"y": "DELTA_BYTE_ARRAY"})
    assert load(path).X.shape == (4, 1)
    with pytest.raises(ValueError, match=r"texts of 'y' have a DELTA encoding, and may be of any size"):
        load(path, label_column="y")


def test_parquet_columns_called_like_parts_of_another(tmp_path: Path) -> None:
    data = load(write_parquet(tmp_path, {"a": [1.0, 2.0], "a.b": ["x", "y"], "a.c": [3.0, 4.0]}))
    assert data.feature_names == ("a", "a.c") and data.X.tolist() == [[1, 3], [2, 4]]


def test_categories_that_no_row_has_are_no_classes(tmp_path: Path) -> None:
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(
        {"x": [0.0, 1.0], "y": pandas.Categorical(["b", "b"], categories=["a", "b", "c"])}
    )
    frame.to_parquet(tmp_path / "a.parquet")
    data = load(tmp_path / "a.parquet", label_column="y")
    assert data.class_names == ("b",) and data.y is not None and data.y.tolist() == [0, 0]


def test_tables_as_text_are_counted_as_they_are_read(tmp_path: Path) -> None:
    path = write_csv(tmp_path, "a,b\n" + "10,20\n" * 1000)
    assert load(path, max_memory=300_000).X.shape == (1000, 2)
    with pytest.raises(ValueError, match=r"as far as line \d{3},.*asks for .* bytes of memory: .*save it as"):
        load(path, max_memory=200_000)
    with pytest.raises(ValueError, match=r"csv asks for 6004 bytes"):
        load(path, max_memory=6_000)


def test_folders_of_images_are_counted_by_their_first(tmp_path: Path) -> None:
    for i in range(3):
        picture(tmp_path / f"{i}.png", "RGB" if i == 2 else "L", size=(5, 4))
    assert load(tmp_path, max_memory=180).X.shape == (3, 4, 5, 3)
    with pytest.raises(ValueError, match=r"3 images as large as .*2\.png, 4 x 5 pixels .* for 180 bytes"):
        load(tmp_path, max_memory=179)
    with pytest.raises(ValueError, match=r"3 images as large as .*0\.png, .* asks for 60 bytes.*n_samples"):
        load(tmp_path, max_memory=59)


def test_npz_finds_the_data(tmp_path: Path) -> None:
    X = np.ones((4, 2))
    np.savez(tmp_path / "first.npz", X, np.zeros((9, 9)))
    assert np.array_equal(load(tmp_path / "first.npz").X, X)
    np.savez(tmp_path / "only.npz", table=X, kind=np.array(["b", "a", "b", ""]))
    only = load(tmp_path / "only.npz", label_column="kind")
    assert only.y is not None and only.y.tolist() == [1, 0, 1, -1] and only.class_names == ("a", "b")
    assert load(tmp_path / "only.npz").y is None
    np.savez(tmp_path / "two.npz", train=X, test=X)
    with pytest.raises(ValueError, match="holds train, test: expected the data under the name X"):
        load(tmp_path / "two.npz")


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        ({"y": np.zeros(3)}, "4 rows and 3 labels"),
        ({"y": np.zeros((4, 1))}, r"shape \(4, 1\): expected one label a row"),
        ({"y": np.array([0.5, 1, 2, 3])}, "fractions"),
        ({"y": np.array([0, 1, 2, 3]), "names": np.array(["a", "b"])}, "only 2 class names"),
        ({"split": np.zeros(3)}, "'split' in"),
    ],
)
def test_bad_company_of_x(tmp_path: Path, extra: dict[str, Any], message: str) -> None:
    np.savez(tmp_path / "a.npz", X=np.zeros((4, 2)), **extra)
    with pytest.raises(ValueError, match=message):
        load(tmp_path / "a.npz")


def test_missing_label_column(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", X=np.zeros((4, 2)))
    with pytest.raises(ValueError, match=r"no array 'kind' for the labels: it has X"):
        load(tmp_path / "a.npz", label_column="kind")


# ---------------------------------------------------------------- .csv and .parquet


def write_csv(tmp_path: Path, text: str, encoding: str = "utf-8") -> Path:
    path = tmp_path / "table.csv"
    path.write_bytes(text.encode(encoding))
    return path


@pytest.mark.parametrize("separator", [",", ";", "\t"])
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_csv(tmp_path: Path, separator: str, newline: str) -> None:
    text = '"width, cm",name,size,kind\n1.5,Ann,2,b\n\n-3e2, Bob ,4,a\n 7,"C\nD",6,\n'
    path = write_csv(tmp_path, text.replace(",", separator).replace("\n", newline), "utf-8-sig")
    data = load(path, label_column="kind")
    assert data.X.tolist() == [[1.5, 2], [-300, 4], [7, 6]] and data.X.dtype == np.float64
    assert data.feature_names is not None and data.feature_names[1] == "size"
    assert data.y is not None and data.y.tolist() == [1, 0, -1] and data.class_names == ("a", "b")
    assert data.description == "Left out, as they are not numbers: name."
    assert load(path).y is None
    assert load(path, label_column="kind", n_samples=2).X.shape == (2, 2)


def test_csv_truth_values_are_numbers_and_row_numbers_are_none(tmp_path: Path) -> None:
    for first in ("", "Unnamed: 0"):
        data = load(write_csv(tmp_path, f"{first},wet,size\n4,True,1\n2,false,3\n"))
        assert data.X.tolist() == [[1, 1], [0, 3]] and data.feature_names == ("wet", "size")
        assert data.left_out == (first,) and "number the rows" in data.description


def test_csv_codes_and_lists_are_no_numbers(tmp_path: Path) -> None:
    data = load(write_csv(tmp_path, "month;size;parts\n2024_01;4;1,2,3\n2024_02;5;2,4\n"))
    assert data.X.tolist() == [[4], [5]] and data.left_out == ("month", "parts")


def test_parquet_row_numbers_are_left_out(tmp_path: Path) -> None:
    data = load(write_parquet(tmp_path, {"a": [1.0, 2.0], "__index_level_0__": [7, 3]}))
    assert data.X.tolist() == [[1], [2]] and data.left_out == ("__index_level_0__",)


def test_csv_separators_inside_names_do_not_count(tmp_path: Path) -> None:
    data = load(write_csv(tmp_path, '"a, b, c";"x"\n1;2\n3;4\n'))
    assert data.feature_names == ("a, b, c", "x") and data.X.tolist() == [[1, 2], [3, 4]]


@pytest.mark.parametrize("n_samples", [2.5, "3", True])
def test_n_samples_is_a_whole_number(n_samples: Any) -> None:
    with pytest.raises(ValueError, match=r"n_samples=.* expected 1 to 1797"):
        load("digits", n_samples=n_samples)


def test_16_bit_portable_grey_maps(tmp_path: Path) -> None:
    levels = np.array([[0, 65535], [32768, 256]], ">u2")
    for name in "ab":
        (tmp_path / f"{name}.pgm").write_bytes(b"P5 2 2 65535\n" + levels.tobytes())
    assert load(tmp_path, image_size=np.int64(2)).X[1].tolist() == [[0, 255], [128, 1]]


@pytest.mark.parametrize(
    ("labels", "expected"),
    [("3 7 -1", [3, 7, -1]), ("1.0 2.0 -", [1, 2, -1]), ("10 9 x", [0, 1, 2]), ("2 2 2", [2, 2, 2])],
)
def test_csv_labels(tmp_path: Path, labels: str, expected: list[int]) -> None:
    rows = "".join(
        f"{row},{label.replace('-', '') if label == '-' else label}\n"
        for row, label in enumerate(labels.split())
    )
    data = load(write_csv(tmp_path, "a,label\n" + rows), label_column="label")
    assert data.y is not None and data.y.tolist() == expected
    assert data.feature_names == ("a",)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty"),
        ("a,b\n", "a header but no rows"),
        ("1,2\n3,4\n", "has no names: expected a header"),
        ("a,b\n1,2\n3\n", "line 3 of .* has 1 cells: expected 2"),
        ("a,b\n1,2,3\n", "line 2 of .* has 3 cells"),
        ("a,a\n1,2\n", "several columns called 'a'"),
        ("a,b\nx,y\n", "no column of numbers: it has a, b; expected comma, semicolon or tab"),
        ("a|b\n1|2\n", r"it has a\|b; expected comma, semicolon or tab"),
        ("a;b\n1;2,5\n3;,5\n", "column 'b' of .* has decimal commas, as in '2,5': write"),
        ("a;b\n1;2\n3;4,5\n5;6,5\n", "column 'b' of .* has decimal commas, as in '4,5'"),
        ("a,b\n1,2\n,3\n", r"column 'a' of .* has 1 missing or infinite values, first in row 2"),
        ("a,b\n1,2\nNA,3\n", "missing"),
        ("a,b\n1,2\nnan,3\n", "missing"),
        ("a,b\n1,2\ninf,3\n", "infinite"),
        ("a,b\n1,2\n2,3\n1.2.3,4\n", r"column 'a' of .* in row 3, '1\.2\.3': expected a number"),
        ('a,b\n"1,2\n', "as a table in UTF-8 text"),
    ],
)
def test_bad_csv(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        load(write_csv(tmp_path, text))


def test_csv_in_another_encoding_and_without_the_label_column(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="UTF-8"):
        load(write_csv(tmp_path, "größe,b\n1,2\n", "latin-1"))
    with pytest.raises(ValueError, match=r"no column 'kind' for the labels: it has a, b"):
        load(write_csv(tmp_path, "a,b\n1,2\n"), label_column="kind")
    with pytest.raises(ValueError, match="no column of numbers"):
        load(write_csv(tmp_path, "a\n1\n"), label_column="a")


def write_parquet(tmp_path: Path, columns: dict[str, Any]) -> Path:
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    parquet.write_table(pyarrow.table(columns), tmp_path / "table.parquet")
    return tmp_path / "table.parquet"


def test_parquet(tmp_path: Path) -> None:
    from decimal import Decimal

    columns = {
        "a": [1, 2, 3],
        "b": np.array([0.5, 1.5, 2.5], np.float32),
        "c": [True, False, True],
        "d": [Decimal("1.25"), Decimal("2.50"), Decimal("3.75")],
        "who": ["x", "y", "z"],
        "kind": ["q", None, "p"],
    }
    data = load(write_parquet(tmp_path, columns), label_column="kind")
    assert data.X.tolist() == [[1, 0.5, 1, 1.25], [2, 1.5, 0, 2.5], [3, 2.5, 1, 3.75]]
    assert data.feature_names == ("a", "b", "c", "d") and data.class_names == ("p", "q")
    assert data.y is not None and data.y.tolist() == [1, -1, 0]
    assert "who" in data.description


def test_parquet_keeps_single_precision_and_integer_labels(tmp_path: Path) -> None:
    data = load(write_parquet(tmp_path, {"a": np.ones(2, np.float32), "y": [5, 9]}), label_column="y")
    assert data.X.dtype == np.float32
    assert data.y is not None and data.y.tolist() == [5, 9] and data.class_names is None


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"a": [1, None]}, "column 'a' of .* has 1 missing or infinite values, first in row 2"),
        ({"a": [1.0, float("inf")]}, "infinite"),
        ({"a": ["x"]}, "no column of numbers"),
        ({"a": np.zeros(0)}, "no rows"),
    ],
)
def test_bad_parquet(tmp_path: Path, columns: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        load(write_parquet(tmp_path, columns))


def test_parquet_without_pyarrow_names_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.parquet").write_bytes(b"")
    original = builtins.__import__

    def without(name: str, *args: Any, **kwargs: Any) -> Any:
        if name.startswith("pyarrow"):
            raise ImportError(name)
        return original(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ValueError, match=r"pip install 'genmix\[parquet\]'"):
        load(tmp_path / "a.parquet")


# ---------------------------------------------------------------- folders of images


def picture(
    path: Path, mode: str = "L", size: tuple[int, int] = (4, 3), colour: Any = 0, **options: Any
) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size, colour).save(path, **options)
    return path


def test_grey_images_in_the_order_of_their_names(tmp_path: Path) -> None:
    for name, grey in (("b.png", 20), ("a.bmp", 10), ("c.PNG", 30)):
        picture(tmp_path / "pictures" / name, colour=grey)
    data = load(tmp_path / "pictures")
    assert data.X.shape == (3, 3, 4) and data.X.dtype == np.uint8
    assert data.X[:, 0, 0].tolist() == [10, 20, 30]
    assert (data.name, data.y, data.class_names) == ("pictures", None, None)
    assert load(tmp_path / "pictures", n_samples=2).X.shape == (2, 3, 4)


def test_sub_folders_are_classes(tmp_path: Path) -> None:
    picture(tmp_path / "cat" / "1.png", "RGB", colour=(1, 2, 3))
    picture(tmp_path / "ant" / "deep" / "2.png", "L", colour=7)
    picture(tmp_path / "3.jpg", "RGB", colour=(0, 0, 0))
    data = load(tmp_path)
    assert data.X.shape == (3, 3, 4, 3) and data.class_names == ("ant", "cat")
    assert data.y is not None and data.y.tolist() == [-1, 0, 1]
    assert data.X[1, 0, 0].tolist() == [7, 7, 7] and data.X[2, 0, 0].tolist() == [1, 2, 3]


def test_numbered_sub_folders_are_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    for name in ("10", "9", "1"):
        picture(tmp_path / name / "a.png")
    assert load(tmp_path).class_names == ("1", "9", "10")


def test_what_is_no_image_is_passed_over(tmp_path: Path) -> None:
    picture(tmp_path / "a.png")
    for name in ("notes.txt", ".hidden.png", "__MACOSX/._a.png", ".thumbs/a.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("no image")
    data = load(tmp_path)
    assert data.X.shape == (1, 3, 4) and data.y is None


@pytest.mark.parametrize(
    ("mode", "colour", "expected"),
    [
        ("1", 1, 255),
        ("L", 9, 9),
        ("I;16", 0x1234, 0x12),
        ("LA", (9, 255), 9),
        ("LA", (9, 0), 255),
        ("RGB", (1, 2, 3), [1, 2, 3]),
        ("RGBA", (1, 2, 3, 255), [1, 2, 3]),
        ("RGBA", (1, 2, 3, 0), [255, 255, 255]),
        ("P", 0, [0, 0, 0]),
        ("CMYK", (0, 0, 0, 255), [0, 0, 0]),
    ],
)
def test_kinds_of_pixels(tmp_path: Path, mode: str, colour: Any, expected: Any) -> None:
    picture(tmp_path / ("a.tif" if mode == "CMYK" else "a.png"), mode, colour=colour)
    assert load(tmp_path).X[0, 0, 0].tolist() == expected


def test_photographs_are_turned_upright(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # taken with the camera on its side
    picture(tmp_path / "a.jpg", "RGB", size=(8, 4), exif=exif)
    assert load(tmp_path).X.shape == (1, 8, 4, 3)


def test_images_of_different_sizes(tmp_path: Path) -> None:
    picture(tmp_path / "a.png", size=(4, 3))
    picture(tmp_path / "b.png", size=(5, 6), colour=50)
    message = r"a\.png is 3 x 4 pixels .*b\.png is 6 x 5 pixels .*give image_size=\(height, width\)"
    with pytest.raises(ValueError, match=message):
        load(tmp_path)
    data = load(tmp_path, image_size=(2, 7))
    assert data.X.shape == (2, 2, 7) and data.X[1].tolist() == [[50] * 7] * 2
    assert load(tmp_path, image_size=5).X.shape == (2, 5, 5)


@pytest.mark.parametrize("size", [0, (3,), (3, -1), (2.5, 3)])
def test_bad_image_size(tmp_path: Path, size: Any) -> None:
    picture(tmp_path / "a.png")
    with pytest.raises(ValueError, match=r"image_size=.*expected pixels >= 1"):
        load(tmp_path, image_size=size)


def test_folders_without_images(tmp_path: Path) -> None:
    (tmp_path / "readme.md").write_text("nothing here")
    with pytest.raises(ValueError, match=r"holds no images: expected files ending in \.bmp"):
        load(tmp_path)


@pytest.mark.parametrize("damage", ["empty", "text", "half", "flipped"])
@pytest.mark.parametrize("suffix", [".png", ".jpg"])
def test_damaged_images(tmp_path: Path, damage: str, suffix: str) -> None:
    path = picture(tmp_path / f"a{suffix}", size=(64, 64), colour=90)
    content = path.read_bytes()
    flipped = content[:20] + bytes(byte ^ 255 for byte in content[20:60]) + content[60:]
    bad = {"empty": b"", "text": b"<html>", "half": content[: len(content) // 2], "flipped": flipped}
    path.write_bytes(bad[damage])
    with pytest.raises(ValueError, match=rf"cannot read the image .*a\{suffix}"):
        load(tmp_path)


@pytest.mark.parametrize("start", ["%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "%!PS\n"])
def test_postscript_is_never_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, start: str) -> None:
    def run(*args: Any, **options: Any) -> None:
        started.append(args)
        raise OSError("a program was started")

    started: list[Any] = []
    monkeypatch.setattr(EpsImagePlugin, "has_ghostscript", lambda: True)
    for owner, name in ((subprocess, "Popen"), (os, "system"), (EpsImagePlugin, "Ghostscript")):
        monkeypatch.setattr(owner, name, run)
    (tmp_path / "a.png").write_text(start + "%%EndComments\n(out) (w) file closefile\nshowpage\n%%EOF\n")
    with pytest.raises(ValueError, match=r"cannot read the image .*a\.png: cannot identify") as caught:
        load(tmp_path)
    assert not started and "\n" not in str(caught.value)


def test_large_images_are_refused_by_their_header(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    picture(tmp_path / "a.png", size=(50, 40))
    monkeypatch.setattr(images, "MAX_PIXELS", 2000)
    assert load(tmp_path).X.shape == (1, 40, 50)
    monkeypatch.setattr(images, "MAX_PIXELS", 1999)
    monkeypatch.setattr(ImageFile.ImageFile, "load", lambda self: pytest.fail("decoded"))
    with pytest.raises(
        ValueError, match=r"a\.png: it has 50 x 40 pixels .*at most 1999, and .*make it smaller"
    ):
        load(tmp_path)
    picture(tmp_path / "wide" / "a.png", size=(70_000, 1))
    picture(tmp_path / "webp" / "a.webp", size=(50, 20))
    for name in ("wide", "webp"):
        with pytest.raises(ValueError, match=r"pixels .*expected at most"):
            load(tmp_path / name)


def test_images_of_few_pixels_that_are_long_to_decode_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = picture(tmp_path / "tiff" / "a.tif", size=(10, 10)).read_bytes()
    entries = content[10 : 10 + 9 * 12] + b"".join(
        struct.pack("<HHLL", tag, 4, 1, 9000) for tag in (322, 323)
    )
    (tmp_path / "tiff" / "a.tif").write_bytes(content[:8] + struct.pack("<H", 11) + entries + bytes(200))
    picture(tmp_path / "jpeg" / "a.jpg", size=(500, 500), progressive=True)
    assert load(tmp_path / "jpeg").X.shape == (1, 500, 500)
    content = (tmp_path / "jpeg" / "a.jpg").read_bytes()
    (tmp_path / "jpeg" / "a.jpg").write_bytes(content[:-2] + 1000 * content[content.index(b"\xff\xda") :])
    monkeypatch.setattr(ImageFile.ImageFile, "load", lambda self: pytest.fail("decoded"))
    with pytest.raises(ValueError, match=r"its tiles have 9000 x 9000 pixels: expected at most"):
        load(tmp_path / "tiff")
    with pytest.raises(ValueError, match=r"its \d+ scans are long to decode"):
        load(tmp_path / "jpeg")


def test_warnings_of_pillow_stay_with_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    picture(tmp_path / "a.png", size=(50, 40))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1500)  # from half of an error on it warns
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert load(tmp_path).X.shape == (1, 40, 50)


def test_decompression_bombs_and_unknown_ranges(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    picture(tmp_path / "bomb" / "a.png", size=(50, 50))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    with pytest.raises(ValueError, match=r"cannot read the image .*a\.png.*exceeds limit"):
        load(tmp_path / "bomb")
    picture(tmp_path / "float" / "a.tif", "F", size=(3, 3), colour=0.5)
    with pytest.raises(ValueError, match="32-bit pixels of unknown range"):
        load(tmp_path / "float")


def test_a_local_file_called_like_a_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    picture(tmp_path / "digits" / "a.png")
    assert load("digits").X.shape == (1797, 8, 8)
    assert load("./digits").X.shape == (1, 3, 4)


def test_a_dataset_is_a_plain_record() -> None:
    data = Dataset("mine", np.zeros((2, 2)))
    assert (data.y, data.licence, data.class_names) == (None, "", None)
    with pytest.raises(AttributeError):
        data.name = "other"  # type: ignore[misc]
