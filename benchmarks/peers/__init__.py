"""Other ways to serve the same model, each in a virtual environment of its own, and the limit.

A folder per peer: ``requirements.txt`` (every pin, no address of any registry) and the server a user of it
would write. All load the estimator of one release, ``model.skops``, with the very versions that trained it;
the limit loads the same release's ``model.onnx``. ``registry`` says how each is started and asked.
"""
