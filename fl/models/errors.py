"""The fault of a model that cannot be had."""


class ModelError(ValueError):
    """A model, or an argument of one, that the registry does not know or does not allow. The asker's fault."""
