"""Map the addresses below ``/api/v1/`` to the shop's views."""

from django.urls import path, register_converter
from django.urls.converters import StringConverter

from .api import views
from .numbers import NUMBER_PATTERN

app_name = "orders"


class OrderNumberConverter(StringConverter):
    """A converter that matches order numbers only, so that no other text reaches the database."""

    regex = NUMBER_PATTERN


register_converter(OrderNumberConverter, "order_number")

urlpatterns = [
    path("auth/token/", views.TokenView.as_view(), name="token"),
    path("products/", views.ProductListView.as_view(), name="products"),
    path("checkout/", views.CheckoutView.as_view(), name="checkout"),
    path("orders/", views.OrderListView.as_view(), name="orders"),
    path("orders/<order_number:number>/", views.OrderView.as_view(), name="order"),
    path("orders/<order_number:number>/cancel/", views.OrderCancelView.as_view(), name="cancel"),
]
