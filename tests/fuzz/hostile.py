"""Makes hostile files: small valid ones with faults, and files that ask for much while they are small.

`KINDS` has a maker of each kind of file, called with a random generator; it returns the bytes. An ending that
a reader is registered for and that has no maker here fails in test_files.py.
"""

from __future__ import annotations

import io
import json
import os
import struct
import zipfile
import zlib
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import pyarrow as pa
from PIL import Image
from pyarrow import parquet

Rng = np.random.Generator
Maker = Callable[[Rng], bytes]

NAMES = (
    "X",
    "y",
    "names",
    "features",
    "split",
    "arr_0",
    "class_names",
    "feature_names",
    "kind",
    "../X",
    "\x1b[2J",
)
EXTREMES = (0, 1, 127, 128, 255, 32767, 65535, 2**31 - 1, 2**32 - 1, 2**63 - 1, 2**64 - 1)


def one_of(rng: Rng, options: Any) -> Any:
    return options[int(rng.integers(len(options)))]


def damaged(rng: Rng, content: bytes, other: bytes = b"") -> bytes:
    """Change bytes here and there, as one who knows nothing of the format would."""
    found = bytearray(content)
    for _ in range(int(rng.integers(1, 5))):
        at = (
            int(rng.integers(len(found) + 1))
            if rng.random() < 0.5
            else int(rng.integers(min(len(found), 200) + 1))
        )
        match rng.integers(8):
            case 0:
                found[at : at + 1] = rng.bytes(1)
            case 1:
                width = one_of(rng, (1, 2, 4, 8))
                number = one_of(rng, EXTREMES) % 256**width
                found[at : at + width] = number.to_bytes(width, one_of(rng, ("little", "big")))
            case 2:
                del found[at : at + int(rng.integers(1, 40))]
            case 3:
                found[at:at] = rng.bytes(int(rng.integers(1, 40)))
            case 4:
                found[at:at] = found[at : at + int(rng.integers(1, 400))] * int(rng.integers(1, 20))
            case 5:
                del found[at:]
            case 6:
                found[at:at] = bytes(int(rng.integers(1, 5000)))
            case 7:
                found[at:] = other[at:] if other else found[at:][::-1]
    return bytes(found)


# ---------------------------------------------------------------- arrays


def array(rng: Rng) -> bytes:
    """A .npy file, of a header that is true, or of any other."""
    shape = tuple(rng.integers(1, 6, rng.integers(0, 6)).tolist())
    kind = one_of(rng, ("f8", "f4", "i8", "u1", "u1", "f8", "?", "U3", "S2", "M8[s]", "c16", "f2"))
    content = io.BytesIO()
    np.save(content, rng.integers(0, 3, shape).astype(kind))
    return damaged(rng, content.getvalue()) if rng.random() < 0.3 else content.getvalue()


def lying_array(rng: Rng) -> bytes:
    """A .npy file whose header says what is not there, or nothing sensible."""
    kind = one_of(
        rng,
        ("'<f8'", "'|u1'", "'<U0'", "'<U375000000'", "'|O'", "'|V0'", "'|V99999999'", "[('a','<f8')]",
         "'<M8[as]'", "[('a','<f8',(99999,99999))]",
         "5", "None", "'" + "f" * 3000 + "'", "b'<f8'", "'<f9'", "'\\x00'"),
    )  # fmt: skip
    shape = one_of(
        rng,
        ("(5, 2)", "()", "(-1, 2)", "(0, 99999999999999)", "(100000000,)", "(400000000, 1)", "(1, 400000000)",
         "(4294967296, 4294967296)", "(2**70, 1)", "(True, 2)", "(1.5, 2)", "('a',)", "[3, 3]", "None", "5",
         "(" + "1," * 70 + ")", "(" * 200 + ")" * 200, "(9" + "0" * 5000 + ",)", "(" + "-" * 2000 + "1,)"),
    )  # fmt: skip
    order = one_of(rng, ("False", "True", "2", "None"))
    end = one_of(rng, ("", ", 1: 2", "}", ", "))
    text = f"{{'descr': {kind}, 'fortran_order': {order}, 'shape': {shape}{end}}}"
    text = text.encode("latin1") + b" " * int(rng.integers(60)) + one_of(rng, (b"\n", b""))
    version = one_of(rng, (1, 1, 1, 2, 3, 4, 255))
    length = len(text) if rng.random() < 0.8 else one_of(rng, EXTREMES)
    width = 2 if version == 1 else 4
    start = b"\x93NUMPY" + bytes([version, int(rng.integers(2))])
    return start + (length % 256**width).to_bytes(width, "little") + text + bytes(int(rng.integers(500)))


@cache
def zeros(kind: str, shape: tuple[int, ...]) -> bytes:
    content = io.BytesIO()
    np.save(content, np.zeros(shape, kind))
    return content.getvalue()


@cache
def bomb(kind: str, shape: tuple[int, ...], method: int) -> bytes:
    """An archive of one member, large and empty."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", method) as archive:
        archive.writestr("X.npy", zeros(kind, shape))
    return content.getvalue()


METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA)


def archive(rng: Rng) -> bytes:
    """A .npz file of odd members."""
    choice = rng.random()
    if choice < 0.04:
        shape = one_of(rng, ((60_000_000, 1), (1, 60_000_000), (60_000_000,)))
        return bomb("u1", shape, one_of(rng, METHODS[1:]))
    content, method = io.BytesIO(), one_of(rng, METHODS)
    with zipfile.ZipFile(content, "w", method) as file:
        if choice > 0.2:
            file.writestr("X.npy", zeros("f4", (6, 2)))
            file.writestr("y.npy", whole_labels())
        for _ in range(int(rng.integers(4))):
            name = one_of(rng, NAMES) + one_of(rng, (".npy", ".npy", ".npy", "", ".npy.npy", "/"))
            if name in file.namelist():  # zipfile itself warns of names that come twice
                continue
            file.writestr(
                name, one_of(rng, (array, lying_array, listed, big_list, lambda rng: rng.bytes(99)))(rng)
            )
        if choice > 0.98:
            for number in range(2000):
                file.writestr(f"{number}.npy", zeros("u1", (1,)))
    return damaged(rng, content.getvalue()) if rng.random() < 0.4 else content.getvalue()


@cache
def whole_labels() -> bytes:
    content = io.BytesIO()
    np.save(content, np.arange(6) % 2)
    return content.getvalue()


def listed(rng: Rng) -> bytes:
    """A list that may be labels, names or parts."""
    content = io.BytesIO()
    n = one_of(rng, (6, 6, 6, 2, 0))
    kinds = (
        rng.integers(-2, 9, n), rng.integers(0, 2, n) * 1e308, rng.normal(size=n), np.full(n, np.nan),
        np.array([one_of(rng, ("a", "", "\x1b[31m", "1", "-1", "9" * 400, "train")) for _ in range(n)]),
        np.full(n, 2**64 - 1, np.uint64), np.zeros(n, "U0"), np.zeros(n, "S5"), np.zeros(n, "M8[s]"),
        np.zeros(n, [("a", "f8")]), np.zeros(n, complex),
    )  # fmt: skip
    np.save(content, one_of(rng, kinds))
    return content.getvalue()


def big_list(rng: Rng) -> bytes:
    return zeros(one_of(rng, ("u1", "U1", "f4")), (one_of(rng, (2_000_000, 200_000)),))


# ---------------------------------------------------------------- tables

CELLS = ("1", "2.5", "-3e5", "0", "nan", "inf", "1e999", "", "?", "a", "1,5", "1_0", "true", "\x1b[2J",
         "9" * 5000, '"', '""', "\x00", "\N{ARABIC-INDIC DIGIT FIVE}", "\N{CAT FACE}", "=1+1", "x" * 140_000,
         "0x10", "1 2", "-")  # fmt: skip


def text_table(rng: Rng) -> bytes:
    """A .csv file of odd cells, lines and encodings, or one like any other with some damage."""
    if rng.random() < 0.06:
        return one_of(rng, LARGE_TEXTS)
    if rng.random() < 0.4:
        names, rows = ["a", "b c", "label", "d"], int(rng.integers(1, 9))
        cells = [[*rng.normal(size=2).tolist(), one_of(rng, ("x", "y", "")), 7] for _ in range(rows)]
        separator, newline = one_of(rng, ",;\t"), one_of(rng, ("\n", "\r\n"))
        text = newline.join(separator.join(map(str, line)) for line in [names, *cells])
        return damaged(rng, text.encode()) if rng.random() < 0.4 else text.encode()
    separator, newline = one_of(rng, (",", ";", "\t", "|", ",")), one_of(rng, ("\n", "\r\n", "\r", "\n"))
    kinds = ("a", "label", "", "b c", "\x1b]0;x\x07", "\n", "1")
    names = [one_of(rng, kinds) + str(j) for j in range(one_of(rng, (1, 2, 3, 8, 0, 300)))]
    lines = [names, *([one_of(rng, CELLS) for _ in names] for _ in range(rng.integers(6)))]
    if rng.random() < 0.2:
        lines.append(["1"] * int(rng.integers(400)))
    text = newline.join(separator.join(f'"{c}"' if rng.random() < 0.1 else c for c in line) for line in lines)
    content = text.encode(one_of(rng, ("utf-8", "utf-8", "utf-8-sig", "utf-16", "utf-32")), "replace")
    return damaged(rng, content) if rng.random() < 0.3 else content


LARGE_TEXTS = (
    ",".join(f"g{j}" for j in range(20_000)).encode() + b"\n" + b",".join([b"1"] * 20_000),
    b"a" * 3_000_000,
    b'a,b\n1,"' + b"x,\n" * 300_000,
    b"a,b\n" + b"1," * 500_000,
    b"," * 1_000_000,
    b"\n" * 2_000_000,
    b'"' * 1_000_001,
    b"a\n" + b"1\n" * 200_000,
    b"a\n" + b"x\n" * 200_000 + b"1\n",
    b"a,b\n" + b"1," + b"9" * 130_000 + b"\n" + b"1,2\n" * 1000,
    b"a,label\n" + b"1,x\n" * 2000 + b"1," + b"y" * 130_000,
    bytes(3_000_000),
    "a\N{CAT FACE}".encode() + b"a" * 3_000_000,
    b"\xff" * 1000,
)


def column(rng: Rng, n: int) -> Any:
    """A column of any kind that Parquet has."""
    kinds = (
        lambda: pa.array(rng.normal(size=n)),
        lambda: pa.array(np.full(n, 7, np.int64)),
        lambda: pa.array([None, *[1.5] * (n - 1)][:n]),
        lambda: pa.array(["a", "\x1b[2J", "", "9" * 400, None, "1"] * n).slice(0, n),
        lambda: pa.array(["x" * 50_000] * n),
        lambda: pa.array([b"\xff\x00"] * n),
        lambda: pa.array([[1, 2]] * n),
        lambda: pa.array([[[]]] * n),
        lambda: pa.array([{"a": 1, "b": [None]}] * n),
        lambda: pa.array([[("k", 1)]] * n, pa.map_(pa.string(), pa.int8())),
        lambda: pa.array(["u", "v"] * n).slice(0, n).dictionary_encode(),
        lambda: pa.array([10**30] * n, pa.decimal128(38, 2)),
        lambda: pa.array([2**63 - 1] * n).cast(pa.timestamp("ns")),
        lambda: pa.nulls(n),
        lambda: pa.array([True, None] * n).slice(0, n),
        lambda: pa.array(np.full(n, 2**64 - 1, np.uint64)),
        lambda: pa.array(np.full(n, np.nan, np.float16)),
        lambda: pa.array([0] * n, pa.duration("s")),
    )
    return one_of(rng, kinds)()


def parquet_table(rng: Rng) -> bytes:
    """A .parquet file of odd columns, encodings and footers."""
    if rng.random() < 0.05:
        return large_parquet(int(rng.integers(5)))
    n = one_of(rng, (0, 1, 5, 5, 300))
    kinds = ("a", "label", "a.b", "", "\x1b[2J", "y")
    names = [one_of(rng, kinds) + one_of(rng, ("", str(j))) for j in range(4)]
    table = pa.Table.from_arrays([column(rng, n) for _ in names], names=names)
    if rng.random() < 0.4:
        table = pa.table({"a": rng.normal(size=n + 1), "b": column(rng, n + 1), "label": ["x"] * (n + 1)})
    if rng.random() < 0.2:
        table = table.replace_schema_metadata(
            {b"pandas": one_of(rng, (b"{}", b"[[" * 999, b"\xff", b'{"a":1}'))}
        )
    try:
        content = written(
            table, compression=one_of(rng, ("none", "snappy", "gzip", "zstd", "brotli")),
            data_page_version=one_of(rng, ("1.0", "2.0")), use_dictionary=bool(rng.integers(2)),
        )  # fmt: skip
    except (pa.ArrowException, ValueError):  # not every kind can be written
        content = written(pa.table({"a": [1.0]}))
    if rng.random() < 0.6:
        return content
    if rng.random() < 0.5:  # the footer: where the file tells of itself
        size = struct.unpack("<L", content[-8:-4])[0]
        footer = damaged(rng, content[-8 - size : -8])
        return content[: -8 - size] + footer + struct.pack("<L", len(footer)) + b"PAR1"
    return damaged(rng, content)


@cache
def large_parquet(which: int) -> bytes:
    """Megabytes of memory for each kilobyte of the file."""
    if which == 0:
        return written(pa.table({"a": np.zeros(8_000_000)}), compression="zstd", row_group_size=2**26)
    if which == 1:
        texts = pa.DictionaryArray.from_arrays(np.zeros(3_000_000, np.int32), ["x" * 100_000])
        return written(pa.table({"a": np.zeros(3_000_000, np.int8), "label": texts}))
    if which == 2:
        return written(pa.table({f"c{j}": [0.0] for j in range(3000)}))
    if which == 3:
        return hidden_page()
    texts = pa.array(["x" * 100_000] * 2000)
    return written(pa.table({"a": np.zeros(2000), "label": texts}), use_dictionary=False, compression="zstd")


def hidden_page() -> bytes:
    """A page of hundreds of megabytes; the footer tells of ten rows and ten bytes."""
    table = pa.table({"a": np.zeros(40_000_000)})
    whole = written(
        table, compression="zstd", use_dictionary=False, row_group_size=2**28, data_page_size=2**31 - 1,
        max_rows_per_page=2**30, write_batch_size=2**28,
    )  # fmt: skip
    size = struct.unpack("<L", whole[-8:-4])[0]
    footer, metadata = whole[-8 - size : -8], parquet.read_metadata(io.BytesIO(whole))
    for number in (metadata.num_rows, metadata.row_group(0).column(0).total_uncompressed_size):
        told = thrift_number(number)
        footer = footer.replace(told, b"\x94" + b"\x80" * (len(told) - 2) + b"\x00")
    return whole[: -8 - size] + footer + whole[-8:]


def thrift_number(number: int) -> bytes:
    found, number = bytearray(), 2 * number
    while number > 127:
        found.append(number & 127 | 128)
        number >>= 7
    return bytes(found) + bytes([number])


def written(table: Any, **options: Any) -> bytes:
    content = io.BytesIO()
    parquet.write_table(table, content, **options)
    return content.getvalue()


# ---------------------------------------------------------------- images

PICTURES = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".bmp": "BMP", ".gif": "GIF", ".tif": "TIFF",
            ".tiff": "TIFF", ".webp": "WEBP", ".ppm": "PPM", ".pgm": "PPM"}  # fmt: skip
MODES = ("L", "RGB", "RGBA", "P", "LA", "1", "CMYK", "I;16", "I", "F", "YCbCr", "PA")
OTHERS = (
    b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n(/tmp/out) (w) file closefile\n",
    b"%!PS\n{ } loop\n", b"\xc5\xd0\xd3\xc6" + bytes(26) + b"%!PS-Adobe-3.0 EPSF-3.0\n",
    b"%PDF-1.4\n1 0 obj<</Type/Catalog>>endobj\n%%EOF", b"<svg xmlns='http://www.w3.org/2000/svg'/>",
    b"<?xml version='1.0'?><!DOCTYPE a [<!ENTITY b 'c'>]><svg>&b;</svg>", b"8BPS\x00\x01" + bytes(40),
    b"\x00\x00\x01\x00\x01\x00" + bytes(40), b"SIMPLE  =                    T" + b" " * 2850,
    b"II\x2b\x00\x08\x00", b"P6 99999999999 9999999999 255\n", b"P3 3 3 255\n" + b"1 " * 500_000,
    b"P5 7000 7000 65535\n",     b"P4 9 9\n",
    b"Pf\n3 3\n-1.0\n" + bytes(36), b"P7\nWIDTH 1\nHEIGHT 1\nENDHDR\n",
    b"\xd7\xcd\xc6\x9a" + bytes(60), b"GIF89a", b"",
)  # fmt: skip


def image(rng: Rng, suffix: str = ".png") -> bytes:
    """An image with faults, or of another format than its name says."""
    choice = rng.random()
    if choice < 0.08:
        return one_of(rng, OTHERS)
    kind = PICTURES[suffix] if choice < 0.9 else one_of(rng, tuple(PICTURES.values()))
    content = picture(rng, kind)
    if rng.random() < 0.35:
        return content
    if rng.random() < 0.6:
        return reshaped(rng, content)
    return damaged(rng, content, picture(rng, kind))


def picture(rng: Rng, kind: str) -> bytes:
    """A picture, of one of the kinds of pixels that the format has, with some of its options."""
    size = one_of(rng, ((6, 5), (6, 5), (1, 1), (60, 40), (2000, 3)))
    pixels = Image.fromarray(rng.integers(0, 256, (size[1], size[0], 3)).astype(np.uint8))
    options: dict[str, Any] = {}
    if kind in ("GIF", "WEBP", "PNG", "TIFF") and rng.random() < 0.2:
        options = {"save_all": True, "append_images": [pixels] * int(rng.integers(1, 40))}
    if rng.random() < 0.3:
        exif = Image.Exif()
        exif[274] = one_of(rng, (1, 3, 6, 8, 99, 0))
        options["exif"] = damaged(rng, exif.tobytes()) if rng.random() < 0.5 else exif.tobytes()
    if kind == "JPEG":
        options["progressive"] = bool(rng.integers(2))
    if kind == "TIFF":
        options["compression"] = one_of(rng, ("raw", "tiff_lzw", "tiff_adobe_deflate", "packbits", "jpeg"))
    if kind in ("PNG", "GIF") and rng.random() < 0.2:
        options["transparency"] = 0
    mode = one_of(rng, MODES)
    content = io.BytesIO()
    try:
        (pixels.convert("RGBA") if mode == "PA" else pixels).convert(mode).save(content, kind, **options)
    except Exception:  # not every format has every kind of pixels
        content = io.BytesIO()
        pixels.convert("L").save(content, kind)
    return content.getvalue()


SIDES = (0, 1, 7, 5000, 7000, 13_000, 40_000, 65_535, 2**31 - 1)


def reshaped(rng: Rng, content: bytes) -> bytes:
    """A header that promises other sides than there are pixels for; checksums are right."""
    found, width, height = bytearray(content), one_of(rng, SIDES), one_of(rng, SIDES)
    if content.startswith(b"\x89PNG"):
        found[16:24] = struct.pack(">LL", width, height)
        if rng.random() < 0.3:
            found[24:29] = bytes(
                [one_of(rng, (1, 2, 4, 8, 16)), one_of(rng, (0, 2, 3, 4, 6)), 0, 0, one_of(rng, (0, 1))]
            )
        found[29:33] = struct.pack(">L", zlib.crc32(found[12:29]))
        if rng.random() < 0.3:  # and as many zeros as fit
            data = zlib.compress(bytes(min(width * height, 10_000_000)), 1)
            chunk = b"IDAT" + data
            found[33:] = struct.pack(">L", len(data)) + chunk + struct.pack(">L", zlib.crc32(chunk))
    elif content.startswith(b"GIF8"):
        found[6:10] = struct.pack("<HH", width % 65536, height % 65536)
        if rng.random() < 0.5 and (at := content.find(b"\x2c\x00\x00\x00\x00")) > 0:
            found[at + 5 : at + 9] = struct.pack("<HH", width % 65536, height % 65536)
    elif content.startswith(b"BM"):
        found[18:26] = struct.pack("<ll", width, height if rng.random() < 0.8 else -height)
        found[28:30] = struct.pack("<H", one_of(rng, (1, 4, 8, 16, 24, 32)))
        found[30:34] = struct.pack("<L", one_of(rng, (0, 1, 2, 3)))
    elif content.startswith(b"RIFF"):
        found[24:30] = struct.pack("<LL", width, height)[:6]
    elif content.startswith(b"P"):
        found[: content.index(b"\n") + 1] = one_of(rng, (b"P5", b"P6", b"P2", b"P3", b"P1")) + b"\n"
        found[3:3] = f"{width} {height}\n".encode()
    elif content.startswith((b"II", b"MM")):
        order = "<" if content.startswith(b"II") else ">"
        for _ in range(int(rng.integers(1, 4))):
            tag = one_of(rng, (256, 257, 258, 259, 262, 273, 277, 278, 279, 317, 322, 323, 338, 34665))
            at = content.find(struct.pack(f"{order}H", tag))
            if at > 0:
                found[at + 8 : at + 12] = struct.pack(f"{order}L", one_of(rng, (*SIDES, 2, 5, 32)))
                if rng.random() < 0.3:
                    found[at : at + 2] = struct.pack(f"{order}H", one_of(rng, (322, 323, 530, 34665)))
    elif (
        content.startswith(b"\xff\xd8")
        and (at := max(content.find(b"\xff\xc0"), content.find(b"\xff\xc2"))) > 0
    ):
        found[at + 5 : at + 9] = struct.pack(">HH", height % 65536, width % 65536)
        if (scan := content.find(b"\xff\xda")) > 0 and rng.random() < 0.5:
            found[scan:-2] = found[scan:-2] * int(rng.integers(1, 200))
    return bytes(found)


# ---------------------------------------------------------------- lines of finished runs


def lines(rng: Rng, records: list[dict[str, Any]]) -> bytes:
    """A .jsonl file: records with other values, cut lines, and things that are no records."""
    odd = (
        None,
        [],
        {},
        "",
        "\x1b[2J",
        -1,
        1e308,
        float("nan"),
        True,
        "../..",
        [[]],
        {"a": {}},
        10**400,
        "x" * 10_000,
    )
    found = []
    for _ in range(int(rng.integers(1, 9))):
        record = dict(one_of(rng, records))
        for _ in range(int(rng.integers(3))):
            record[one_of(rng, list(record))] = one_of(rng, odd)
        found.append(json.dumps(record))
    found.append(
        one_of(rng, ("[" * 100_000, '{"a":' * 5000, "null", "9" * 5000, '"\\ud800"', "{}", "\x00", "NaN"))
    )
    content = "\n".join(one_of(rng, found) for _ in found).encode()
    return damaged(rng, content) if rng.random() < 0.3 else content


#: A maker for each kind of file that readers are registered for, by its ending.
KINDS: dict[str, Maker] = {
    ".csv": text_table,
    ".npy": lambda rng: (array if rng.random() < 0.4 else lying_array)(rng),
    ".npz": archive,
    ".parquet": parquet_table,
    **{suffix: (lambda rng, suffix=suffix: image(rng, suffix)) for suffix in PICTURES},
}


#: More makers of files of labels.
LABELS: dict[str, Maker] = {".npy": lambda rng: (listed if rng.random() < 0.6 else lying_array)(rng)}


def no_plain_files(folder: Any, target: Any) -> list[Any]:
    """What stands where a file is expected: pipes, links, devices, folders."""
    found = []
    for number, suffix in enumerate(KINDS):
        for kind in ("pipe", "link to nothing", "loop", "device", "folder", "link to a device", "sparse"):
            path = folder / f"{number}-{kind}".replace(" ", "-") / f"a{suffix}"
            path.parent.mkdir()
            match kind:
                case "pipe":
                    os.mkfifo(path)
                case "link to nothing":
                    path.symlink_to(folder / "nothing")
                case "loop":
                    path.symlink_to(path)
                case "device":
                    path.symlink_to("/dev/zero")
                case "folder":
                    path.mkdir()
                case "link to a device":
                    path.symlink_to("/dev/tty")
                case "sparse":
                    path.touch()
                    os.truncate(path, 2**33)
            found.append(path)
    return found
