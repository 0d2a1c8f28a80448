"""The main job on real photographs, as `onoma demo` runs it: two roads, one set of steps."""
