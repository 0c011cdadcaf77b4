"""Whole nodes on virtual time, from one seed. See docs/simulation.md; `world.py` is the file to read first."""
