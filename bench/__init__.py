"""Speed of a whole migration, as ratios to references that run beside it: the same rows, the same durability, the same final state."""
