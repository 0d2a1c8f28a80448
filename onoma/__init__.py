"""Onoma: what an image classifier looks at, in words that people chose."""
