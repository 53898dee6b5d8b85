"""The story of one system on real data: `make demo`."""
