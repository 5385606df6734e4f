"""What crosses between the ID recommender and the LLM recommender; neither side is imported here."""
