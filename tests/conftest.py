"""Fixtures that test files share."""

from __future__ import annotations

import pytest

from tests.support.programs import Programs


@pytest.fixture(scope="session")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Programs:
    """Compiled programs, each made when a test first asks for it."""
    return Programs(tmp_path_factory.mktemp("programs"))
