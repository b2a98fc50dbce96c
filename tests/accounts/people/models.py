"""Custom user models."""

from typing import Any
from uuid import uuid4

from django.contrib.auth.models import AbstractBaseUser, BaseUserManager, PermissionsMixin
from django.db import models


class PersonManager(BaseUserManager):  # type: ignore[type-arg]
    """Manager that creates users without a user name."""

    def create(self, **values: Any) -> Any:
        """Create a user who may enter the console."""
        account = self.model(**{"is_staff": True, **values})
        account.set_unusable_password()
        account.save(using=self._db)
        return account


class Account(AbstractBaseUser, PermissionsMixin):
    """Base of both: no user name, and ``is_active`` is not a column."""

    is_staff = models.BooleanField(default=False)

    objects = PersonManager()

    class Meta:
        abstract = True


class Person(Account):
    """User with a UUID as key, who logs in by email address."""

    id = models.UUIDField(primary_key=True, default=uuid4)
    email = models.EmailField(unique=True)
    is_active = models.BooleanField(default=True)

    USERNAME_FIELD = "email"

    class Meta:
        swappable = "AUTH_USER_MODEL"  # has no table where the project uses the other one


class Member(Account):
    """User whose email address is the key and who logs in by a number."""

    email = models.CharField(primary_key=True, max_length=254)
    number = models.PositiveIntegerField(unique=True)

    USERNAME_FIELD = "number"

    class Meta:
        swappable = "AUTH_USER_MODEL"
