"""False updates, one way to make them per file: pure mathematics on what a liar sees."""
