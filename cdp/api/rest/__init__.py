"""REST, one file a stage."""
