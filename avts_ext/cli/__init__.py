"""The command line: ``avts VERB``."""
