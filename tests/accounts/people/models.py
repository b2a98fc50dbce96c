"""Accounts as projects have them."""

from typing import Any
from uuid import uuid4

from django.contrib.auth.models import AbstractBaseUser, BaseUserManager, PermissionsMixin
from django.db import models


class PersonManager(BaseUserManager):  # type: ignore[type-arg]
    """Make accounts that have no user name."""

    def create(self, **values: Any) -> Any:
        """Make an account that may enter the console."""
        account = self.model(**{"is_staff": True, **values})
        account.set_unusable_password()
        account.save(using=self._db)
        return account


class Account(AbstractBaseUser, PermissionsMixin):
    """What both kinds share; nobody has a user name, and being active is no column."""

    is_staff = models.BooleanField(default=False)

    objects = PersonManager()

    class Meta:
        abstract = True


class Person(Account):
    """An account with a UUID for its key, which logs in by mail."""

    id = models.UUIDField(primary_key=True, default=uuid4)
    email = models.EmailField(unique=True)
    is_active = models.BooleanField(default=True)

    USERNAME_FIELD = "email"

    class Meta:
        swappable = "AUTH_USER_MODEL"  # where the other one is the project's, this one has no table


class Member(Account):
    """An account whose mail is its key, and whose number is what it logs in by."""

    email = models.CharField(primary_key=True, max_length=254)
    number = models.PositiveIntegerField(unique=True)

    USERNAME_FIELD = "number"

    class Meta:
        swappable = "AUTH_USER_MODEL"
