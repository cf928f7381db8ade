"""Measuring what a network has learned: synchrony, audio features, result records."""
