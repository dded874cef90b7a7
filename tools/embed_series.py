"""Writes the monthly series that glassbox-data embeds, from NOAA's record as a CSV file.

    git clone https://github.com/datasets/co2-ppm ../co2-ppm && git -C ../co2-ppm checkout 146bdc608e10
    python tools/embed_series.py ../co2-ppm/data/co2-mm-mlo.csv

That repository mirrors https://gml.noaa.gov/webdata/ccgg/trends/co2/co2_mm_mlo.csv; the column that it calls `Average` is
NOAA's `average`. Taken are the months from 1974-05, the first that NOAA itself measured, to 2025-12, the last whole year.

mauna_loa_co2.bin  a value per month: hundredths of a ppm as two bytes, the lower first.

Prints the figures that the tests in crates/data/src/series compare with.
"""

import csv
import struct
import sys
from decimal import Decimal
from pathlib import Path

OUT = Path(__file__).parent.parent / "crates" / "data" / "src" / "embedded" / "mauna_loa_co2.bin"
FIRST, LAST = (1974, 5), (2025, 12)


def main():
    with open(sys.argv[1], newline="") as file:
        rows = {tuple(map(int, row[0].split("-"))): Decimal(row[2]) for row in list(csv.reader(file))[1:]}
    months = [(month // 12, month % 12 + 1) for month in range(FIRST[0] * 12 + FIRST[1] - 1, LAST[0] * 12 + LAST[1])]
    hundredths = [int(rows[month] * 100) for month in months]
    assert all(rows[month] * 100 == value for month, value in zip(months, hundredths))
    OUT.write_bytes(struct.pack(f"<{len(hundredths)}H", *hundredths))
    print("months", len(months), "sum", sum(hundredths))
    print("sum of (index + 1) * value:", sum((i + 1) * v for i, v in enumerate(hundredths)))
    print("first", hundredths[:3], "last", hundredths[-3:])


if __name__ == "__main__":
    main()
