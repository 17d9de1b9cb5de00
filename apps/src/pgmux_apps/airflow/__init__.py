"""Airflow behind a pooler: its access policy, checked at run time and from source."""
