"""`vtr demo`: clips rendered and encoded on the spot, indexed and searched."""
