"""Instruction tuning on several domains, mixtures of adapters, and ranking by the likelihood of titles."""
