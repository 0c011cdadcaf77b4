"""Simulated federations as a person asks for them: run files, live progress, result files, checkpoints, pictures.

What happens in a federation is in `fl/simulate`; this package reads and writes around it.
"""
