"""Data of one's own, described by one block of TOML: tables, arrays, pictures in folders, the answer of a database."""
