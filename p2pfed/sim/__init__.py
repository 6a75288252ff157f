"""The same nodes in virtual time and one process: a bad network, crashes, liars, one seed that repeats it."""
