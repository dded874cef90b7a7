"""Writes the two data sets that glassbox-data embeds, from the copies inside scikit-learn.

    python tools/embed_data.py

Formats (bits are stored lowest first, within a byte and within a value):

digits.bin         per image: a label of 4 bits, then 64 pixels in row-major order, each a bit 0 for the value 0, or a bit 1
                   and 4 bits of value - 1 (values are 0..16).
breast_cancer.bin  30 columns of 2 bytes: number of decimals, width in bits. Then per row: a label of 1 bit, then each
                   value times 10^decimals as an integer of the column's width. Dividing gives the exact double again.

Prints the figures that crates/data/tests/embedded.rs compares with.
"""

import csv
import struct
from decimal import Decimal
from pathlib import Path

import sklearn
import sklearn.datasets

OUT = Path(__file__).parent.parent / "crates" / "data" / "src" / "embedded"


class Bits:
    def __init__(self):
        self.value, self.length = 0, 0
        self.bytes = bytearray()

    def push(self, value, width):
        assert 0 <= value < 1 << width
        self.value |= value << self.length
        self.length += width
        while self.length >= 8:
            self.bytes.append(self.value & 255)
            self.value >>= 8
            self.length -= 8

    def finish(self):
        if self.length:
            self.bytes.append(self.value)
        return bytes(self.bytes)


def digits():
    data = sklearn.datasets.load_digits()
    bits = Bits()
    for pixels, label in zip(data.data, data.target):
        bits.push(int(label), 4)
        for pixel in pixels:
            assert pixel == int(pixel) and 0 <= pixel <= 16
            bits.push(int(pixel > 0), 1)
            if pixel > 0:
                bits.push(int(pixel) - 1, 4)
    (OUT / "digits.bin").write_bytes(bits.finish())
    print("digits: rows", len(data.target), "sum", int(data.data.sum()), "labels", int(data.target.sum()))
    position = sum((i + 1) * (int(v) + 1) for i, v in enumerate(data.data.reshape(-1)))
    print("  sum of (flat index + 1) * (value + 1):", position)
    print("  sum of (row + 1) * label:", sum((i + 1) * int(v) for i, v in enumerate(data.target)))
    for row in (0, 1796):
        print(f"  row {row}: label {data.target[row]}, {[int(v) for v in data.data[row]]}")


def breast_cancer():
    data = sklearn.datasets.load_breast_cancer()
    text = Path(sklearn.datasets.__file__).parent / "data" / "breast_cancer.csv"
    with open(text, newline="") as file:
        rows = list(csv.reader(file))[1:]
    columns = list(zip(*rows))[:30]
    decimals = [max(max(0, -Decimal(v).normalize().as_tuple().exponent) for v in column) for column in columns]
    scaled = [[int(Decimal(v).scaleb(d)) for v in column] for column, d in zip(columns, decimals)]
    widths = [max(column).bit_length() for column in scaled]
    bits = Bits()
    for d, width in zip(decimals, widths):
        bits.push(d, 8)
        bits.push(width, 8)
    for i in range(len(rows)):
        bits.push(int(data.target[i]), 1)
        for j in range(30):
            assert scaled[j][i] / 10.0 ** decimals[j] == data.data[i, j]
            bits.push(scaled[j][i], widths[j])
    (OUT / "breast_cancer.bin").write_bytes(bits.finish())
    print("breast cancer: rows", len(rows), "labels", int(data.target.sum()), "names", list(data.target_names))
    print("  features:", list(map(str, data.feature_names)))
    print("  xor of bits rotated left by the flat index:", hex(fingerprint(data.data.reshape(-1))))
    for row in (0, 568):
        print(f"  row {row}: label {data.target[row]}, {[float(v) for v in data.data[row]]}")


def fingerprint(values):
    """Depends on every bit of every double and on their order."""
    result = 0
    for i, value in enumerate(values):
        (word,) = struct.unpack("<Q", struct.pack("<d", value))
        turn = i % 64
        result ^= ((word << turn) | (word >> (64 - turn))) & ((1 << 64) - 1)
    return result


if __name__ == "__main__":
    print("scikit-learn", sklearn.__version__)
    digits()
    breast_cancer()
