"""Virtual racks on one computer."""
