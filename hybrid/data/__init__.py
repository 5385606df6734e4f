"""From raw interactions to compact arrays, splits and item text."""
