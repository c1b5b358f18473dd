"""Fixtures that test files share."""

from __future__ import annotations

import os

import pytest
from hypothesis import settings

from tests.support.programs import Programs

# Drawn examples are the same in every run; HYPOTHESIS_PROFILE=fresh draws new ones.
settings.register_profile("same", derandomize=True)
settings.register_profile("fresh", derandomize=False)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "same"))


@pytest.fixture(scope="session")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Programs:
    """Compiled programs, each made when a test first asks for it."""
    return Programs(tmp_path_factory.mktemp("programs"))
