"""Open-loop load and what it finds: how late answers are at a rate, and the highest rate that meets a budget.

``generator`` sends requests on a schedule that no answer can delay, ``search`` decides which rates to try
(pure), ``capacity`` starts what is measured. The requirement gates and ``lifecycle capacity`` both use it.
"""
