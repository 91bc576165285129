"""What the page asks for: one module per view, each with its routes below /page/."""
