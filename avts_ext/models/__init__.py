"""Networks: the towers over picture and sound, and the two-tower model."""
