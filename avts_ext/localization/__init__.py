"""Where in the picture the sound comes from: maps, controls, scores, pictures."""
