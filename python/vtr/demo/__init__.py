"""`vtr demo`: the clips that come with vtr, searched with the built-in model."""
