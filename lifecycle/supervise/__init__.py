"""Long-running servers on one machine: started, watched, restarted and taken down as one.

What keeps processes alive, finds ports, waits for readiness or describes what runs belongs here; what a
server does belongs to its own room. A new server is one more ``Service`` in ``services.py``. The only door
to supervisord, and with ``serving.probe`` to psutil and httpx.
"""
