"""Consent signals of the outside world, one pure adapter each onto ``Statement``."""
