"""Formats in which the improved ID model leaves the system."""
