"""Status transitions at their moment: RQ hints, and the sweep that makes them true."""
