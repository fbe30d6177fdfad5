"""Loading and measuring links: numbered frames out, and what became of them."""
