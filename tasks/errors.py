"""The exceptions that graybench raises on purpose."""


class UserError(ValueError):
    """A mistake in a request.

    The message is one sentence: what is wrong, where, and what to do. The command line prints it and exits
    with status 2.
    """


class NotFiniteError(ArithmeticError):
    """A simulator or a posterior returned NaN or infinity; the cell gets the status `not_finite`."""


class NoTimeError(UserError, NotFiniteError):
    """Times that do not increase.

    They are a mistake in a request. The noise of such a step has a scale √dt that is 0 or not finite, so the
    error is a `NotFiniteError` too.
    """
