"""People who are probably one: found by their traits, linked with evidence or put before a steward."""
