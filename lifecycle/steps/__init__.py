"""The steps of the loop: use cases composed of pure rooms and ports, each safe to run again.

A step belongs here when it makes one value of the loop from another. Flows give the steps their order,
``wiring`` gives them their adapters, and no step knows which adapter it was given.
"""
