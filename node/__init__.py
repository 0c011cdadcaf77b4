"""The daemon: all input and output, few decisions."""
