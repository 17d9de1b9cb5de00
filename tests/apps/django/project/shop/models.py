"""One table."""

from django.db import models


class Customer(models.Model):
    """Who buys."""

    name = models.CharField(max_length=100)
