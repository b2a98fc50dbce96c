"""Workshop that engraves mugs: an app of the demo only, whose sagas show every trouble that a saga can have.

The shop's own participants misbehave by cards and postal codes, as those of a real shop would. Misbehaviour that they
never show, such as violating their contract, is here. Installed by ``EXTRA_APPS``.
"""
