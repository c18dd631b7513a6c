"""What pages and API ask the database with ten thousand hosts in it; for wall time see bench/scale.py."""
