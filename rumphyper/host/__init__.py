"""Everything that touches the operating system. Knows no frame and no kernel."""
