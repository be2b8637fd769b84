"""Deriving everybody's states anew, when other policies come in force."""
