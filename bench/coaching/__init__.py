"""`coaching-redesign` on MongoDB."""
