"""The error that this package raises for input it can't use, and a check that all its models make."""


class IDModelError(ValueError):
    """An ID model was asked for something impossible; the message says what and what is accepted."""


def check_length(length: int, longest: int) -> None:
    """Raise IDModelError where histories of ``length`` items are longer than the ``longest`` that a model reads."""
    if length > longest:
        raise IDModelError(f"histories of {length} items, but this model reads at most {longest} (max_length)")
