"""What the service counts, and how it is shown: plain numbers in each worker, one sum for whoever asks.

`counts` are the objects that a request touches, `facts` what a worker knows beside them, `files` share both
among the workers, `whole` is their sum, `collector` words it for Prometheus.
"""

from lifecycle.serving.metrics.service import Metrics, add_metrics

__all__ = ["Metrics", "add_metrics"]
