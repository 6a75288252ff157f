"""The laboratory's matrix: rules against attacks, each cell a whole training in one process."""
