"""Computed tags: definitions of what is concluded about people, and what they say."""
