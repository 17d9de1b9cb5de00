"""What an operator runs beside the pooler."""
