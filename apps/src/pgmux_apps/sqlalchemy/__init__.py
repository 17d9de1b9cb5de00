"""SQLAlchemy behind a pooler: settings from the environment, metrics, health, leaks."""
