"""Airflow's entry point group `airflow.policy`: the access policy, held where DAGs are loaded."""
