"""Everybody's links under other rules: what would change, and changing it in the background."""
