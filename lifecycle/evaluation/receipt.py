"""The receipt of an erasure as a page that a person reads: no script, nothing beside it."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from lifecycle.core.erasure import Receipt


def render(receipt: Receipt, content: bytes, signature: bytes) -> str:
    """The page.

    Args:
        receipt: What it says.
        content: The bytes that were signed, whose digest is shown.
        signature: The signature file.
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("receipt.html.jinja").render(
        receipt=receipt,
        digest=hashlib.sha256(content).hexdigest(),
        key=json.loads(signature)["key"],
        files=sum(len(place.held) for place in receipt.proof.places),
        unseen=[place for place in receipt.proof.places if not place.scanned],
    )
