"""Strategies: the rule of a round, one small file each, named by the request (DESIGN D8b)."""
