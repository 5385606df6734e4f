"""The error that this package raises for input it can't use."""


class BridgeError(ValueError):
    """A bridge was given something that doesn't fit; the message says what and what is accepted."""
