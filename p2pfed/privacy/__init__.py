"""Where floats end: what leaves the learner becomes integers here."""
