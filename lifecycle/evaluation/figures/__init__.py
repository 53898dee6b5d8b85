"""The report's pictures, each drawn from plain numbers; the only door to matplotlib.

``style`` holds colours, fonts and the writing of SVG and PNG; ``verdict`` draws intervals and bootstrap
distributions, ``time`` what changes with event time, ``rows`` slices and residuals. A new picture is one
function that answers a ``Figure``, named in ``lifecycle.evaluation.report``.
"""
