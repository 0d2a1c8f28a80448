"""How well maps point, on synthetic pictures with known parts: docs/known-parts.md."""
