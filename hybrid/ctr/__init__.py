"""Task ctr: whether a user likes one item, judged by a click model and by a language model."""
