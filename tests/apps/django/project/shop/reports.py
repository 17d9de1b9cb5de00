"""Reads many rows: one way that a transaction pool breaks, and one that it doesn't."""

from django.db import transaction

from shop.models import Customer


def names():
    return [customer.name for customer in Customer.objects.iterator()]


def names_at_once():
    with transaction.atomic():
        return [customer.name for customer in Customer.objects.iterator()]
