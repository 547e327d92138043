"""SQLite as a store: values of their own storage class, whatever the column declares; one writer at a time."""
