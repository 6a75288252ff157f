"""The shipped digits are bit for bit what they were, and a wrong MNIST file is one clear sentence."""

from __future__ import annotations

import gzip
import hashlib
import struct
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from p2pfed.learning import datasets
from p2pfed.learning.datasets import MNIST_SOURCE, load_digits, load_mnist, load_npz
from p2pfed.learning.learner import LearnerError

TRAIN_IMAGES, TRAIN_LABELS = "train-images-idx3-ubyte", "train-labels-idx1-ubyte"
TEST_IMAGES, TEST_LABELS = "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"
DIGITS_DIGESTS = [
    ((1400, 64), "16ad50fdf7a959e9"),
    ((1400,), "c8a9f622feca6d24"),
    ((397, 64), "5f864e5775e57912"),
    ((397,), "b5f1d1a3f150683f"),
]


def test_the_digits_and_their_split_never_change() -> None:
    digits = load_digits()
    found = [
        (array.shape, hashlib.sha256(np.ascontiguousarray(array).astype("<i8").tobytes()).hexdigest()[:16])
        for array in (digits.x_train, digits.y_train, digits.x_test, digits.y_test)
    ]
    assert found == DIGITS_DIGESTS
    assert digits.evaluation_root.hex() == "537824095ed3a584129b2737a01eea3719079442e074bbe8410d70fa0584b28b"


def test_the_split_is_the_order_of_the_row_indices_digests() -> None:
    packed = Path(datasets.__file__).parent / "data" / "digits.u8.gz"
    rows = np.frombuffer(gzip.decompress(packed.read_bytes()), np.uint8).reshape(1797, 65)
    order = sorted((hashlib.sha256(struct.pack(">Q", row)).digest(), row) for row in range(1797))
    digits = load_digits()
    for position, (_, row) in enumerate(order):
        x, y = (digits.x_train, digits.y_train) if position < 1400 else (digits.x_test, digits.y_test)
        place = position if position < 1400 else position - 1400
        assert x[place].tolist() == rows[row, :64].tolist()
        assert y[place] == rows[row, 64]


def test_digits_are_scaled_to_the_unit_interval() -> None:
    digits = load_digits()
    features = digits.features(digits.x_train)
    assert features.dtype == np.float32
    assert features.min() == 0.0
    assert features.max() == 1.0
    assert set(digits.y_train.tolist()) == set(range(10))


@pytest.mark.parametrize("damage", [b"", b"no gzip", gzip.compress(bytes(116_805), mtime=0), None])
def test_altered_digits_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, damage: bytes | None
) -> None:
    file = tmp_path / "digits.u8.gz"
    if damage is not None:
        file.write_bytes(damage)
    monkeypatch.setattr(datasets, "_DIGITS_FILE", file)
    with pytest.raises(LearnerError, match="reinstall p2pfed"):
        load_digits()


def idx_images(count: int, side: int = 28, kind: int = 8) -> bytes:
    pixels = (np.arange(count * side * side) % 256).astype(np.uint8)
    return struct.pack(">HBBIII", 0, kind, 3, count, side, side) + pixels.tobytes()


def idx_labels(count: int, label: int = 3) -> bytes:
    return struct.pack(">HBBI", 0, 8, 1, count) + bytes([label]) * count


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / TRAIN_IMAGES).write_bytes(idx_images(6))
    (tmp_path / f"{TRAIN_LABELS}.gz").write_bytes(gzip.compress(idx_labels(6)))
    (tmp_path / f"{TEST_IMAGES}.gz").write_bytes(gzip.compress(idx_images(2)))
    (tmp_path / TEST_LABELS).write_bytes(idx_labels(2))
    return tmp_path


def test_mnist_is_read_plain_or_compressed(folder: Path) -> None:
    mnist = load_mnist(str(folder))
    assert mnist.x_train.shape == (6, 784)
    assert mnist.x_test.shape == (2, 784)
    assert mnist.x_train[1, 0] == 784 % 256
    assert mnist.y_train.tolist() == [3] * 6
    assert mnist.features(mnist.x_train).max() == 1.0


@pytest.mark.parametrize(
    ("name", "data", "reason"),
    [
        (TRAIN_IMAGES, b"", "too short"),
        (TRAIN_IMAGES, idx_images(6)[:-1], "holds less than the 6 items"),
        (TRAIN_IMAGES, idx_images(6) + b"x", "holds more than the 6 items"),
        (TRAIN_IMAGES, idx_images(6, side=27), "no IDX file of 28x28 images"),
        (TRAIN_IMAGES, idx_images(6, kind=9), "no IDX file of 28x28 images"),
        (TRAIN_IMAGES, idx_labels(60), "no IDX file of 28x28 images"),
        (TRAIN_IMAGES, idx_images(5), "5 images and 6 labels"),
        (TRAIN_IMAGES, b"<html>not found, sorry</html>", "no IDX file"),
        (TRAIN_IMAGES, struct.pack(">HBBIII", 0, 8, 3, 0, 28, 28), "claims 0 items"),
        (TRAIN_IMAGES, struct.pack(">HBBIII", 0, 8, 3, 2**32 - 1, 28, 28), "claims 4294967295 items"),
        (TEST_LABELS, idx_labels(2, label=10), "labels in .* go up to 10"),
        (TEST_LABELS, idx_images(2), "no IDX file of labels"),
        (f"{TRAIN_LABELS}.gz", b"plain text", "can't be read"),
        (f"{TRAIN_LABELS}.gz", gzip.compress(idx_labels(6), mtime=0)[:-12], "can't be read"),
        (f"{TRAIN_LABELS}.gz", gzip.compress(b"", mtime=0)[:10] + b"\xff" * 20, "can't be read"),
    ],
)
def test_a_wrong_file_is_named_in_one_sentence(folder: Path, name: str, data: bytes, reason: str) -> None:
    (folder / name).write_bytes(data)
    with pytest.raises(LearnerError, match=reason) as caught:
        load_mnist(str(folder))
    assert "\n" not in str(caught.value)
    assert caught.value.exit_code == 3


def test_a_compressed_bomb_is_not_unpacked(folder: Path) -> None:
    (folder / f"{TRAIN_LABELS}.gz").write_bytes(gzip.compress(idx_labels(6) + bytes(30_000_000), 1))
    tracemalloc.start()
    with pytest.raises(LearnerError, match="more than the 6 items"):
        load_mnist(str(folder))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 5_000_000


def test_missing_files_say_where_to_get_them(folder: Path) -> None:
    (folder / TEST_LABELS).unlink()
    with pytest.raises(LearnerError, match=f"has no {TEST_LABELS}.*{MNIST_SOURCE}"):
        load_mnist(str(folder))
    with pytest.raises(LearnerError, match=f"needs --data-dir.*{MNIST_SOURCE}"):
        load_mnist("")


def saved(path: Path, **arrays: np.ndarray) -> str:
    np.savez(path, **arrays)
    return str(path)


def test_images_of_ones_own_come_from_an_npz_file_whose_last_fifth_is_public(tmp_path: Path) -> None:
    x = np.arange(20 * 4, dtype=np.uint8).reshape(20, 2, 2)
    data = load_npz(saved(tmp_path / "own.npz", x=x, y=np.arange(20, dtype=np.uint8) % 3))
    assert (data.classes, data.pixel_max) == (3, 79)
    assert data.x_train.shape == (16, 4)
    assert data.x_test.tolist() == x[16:].reshape(4, 4).tolist()
    assert data.y_test.tolist() == [1, 2, 0, 1]
    assert data.features(data.x_test).max() == 1


GOOD_X, GOOD_Y = np.zeros((20, 4), np.uint8), np.zeros(20, np.int64)


@pytest.mark.parametrize(
    ("arrays", "reason"),
    [
        ({"x": GOOD_X}, "can't be read"),
        ({"x": GOOD_X.astype(float), "y": GOOD_Y}, "x in .* is float64"),
        ({"x": GOOD_Y.astype(np.uint8), "y": GOOD_Y}, "x in .* of shape"),
        ({"x": GOOD_X, "y": GOOD_Y[:9]}, r"shape \(9,\); whole numbers of shape \(20,\)"),
        ({"x": GOOD_X, "y": GOOD_Y.astype(float)}, "y in .* is float64"),
        ({"x": GOOD_X[:9], "y": GOOD_Y[:9]}, "at least 10"),
        ({"x": GOOD_X, "y": GOOD_Y - 1}, "go from -1 to -1"),
        ({"x": GOOD_X, "y": GOOD_Y + 256}, "0 to 255"),
        ({"x": np.array([None] * 20), "y": GOOD_Y}, "can't be read"),
    ],
)
def test_an_npz_file_that_holds_something_else_is_one_sentence(
    tmp_path: Path, arrays: dict[str, np.ndarray], reason: str
) -> None:
    path = saved(tmp_path / "own.npz", **arrays)
    with pytest.raises(LearnerError, match=reason):
        load_npz(path)


def test_an_npz_file_that_is_none_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "broken.npz").write_bytes(b"PK\x03\x04 and no more")
    for path in (str(tmp_path / "broken.npz"), str(tmp_path / "missing.npz")):
        with pytest.raises(LearnerError, match="can't be read as an"):
            load_npz(path)
    with pytest.raises(LearnerError, match="needs --data-dir"):
        load_npz("")
