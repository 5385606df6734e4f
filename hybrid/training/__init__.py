"""The alternating schedule, both phases, checkpoints and the monitor."""
