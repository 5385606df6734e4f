"""The error that this package raises for input it can't use."""


class IDModelError(ValueError):
    """An ID model was asked for something impossible; the message says what and what is accepted."""
