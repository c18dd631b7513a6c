"""The command line; thin, everything goes through the REST API."""
