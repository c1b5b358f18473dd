"""Limits of the text form: what no graph of a model comes near, and what keeps parsing cheap."""

from __future__ import annotations

#: Bytes of a file; the annotated graph of a MaskDINO with 18 layers has 0.5 MB. A byte of text
#: becomes some 30 bytes of graph.
FILE = 16 * 2**20
#: Characters of a name or string. Module paths are short; names go into errors and programs.
NAME = 4096
#: Characters of a number. A float64 is written in 24; longer integers cost time to the square.
NUMBER = 40
#: Lists inside lists in an attribute. Level tables, the deepest there are, have 2.
DEPTH = 8
#: Numbers and names in an extent, such as 2*K*B. MaskDINO's tokens of five levels have 30.
FACTORS = 64
#: Steps after which the floors in extents grow alike again.
PERIOD = 16
#: Extents of a type: torch's own limit.
RANK = 64
#: The largest integer that torch takes as an extent or attribute.
INTEGER = 2**63 - 1
