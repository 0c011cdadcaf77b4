"""The command `hanse`: one small file a verb. Imports nothing heavy until a verb needs it; only `start` runs a node."""
