"""What a host is and may become; pure values and tables, no clock, file or socket."""
