"""Scores, comparisons and the choice of settings."""
