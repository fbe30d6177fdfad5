"""What the family of PCI hypercalls is made of: cards, their arena, interrupts."""
