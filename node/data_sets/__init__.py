"""Data sets that papers use, fetched from where they come from, whole and as pinned, or not at all."""
