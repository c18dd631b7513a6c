"""How fast pxeforge is, side by side with its peers in one run: `python -m bench`."""
