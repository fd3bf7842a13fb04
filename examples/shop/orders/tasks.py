"""What is done in the background."""

from django.utils import timezone

from orders.models import Order
from orders.placing import as_json
from project.tasks import task


@task
def confirm(number: str) -> None:
    """Confirm an order: here a letter would be written. One that was cancelled meanwhile is not found."""
    try:
        order = Order.objects.get_from_cache(number=number)
    except Order.DoesNotExist:
        return
    letter = as_json(order)
    assert letter["lines"], "the task runs after the commit"
    # One UPDATE of these columns and of ``changed``; nothing else of the row is written.
    order.update(confirmed=timezone.now())
