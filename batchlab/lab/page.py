"""The page a panel is on, as far as the kernel must know it, and the note that stands in for a panel."""

from __future__ import annotations

from pathlib import Path

import anywidget
import traitlets

# A front end prefers a widget view to any picture beside it, also when the widget is dead; then it
# shows an error. So picture and panel are two outputs, and this note is a third: its style hides the
# still picture and the note while the panel after them lives, and the error once it is dead. It is
# plain CSS, for in a notebook reopened tomorrow no script of ours runs.
_OUTPUT = ".jp-OutputArea-child"
_NOTE = f"{_OUTPUT}:has(.batchlab-note)"
NOTE = f"""<style>
{_NOTE}:has(+ {_OUTPUT} + {_OUTPUT} .batchlab-panel),
{_NOTE} + {_OUTPUT}:has(+ {_OUTPUT} .batchlab-panel),
{_NOTE} + {_OUTPUT} + {_OUTPUT}:has(.jupyter-widgets):not(:has(.jupyter-widgets *)) {{ display: none; }}
</style>
<div class="batchlab-note">A picture of the panel as it was saved. Run this cell for the live panel; if the
notebook is not trusted, trust it first.</div>"""


class Page(anywidget.AnyWidget):
    """What `page.js` tells, for as long as a page shows the panel.

    It also gives every control of the panel its manners: JupyterLab's keys let them alone, and screen
    readers find names and values.

    Attributes
    ----------
    seen : bool
        Whether any of the panel is in sight: what nobody sees need not be drawn.
    narrow : bool
        Whether there is room for the narrow layout only.
    """

    _esm = Path(__file__).with_name("page.js")
    _css = Path(__file__).with_name("page.css")
    seen = traitlets.Bool(True).tag(sync=True)
    narrow = traitlets.Bool(False).tag(sync=True)
