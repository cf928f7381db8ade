"""Ablations: how a score changes with the length of pretraining, and with the data for it."""
