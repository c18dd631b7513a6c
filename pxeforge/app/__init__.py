"""Settings, assembly and supervision of the running product."""
