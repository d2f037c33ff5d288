"""The data sets known by name: what each is, whose it is, and where it is to be had."""

from __future__ import annotations

from dataclasses import dataclass

_DIGITS = tuple("0123456789")
_CC_BY = "CC BY 4.0"


@dataclass(frozen=True)
class Known:
    """One data set known by name.

    Attributes
    ----------
    n, shape, n_classes : int, tuple of int, int
        Rows, shape of one row, and number of classes; labels run from 0 to n_classes - 1.
    file : str
        Name of the archive, in the package if `embedded`, else in a folder of the user's.
    openml_id : int or None
        Number of the data set on OpenML, which never changes its content.
    n_train : int or None
        Where OpenML has the training rows first: their number.
    digest : str
        SHA-256 of what OpenML should give, "" where no lossless copy was there to compute it from.
    how : str
        What a user does to get a set that cannot be fetched.
    """

    name: str
    n: int
    shape: tuple[int, ...]
    n_classes: int
    licence: str
    source: str
    description: str
    file: str = ""
    embedded: bool = False
    splits: tuple[str, ...] = ()
    class_names: tuple[str, ...] | None = None
    openml_id: int | None = None
    n_train: int | None = None
    digest: str = ""
    how: str = ""


_ALL = (
    Known(
        "digits", 1797, (8, 8), 10, _CC_BY,
        "UCI Optical Recognition of Handwritten Digits (test part), with scikit-learn",
        "Handwritten digits, 8 x 8 grey images; the counts 0..16 of the source are scaled to 0..1.",
        embedded=True, class_names=_DIGITS,
    ),
    Known(
        "image-segmentation", 2310, (19,), 7, _CC_BY,
        "UCI Image Segmentation, Vision Group, University of Massachusetts, 1990 (doi 10.24432/C5GP4N)",
        "Regions of outdoor images described by 19 numbers in their own units; the third one is constant.",
        file="image_segmentation.npz", embedded=True, splits=("train", "test"),
    ),
    Known(
        "artificial-characters-ganmm", 30654, (6,), 10, _CC_BY,
        "UCI Artificial Characters, M. Botta, 1992, as prepared in the GANMM authors' repository",
        "One row for each line segment of ten capital letters, already scaled; 4,181 rows are repeated, some "
        "with several labels.",
        file="artificial_characters_ganmm.npz", embedded=True,
    ),
    Known(
        "artificial-characters", 10218, (7,), 10, _CC_BY,
        "UCI Artificial Characters, M. Botta, 1992, as OpenML data set 1459",
        "Line segments of ten capital letters; 5,355 rows are repeated.",
        file="artificial_characters.npz", class_names=tuple(map(str, range(1, 11))), openml_id=1459,
        digest="48233d7e2a9e36d17a256180b4cacaf1ea12f159953c737bc7884d6d03378b1f",
    ),
    Known(
        "mnist", 70000, (28, 28), 10, "CC BY-SA 3.0",
        "Y. LeCun, C. Cortes, C. Burges: MNIST; OpenML data set 554 (mnist_784)",
        "Handwritten digits, grey, 0..255; 60,000 to train and 10,000 to test, in the original order.",
        file="mnist.npz", splits=("train", "test"), class_names=_DIGITS, openml_id=554, n_train=60000,
        digest="e7f05147bcd1994fc7703d87f9043144bb787042c9935c3a9e73644c0db14f8c",
    ),
    Known(
        "cifar10", 60000, (32, 32, 3), 10, "none stated (cite Krizhevsky 2009)",
        "A. Krizhevsky: CIFAR-10; OpenML data set 40927 (CIFAR_10)",
        "Small photographs, colour, 0..255; 50,000 to train and 10,000 to test.",
        file="cifar10_jpeg.npz", splits=("train", "test"), openml_id=40927, n_train=50000,
        class_names=tuple("airplane automobile bird cat deer dog frog horse ship truck".split()),
    ),
    Known(
        "celeba-hair", 5000, (64, 64, 3), 5, "CelebA: non-commercial research only, no redistribution",
        "Z. Liu, P. Luo, X. Wang, X. Tang: CelebA, 2015",
        "Faces, colour, 0..255, 1,000 each of black, blond, brown and grey hair and bald; 144 bald ones also "
        "carry black or grey hair.",
        file="celeba_hair5.npz",
        how="It may not be passed on: download CelebA from its authors under their licence, choose 1,000 "
        "faces each of Black_Hair, Blond_Hair, Brown_Hair, Gray_Hair and Bald, and save X (uint8 "
        "[5000, 64, 64, 3]), y and names with numpy.savez.",
    ),
)  # fmt: skip

#: The data sets by name.
KNOWN: dict[str, Known] = {known.name: known for known in _ALL}
