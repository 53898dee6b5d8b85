"""The reference systems: each one plug-in of the kind a user writes."""
