"""From labelled rows to the files of a release: fit, convert to ONNX, prove parity, profile the data.

The only door to scikit-learn, skl2onnx, ONNX, skops and pandas. ``fit.train_model`` is the way in. A new
estimator of ours goes beside ``trend.py``, its converter into ``converters.py``; a check that every model
must pass before it leaves goes into ``guards.py`` (before conversion) or ``parity.py`` (after it), and rows
to ask it into ``probes.py``. ``choice.py`` decides whether ONNX serves a model or the estimator itself;
``estimator_server.py`` runs that in a process of its own.
"""
