"""Rows: tables, migrations and the repositories over them."""
