"""Training of the small default model: procedural clips, made from picture sets that anyone can install."""
