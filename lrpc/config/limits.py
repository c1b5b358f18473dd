"""Limits of config files and overrides: what no config comes near, and what keeps reading cheap."""

from __future__ import annotations

#: Bytes of a file. The largest released MaskDINO config has 3 kB, all names of LVIS 30 kB.
FILE = 2**18
#: Bytes of one value on the command line.
VALUE = 2**14
#: Values of a file or override, aliased ones as often as they are used.
VALUES = 20_000
#: Pairs that merge keys (`<<`) of a file or override bring in, all together.
MERGED = 10_000
#: Lists and mappings inside each other.
DEPTH = 32
#: Characters of a number; a float64 is written in 24, and longer integers cost time to the square.
NUMBER = 40
#: Characters of a key.
KEY = 200
#: `_BASE_` files above a file, and files read for one config; each file is read once.
BASES = 32
FILES = 100
#: The largest integer: that of an int64.
INTEGER = 2**63 - 1
