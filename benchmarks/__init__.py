"""Measurements: each runs its baseline in the same process, checks results first, and prints ratios."""
