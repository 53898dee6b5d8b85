"""Decides whether a candidate is good enough: metrics, naive baselines, paired comparison, gates, report.

Pure: rows and answers go in, values come out, and one HTML page; nothing is fitted, stored or asked here.
A new metric goes into ``metrics``, a new naive predictor into ``baselines``, a new bound into ``gates``, a
new picture into ``plots``. The only door to matplotlib (``plots``) and Jinja (``report``).
"""
