"""Labelled images: the digits that ship with p2pfed, MNIST from a folder of IDX files, an .npz of one's own.

Pixels stay bytes until a peer has taken its share, so that a worker never holds 60,000 float images.
"""

from __future__ import annotations

import gzip
import struct
import zipfile
import zlib
from pathlib import Path

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from p2pfed.learning.learner import LearnerError
from p2pfed.primitives.digest import sha256
from p2pfed.primitives.merkle import chunk_root

Pixels = NDArray[np.uint8]
Labels = NDArray[np.int64]
Features = NDArray[np.float32]

DIGITS_SHA256 = "68aea062d35a127749050fa0e52dca09d6569ac08092c925610e0954e172dde2"
_DIGITS_ROWS, _DIGITS_PIXELS, _DIGITS_TRAIN, _DIGITS_PIXEL_MAX = 1797, 64, 1400, 16
_DIGITS_FILE = Path(__file__).parent / "data" / "digits.u8.gz"

_IDX_UNSIGNED_BYTE = 0x08
_IDX_ITEMS_MAX = 1_000_000  # MNIST has 60,000; a header that claims more than this is a wrong file.
_MNIST_SIDE = 28
_MNIST_FILES = (
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
)
_NPZ_ROWS_MIN, _NPZ_CLASSES_MAX = 10, 256  # Labels of the public part are hashed as bytes.
MNIST_SOURCE = "https://ossci-datasets.s3.amazonaws.com/mnist/"


class Dataset(Struct, frozen=True, eq=False):
    """Images and labels. x: uint8, shape `(rows, pixels)`, 0..pixel_max; y: int64, shape `(rows,)`.

    The test part is public: every peer evaluates on it, none trains on it.
    """

    name: str
    classes: int
    pixel_max: int
    x_train: Pixels
    y_train: Labels
    x_test: Pixels
    y_test: Labels

    @property
    def evaluation_root(self) -> bytes:
        """The digest of the test part: chunk root of its pixels, then its labels as bytes."""
        return chunk_root(self.x_test.tobytes() + self.y_test.astype(np.uint8).tobytes())

    def features(self, pixels: Pixels) -> Features:
        """Return `pixels` as float32 in 0..1."""
        return pixels.astype(np.float32) / np.float32(self.pixel_max)


def load_digits() -> Dataset:
    """Return the 1,797 digits, 1,400 to train and 397 to test, split by SHA-256 of the row index.

    Raises:
        LearnerError: The file in the package is missing or altered; reinstall.
    """
    try:
        data = gzip.decompress(_DIGITS_FILE.read_bytes())
    except (OSError, EOFError, zlib.error) as error:
        raise LearnerError(f"the shipped digits can't be read ({error}); reinstall p2pfed") from None
    if sha256(data).hex() != DIGITS_SHA256:
        raise LearnerError(f"{_DIGITS_FILE} is not the file that ships with p2pfed; reinstall p2pfed")
    rows = np.frombuffer(data, np.uint8).reshape(_DIGITS_ROWS, _DIGITS_PIXELS + 1)
    rows = rows[sorted(range(_DIGITS_ROWS), key=lambda row: sha256(row.to_bytes(8, "big")))]
    x, y = rows[:, :-1], rows[:, -1].astype(np.int64)
    cut = _DIGITS_TRAIN
    return Dataset("digits", 10, _DIGITS_PIXEL_MAX, x[:cut], y[:cut], x[cut:], y[cut:])


def load_mnist(data_dir: str) -> Dataset:
    """Return MNIST, or any data set in its format such as Fashion-MNIST, from the four IDX files of a folder.

    Raises:
        LearnerError: No folder, or a file missing, cut short or not what its name says.
    """
    if not data_dir:
        raise LearnerError(f"MNIST needs --data-dir, a folder with the four IDX files of {MNIST_SOURCE}")
    folder = Path(data_dir)
    if not folder.is_dir():
        raise LearnerError(
            f"there is no folder {folder}; --data-dir takes one with the files of {MNIST_SOURCE}"
        )
    x_train, y_train, x_test, y_test = (_read_idx(folder, name) for name in _MNIST_FILES)
    for images, labels, part in ((x_train, y_train, "train"), (x_test, y_test, "t10k")):
        if len(images) != len(labels):
            raise LearnerError(f"{part} has {len(images)} images and {len(labels)} labels in {folder}")
        if labels.max() > 9:
            raise LearnerError(f"the {part} labels in {folder} go up to {labels.max()}; digits end at 9")
    return Dataset("mnist", 10, 255, x_train, y_train.astype(np.int64), x_test, y_test.astype(np.int64))


def load_npz(path: str) -> Dataset:
    """Return labelled images of one's own: an .npz file with x, uint8 of shape `(rows, ...)`, and y, labels.

    The last fifth of the rows is the public test part.

    Raises:
        LearnerError: No file, or it does not hold such arrays.
    """
    if not path:
        raise LearnerError("npz needs --data-dir, the path of an .npz file with the arrays x and y")
    try:
        with np.load(path, allow_pickle=False) as arrays:
            x, y = arrays["x"], arrays["y"]
    except (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile, zlib.error) as error:
        raise LearnerError(f"{path} can't be read as an .npz file with the arrays x and y: {error}") from None
    if x.dtype != np.uint8 or x.ndim < 2 or x[:1].size == 0:
        raise LearnerError(
            f"x in {path} is {x.dtype} of shape {x.shape}; uint8 of shape (rows, pixels) is needed"
        )
    if y.dtype.kind not in "iu" or y.shape != (len(x),) or len(x) < _NPZ_ROWS_MIN:
        raise LearnerError(
            f"y in {path} is {y.dtype} of shape {y.shape}; whole numbers of shape ({len(x)},), at least "
            f"{_NPZ_ROWS_MIN}, are needed"
        )
    labels = y.astype(np.int64)
    if not 0 <= labels.min() <= labels.max() < _NPZ_CLASSES_MAX:
        raise LearnerError(
            f"the labels in {path} go from {labels.min()} to {labels.max()}; 0 to 255 are allowed"
        )
    pixels, cut = x.reshape(len(x), -1), len(x) - len(x) // 5
    classes, brightest = int(labels.max()) + 1, max(1, int(pixels.max()))
    return Dataset("npz", classes, brightest, pixels[:cut], labels[:cut], pixels[cut:], labels[cut:])


def _read_idx(folder: Path, name: str) -> Pixels:
    """Return the bytes of an IDX file: labels of shape `(n,)`, images of shape `(n, pixels)`."""
    path = next((found for found in (folder / name, folder / f"{name}.gz") if found.is_file()), None)
    if path is None:
        raise LearnerError(f"{folder} has no {name} or {name}.gz; get the four files from {MNIST_SOURCE}")
    sides = [_MNIST_SIDE, _MNIST_SIDE] if "images" in name else []
    header = struct.Struct(f">HBB{1 + len(sides)}I")
    try:
        with gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb") as file:
            head = file.read(header.size)
            if len(head) < header.size:
                raise LearnerError(f"{path} is too short for an IDX file")
            zero, kind, rank, items, *found = header.unpack(head)
            if (zero, kind, rank, found) != (0, _IDX_UNSIGNED_BYTE, 1 + len(sides), sides):
                expected = "28x28 images" if sides else "labels"
                raise LearnerError(f"{path} is no IDX file of {expected}; get it again from {MNIST_SOURCE}")
            if not 0 < items <= _IDX_ITEMS_MAX:
                raise LearnerError(f"{path} claims {items} items; 1 to {_IDX_ITEMS_MAX} are allowed")
            length = items * _MNIST_SIDE * _MNIST_SIDE if sides else items
            # One byte more than is due: a longer file is noticed, a compressed bomb is not unpacked.
            data = file.read(length + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise LearnerError(f"{path} can't be read ({error}); get it again from {MNIST_SOURCE}") from None
    if len(data) != length:
        raise LearnerError(
            f"{path} holds {'more' if len(data) > length else 'less'} than the {items} items it claims"
        )
    return np.frombuffer(data, np.uint8).reshape(items, -1) if sides else np.frombuffer(data, np.uint8)
