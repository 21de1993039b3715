"""The built-in models: how they are trained, measured and packed."""
