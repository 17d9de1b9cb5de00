"""What was measured, for a terminal, a document, a program, and as a chart."""
