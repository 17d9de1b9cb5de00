"""Two views that ask the database, one of them from async code."""

from django.contrib.contenttypes.models import ContentType
from django.db import connection
from django.http import HttpResponse
from django.urls import path


def sync(request):
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")
        return HttpResponse(str(cursor.fetchone()[0]))


async def asynchronous(request):
    return HttpResponse(str(await ContentType.objects.acount()))


urlpatterns = [path("sync", sync), path("async", asynchronous)]
