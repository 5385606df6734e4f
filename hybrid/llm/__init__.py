"""The language-model side: backbone, prompts, item vectors, scorers, recommender."""
