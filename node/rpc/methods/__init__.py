"""What can be asked of a node, by topic; `table.py` puts all methods into one table."""
