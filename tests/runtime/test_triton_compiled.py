"""Triton's compiler takes every kernel for the GPUs that programs run on; none is needed for that.

An interpreter takes more than the compiler does: types that change in a loop, for example.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SHAPE = {"H": 8, "L": 4, "P": 4, "BQ": 16, "BD": 32}
KERNELS = {  # the constants that each is compiled for, and how many warps run it
    "stab_mul_kernel": ({"BM": 1024}, 4),
    "ratio_kernel": ({"BM": 1024}, 4),
    "sample_kernel": (SHAPE, 4),
    "splat_kernel": (SHAPE, 4),
    "weights_kernel": (SHAPE, 4),
    "entries_kernel": ({"BORDER": True, "H": 8, "L": 4, "P": 4, "BN": 256}, 4),
    "gather_kernel": ({"BE": 32, "BD": 32}, 1),
}
NARROW = r"cst(_\d+)?|d|j(_\d+)?"  # constants, channels of one row, entries of a 32-bit table


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """For each kernel, type of its tensors and kind of its sizes: what the compiler made of it."""
    pytest.importorskip("triton")
    cache = tmp_path_factory.mktemp("triton")
    done = subprocess.run(
        [sys.executable, str(ROOT / "tests/support/triton_offline.py"), json.dumps(KERNELS)],
        cwd=ROOT, capture_output=True, text=True,
        env={**os.environ, "TRITON_INTERPRET": "0", "TRITON_CACHE_DIR": str(cache)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-4000:]
    found: dict[str, str] = json.loads(done.stdout)
    return found


@pytest.mark.parametrize("sizes", ["i32", "one"])
@pytest.mark.parametrize("dtype", ["fp32", "bf16", "fp16"])
@pytest.mark.parametrize("kernel", KERNELS)
def test_a_kernel_compiles_for_an_h200(
    compiled: dict[str, str], kernel: str, dtype: str, sizes: str
) -> None:
    text = compiled[f"{kernel} {dtype} {sizes}"]
    assert f"tt.func public @{kernel}(" in text
    assert "tt.store" in text or "tt.atomic_rmw" in text


@pytest.mark.parametrize("kernel", KERNELS)
def test_offsets_into_what_has_seeds_are_64_bits_wide(
    compiled: dict[str, str], kernel: str
) -> None:
    text = compiled[f"{kernel} fp32 i32"]
    steps = re.findall(r"tt\.addptr %\w+, %(\w+) : \S*!tt\.ptr<f32>>?, (\S+)", text)
    assert steps
    narrow = [name for name, kind in steps if "i64" not in kind]
    assert [name for name in narrow if not re.fullmatch(NARROW, name)] == []
