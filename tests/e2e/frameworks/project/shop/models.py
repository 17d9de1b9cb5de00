"""A shop: a foreign key, a constraint, JSON, an array, full text."""

from django.contrib.postgres.fields import ArrayField
from django.contrib.postgres.indexes import GinIndex
from django.db import models


class Customer(models.Model):
    """Who buys."""

    name = models.CharField(max_length=100, unique=True)
    tags = ArrayField(models.CharField(max_length=20), default=list)
    extra = models.JSONField(default=dict)

    class Meta:
        indexes = (GinIndex(fields=["tags"]),)


class Order(models.Model):
    """What was bought."""

    customer = models.ForeignKey(Customer, on_delete=models.CASCADE, related_name="orders")
    amount = models.DecimalField(max_digits=10, decimal_places=2)

    class Meta:
        constraints = (
            models.CheckConstraint(condition=models.Q(amount__gt=0), name="is_positive"),
        )
