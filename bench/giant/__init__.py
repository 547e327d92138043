"""One entity with very many rows, among many small ones: a migration of the benchmark's own."""
