"""A workshop that engraves mugs: an app of the demo alone, whose sagas get into every trouble a saga can get into.

The shop's own participants misbehave by cards and postal codes, as those of a real shop would; what they never do,
such as breaking a promise, happens here. Installed by ``EXTRA_APPS``.
"""
