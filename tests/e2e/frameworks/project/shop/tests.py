"""What Django does all day, run by `django-admin test` through the pooler."""

from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal

from django.contrib.auth import get_user_model
from django.contrib.postgres.search import SearchVector
from django.db import IntegrityError, connection, models, transaction
from django.test import TestCase, TransactionTestCase

from shop.models import Customer, Order


class Queries(TestCase):
    """Each in a transaction that is rolled back, with savepoints inside."""

    def test_objects_are_made_read_changed_and_deleted(self) -> None:
        made = Customer.objects.create(name="Ada", tags=["a", "b"], extra={"x": [1, None]})
        Order.objects.bulk_create(Order(customer=made, amount=Decimal(n)) for n in range(1, 101))
        self.assertEqual(made.orders.aggregate(sum=models.Sum("amount"))["sum"], 5050)
        self.assertEqual(Customer.objects.get(tags__contains=["b"]).extra, {"x": [1, None]})
        found = Customer.objects.annotate(search=SearchVector("name")).filter(search="ada")
        self.assertEqual(found.count(), 1)
        self.assertEqual(Order.objects.filter(amount__gt=50).update(amount=1), 50)
        self.assertEqual(made.delete()[0], 101)

    def test_an_error_ends_its_savepoint_alone(self) -> None:
        Customer.objects.create(name="Ada")
        with self.assertRaises(IntegrityError), transaction.atomic():
            Customer.objects.create(name="Ada")
        self.assertEqual(Customer.objects.count(), 1)

    def test_a_long_result_is_iterated_in_parts(self) -> None:
        Customer.objects.bulk_create(Customer(name=f"customer {n}") for n in range(3000))
        names = {customer.name for customer in Customer.objects.iterator(chunk_size=100)}
        self.assertEqual(len(names), 3000)

    def test_the_startup_options_hold_in_every_transaction(self) -> None:
        with connection.cursor() as cursor:
            cursor.execute("SHOW statement_timeout")
            self.assertEqual(cursor.fetchone(), ("30s",))
            cursor.execute("SHOW application_name")
            self.assertEqual(cursor.fetchone(), ("shop",))


class Transactions(TransactionTestCase):
    """With commits, and truncation afterwards."""

    def test_threads_lock_rows_and_lose_no_update(self) -> None:
        customer = Customer.objects.create(name="Ada", extra={"n": 0})

        def add(_: int) -> None:
            try:
                with transaction.atomic():
                    locked = Customer.objects.select_for_update().get(pk=customer.pk)
                    locked.extra["n"] += 1
                    locked.save()
            finally:
                connection.close()

        with ThreadPoolExecutor(8) as threads:
            list(threads.map(add, range(40)))
        customer.refresh_from_db()
        self.assertEqual(customer.extra, {"n": 40})

    def test_users_log_in(self) -> None:
        get_user_model().objects.create_user("ada", password="secret")
        self.assertTrue(self.client.login(username="ada", password="secret"))
