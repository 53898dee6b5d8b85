"""What may be shown of sensitive records: nothing that only a few of them have in common."""

from __future__ import annotations

SMALLEST_CELL = 11
"""Fewer records than this are not shown together: the rule of CMS for what is published of Medicare.

(CMS Cell Size Suppression Policy: no cell of 10 or less.)
"""
