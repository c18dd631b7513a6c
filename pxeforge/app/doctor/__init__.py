"""`pxeforge doctor`: what stands in the way of `pxeforge serve`, found before a host finds it."""
