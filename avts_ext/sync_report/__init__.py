"""Is a file in sync, and by how much is it off? Estimates, their confidence, and the repair."""
