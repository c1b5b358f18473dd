#!/usr/bin/env python3
"""Writes the texts in tests/golden anew. Read the difference before committing it."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from lrpc.compiler import compile_config  # noqa: E402
from lrpc.config import load_config  # noqa: E402
from tests.support import golden  # noqa: E402


def main() -> int:
    """Compile both programs and write what is kept of them."""
    tiny = golden.tiny_program()  # its folder goes with it
    texts = golden.tiny_texts(tiny.directory)
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / "digits"
        attnlrp = ["LRPC.COMPOSITE", "attnlrp", "LRPC.EPSILON", "1e-6"]
        compile_config(load_config(ROOT / "examples" / "maskdino.yaml", attnlrp), output)
        texts |= golden.digits_texts(output)
    golden.FOLDER.mkdir(exist_ok=True)
    for name, text in texts.items():
        path = golden.FOLDER / name
        if not path.is_file() or path.read_text() != text:
            path.write_text(text)
            print(f"{path.relative_to(ROOT)}: written")
    return 0


if __name__ == "__main__":
    sys.exit(main())
