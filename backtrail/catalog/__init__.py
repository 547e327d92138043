"""The bundled migrations, one folder each: `migration.py`, the tables in `schema.py`, and data to try it on in `sample.py`."""
