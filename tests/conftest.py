"""Laws are tried without a deadline for one example: what runs beside a test is not its fault."""

from __future__ import annotations

from hypothesis import settings

settings.register_profile("p2pfed", deadline=None)
settings.load_profile("p2pfed")
