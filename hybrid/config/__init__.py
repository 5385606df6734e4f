"""Typed configuration: yaml files, presets and dotted overrides become one frozen `Config`."""
