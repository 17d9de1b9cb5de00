"""What Django looks for below this name: commands."""
