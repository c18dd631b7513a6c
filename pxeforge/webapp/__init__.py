"""The Flask applications of the three listeners."""
