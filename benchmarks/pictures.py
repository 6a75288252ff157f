"""Make the pictures of the pages in docs/images from a real network: `python benchmarks/pictures.py`.

Seven peers, two of them liars, as in the demo. Needs `pip install playwright` and a Chromium; CHROMIUM names
another than /usr/bin/chromium.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

import httpx
from playwright.sync_api import sync_playwright

IMAGES = Path(__file__).parents[1] / "docs" / "images"
HEIGHT = 20
ARGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--disable-background-networking",
        "--disable-component-update", "--disable-sync"]  # fmt: skip


def p2pfed(*arguments: object) -> None:
    subprocess.run(
        [sys.executable, "-m", "p2pfed", *map(str, arguments)], check=True, stdin=subprocess.DEVNULL
    )


def main() -> None:
    folder = Path(tempfile.mkdtemp(prefix="p2pfed-pictures-"))
    net = folder / "net"
    liars = ("--byzantine", "2:sign_flip:scale=4")
    p2pfed("testnet", "create", "--peers", 7, *liars, "--partition", "dirichlet:1.0", "--output", net)
    try:
        p2pfed("testnet", "start", net)
        port = tomllib.loads((net / "peer0" / "config.toml").read_text())["http"]["port"]
        base = f"http://127.0.0.1:{port}"
        with sync_playwright() as playwright:
            chromium = os.environ.get("CHROMIUM", "/usr/bin/chromium")
            browser = playwright.chromium.launch(executable_path=chromium, args=ARGS)
            page = browser.new_page(viewport={"width": 1000, "height": 640}, color_scheme="light")
            while httpx.get(f"{base}/v1/status", timeout=10).json()["height"] < HEIGHT:
                page.wait_for_timeout(250)
            for name, height in (("overview", 640), ("model", 460)):
                page.set_viewport_size({"width": 1000, "height": height})
                page.goto(f"{base}/#{name}")
                page.get_by_text("● live").wait_for()
                page.locator("svg .curve, td.cell").first.wait_for()
                page.screenshot(path=IMAGES / f"page-{name}.png")
            browser.close()
    finally:
        subprocess.run([sys.executable, "-m", "p2pfed", "testnet", "stop", str(net)], check=False)
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
