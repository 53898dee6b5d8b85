"""The live page: what answers, since when and from what, how it does, and a form to try it.

One HTML page, rendered here, with its style and script inside: no build step, nothing from elsewhere, and a
content security policy that allows nothing else. Without JavaScript it is a page to reload.
"""

from lifecycle.serving.page.render import add_page, render_page
from lifecycle.serving.page.view import (
    LiveView,
    LogView,
    PageView,
    Switch,
    SystemView,
    WaitingView,
    status,
)

__all__ = [
    "LiveView",
    "LogView",
    "PageView",
    "Switch",
    "SystemView",
    "WaitingView",
    "add_page",
    "render_page",
    "status",
]
