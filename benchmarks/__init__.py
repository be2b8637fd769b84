"""Repeatable measurements; ``README.md`` has the figures and the machine they were taken on."""
