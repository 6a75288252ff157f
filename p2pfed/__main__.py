"""`python -m p2pfed` is `p2pfed`."""

from __future__ import annotations

from p2pfed.cli.main import main

main()
