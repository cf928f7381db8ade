"""Learning from the natural synchrony of sound and picture, for PyTorch."""

__version__ = "0.1.0"
