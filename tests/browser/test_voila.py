"""The panel as an app: Voila runs the notebook and shows what its cells put out."""

from __future__ import annotations

from pathlib import Path

from playwright.sync_api import Browser

from tests.browser.conftest import opened
from tests.browser.lab_page import LabServer
from tests.browser.panel_view import PATIENCE, PanelView


def test_panel_is_live_in_voila(
    chromium: Browser, lab_server: LabServer, screenshots: Path
) -> None:
    lab_server.add_notebook(
        "app.ipynb",
        "from batchlab import BatchLab, ClassBalancedSampler, datasets\n"
        "data = datasets.moons(n=300, share=0.2)\n"
        "x, y = data.x_train, data.y_train\n"
        'BatchLab(x, y, strategies={"class-balanced": ClassBalancedSampler})',
    )
    with opened(chromium, lab_server, screenshots) as lab_page:
        page = lab_page.page
        url = f"{lab_server.url}voila/render/app.ipynb?token={lab_server.token}"
        page.goto(url, timeout=3 * PATIENCE)  # it comes when all cells are done
        panel = PanelView(page.locator("body"))
        panel.wait()
        panel.press("Play")
        panel.wait_for_picture(other_than=panel.pixels())
        panel.type("balance", "0.35")
        panel.wait_for_text("balance = 0.35")
        panel.press("Pause")
        panel.wait_for_text("paused")
        lab_page.screenshot("voila")
