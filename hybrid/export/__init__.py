"""Forms in which the improved ID model leaves the run: everything it learnt is in its own weights."""
