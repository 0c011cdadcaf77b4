"""What keeps a node from starting and is the operator's to mend. Here so that whoever reports it need load nothing."""


class BadStart(Exception):
    """Something the operator gave cannot be run with. The text says what and where."""
