"""The two kinds of error that graybench raises on purpose."""


class UserError(ValueError):
    """A mistake in what was asked for.

    The message is one sentence: what is wrong, where, and what to do. The command line prints it and
    ends with exit status 2.
    """


class NotFiniteError(ArithmeticError):
    """A simulator or a posterior gave NaN or an infinite number; the cell gets the status `not_finite`."""
