"""Training steps of a plain network, compiled: forward, backward, Adam and averaging of one replicate.

A replicate has its parameters in one row, all weights W_0 … W_D and then all biases b_0 … b_D, see
`ReplicatedMLP.flatten`. What a step uses stays in a core's cache until the next step. The products
are OpenBLAS's; what is between them, LLVM vectorises. Compilation takes some seconds once, and numba keeps
the result on disk.
"""

from typing import Any

import numpy as np
import numpy.typing as npt
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic

Array = npt.NDArray[np.float32]
Rates = npt.NDArray[np.float64]
Rows = tuple[Array, Array, Array]

BETA_1, BETA_2, EPSILON = 0.9, 0.999, 1e-8  # of Adam

# eˣ = 2ⁿ eʳ with |r| ≤ ½ log 2, and a polynomial for eʳ (Cephes). log 2 has two parts, of which the first has
# few digits, so n log 2 is exact; a sum with MAGIC is rounded to a whole number.
LEAST, MOST = np.float32(-87), np.float32(88)
LOG2_E, MAGIC = np.float32(1.44269504), np.float32(12582912)
LOG_2, LOG_2_REST = np.float32(0.693359375), np.float32(-2.12194440e-4)
P_0, P_1, P_2 = np.float32(1.9875691500e-4), np.float32(1.3981999507e-3), np.float32(8.3334519073e-3)
P_3, P_4, P_5 = np.float32(4.1665795894e-2), np.float32(1.6666665459e-1), np.float32(5.0000001201e-1)
ONE = np.float32(1)
PART = 128  # rows whose loss is computed at once

# Without Python's checks of a division, and free to contract a product and a sum, loops are vectorised. Sums
# are not reordered, or n log 2 would lose its two parts.
_compiled = njit(cache=True, nogil=True, error_model="numpy", fastmath={"contract", "nsz", "arcp"})


def _float_of_bits(typing: Any, bits: Any) -> Any:
    def build(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.bitcast(arguments[0], ir.FloatType())

    return types.float32(types.int32), build


_bits_as_float: Any = intrinsic(_float_of_bits)  # the float32 with the bits of an int32


@_compiled
def exponential(x: np.float32) -> np.float32:
    """Return eˣ within 2e-7 of its size, for x moved into [−87, 88]."""
    x = min(max(x, LEAST), MOST)
    n = (x * LOG2_E + MAGIC) - MAGIC
    r = x - n * LOG_2 - n * LOG_2_REST
    p = ((((P_0 * r + P_1) * r + P_2) * r + P_3) * r + P_4) * r + P_5
    power = _bits_as_float(np.int32((np.int32(n) + np.int32(127)) << np.int32(23)))
    return (p * r * r + r + ONE) * power


@_compiled
def _activate(sums: Array, bias: Array, hidden: Array, slopes: Array) -> None:
    """Write SiLU(sums + bias) and its derivative."""
    for i in range(sums.shape[0]):
        for j in range(sums.shape[1]):
            z = sums[i, j] + bias[j]
            gate = ONE / (ONE + exponential(-z))
            hidden[i, j] = z * gate
            slopes[i, j] = gate * (ONE + z * (ONE - gate))


@_compiled
def _forward(p: Array, inputs: Array, hidden: Array, slopes: Array, sums: Array, outputs: Array) -> None:
    """Write the outputs (n, d) and what `_backward` needs."""
    (n_inputs, d), (depth, _, width) = (inputs.shape[1], outputs.shape[1]), hidden.shape
    end, biases = n_inputs * width, len(p) - depth * width - d
    np.dot(inputs, p[:end].reshape(n_inputs, width), sums)
    for k in range(depth):
        own = biases + k * width
        _activate(sums, p[own : own + width], hidden[k], slopes[k])
        if k < depth - 1:
            start, end = end, end + width * width
            np.dot(hidden[k], p[start:end].reshape(width, width), sums)
    np.dot(hidden[depth - 1], p[end:biases].reshape(width, d), outputs)
    outputs += p[len(p) - d :]


@_compiled
def _backward(
    p: Array, inputs: Array, hidden: Array, slopes: Array, sums: Array, outputs: Array, gradient: Array
) -> None:
    """Write the gradient, for the derivatives of the loss by the outputs in `outputs`."""
    (n_inputs, d), (depth, rows, width) = (inputs.shape[1], outputs.shape[1]), hidden.shape
    end = biases = len(p) - depth * width - d
    back = np.empty((rows, width), np.float32)
    start = biases - width * d
    np.dot(hidden[depth - 1].T, outputs, gradient[start:end].reshape(width, d))
    np.dot(outputs, p[start:end].reshape(width, d).T, back)
    _sum_rows(outputs, gradient[len(p) - d :])
    for k in range(depth - 1, -1, -1):
        for i in range(rows):
            for j in range(width):
                back[i, j] *= slopes[k, i, j]
        own = biases + k * width
        _sum_rows(back, gradient[own : own + width])
        if k > 0:
            start, end = start - width * width, start
            np.dot(hidden[k - 1].T, back, gradient[start:end].reshape(width, width))
            np.dot(back, p[start:end].reshape(width, width).T, sums)
            back, sums = sums, back
    np.dot(inputs.T, back, gradient[:start].reshape(n_inputs, width))


@_compiled
def _sum_rows(rows: Array, total: Array) -> None:
    total[:] = 0
    for i in range(rows.shape[0]):
        for j in range(rows.shape[1]):
            total[j] += rows[i, j]


@_compiled
def _adam(
    p: Array, gradient: Array, moments: Array, average: Array, taken: int, rate: float, decay: float
) -> None:
    """Take step number `taken`, and update the moving average."""
    mean, square = moments[0], moments[1]
    new_mean, new_square, new_value = np.float32(1 - BETA_1), np.float32(1 - BETA_2), np.float32(1 - decay)
    size = np.float32(rate / (1 - BETA_1**taken))
    correction, epsilon = np.float32(1 / np.sqrt(1 - BETA_2**taken)), np.float32(EPSILON)
    for i in range(len(p)):
        mean[i] += new_mean * (gradient[i] - mean[i])
        square[i] += new_square * (gradient[i] * gradient[i] - square[i])
        p[i] -= size * mean[i] / (np.sqrt(square[i]) * correction + epsilon)
        average[i] += new_value * (p[i] - average[i])


@_compiled
def take_steps(
    p: Array,
    moments: Array,
    average: Array,
    taken: int,
    rates: Rates,
    decay: float,
    layers: tuple[int, int],
    batches: Rows,
    r: int,
) -> None:
    """Take one step of replicate r for each of S minibatches.

    Args:
        p: its parameters (P,).
        moments: the moving means of their gradient and of its square (2, P).
        average: the moving average of the parameters (P,).
        taken: number of steps taken before.
        rates: learning rate of each step (S,).
        decay: δ of the moving average.
        layers: number of hidden layers and of their units.
        batches: inputs, goals and loss weights of all replicates (S, R, B, ·), see `Descent`.
        r: the replicate.
    """
    inputs, goals, weights = batches
    (rows, d), (depth, width) = goals.shape[2:], layers
    hidden, slopes = np.empty((depth, rows, width), np.float32), np.empty((depth, rows, width), np.float32)
    sums, outputs = np.empty((rows, width), np.float32), np.empty((rows, d), np.float32)
    gradient, share = np.empty_like(p), np.float32(2 / (rows * d))
    for s in range(len(rates)):
        _forward(p, inputs[s, r], hidden, slopes, sums, outputs)
        for i in range(rows):
            for j in range(d):
                outputs[i, j] = share * weights[s, r, i, 0] * (outputs[i, j] - goals[s, r, i, j])
        _backward(p, inputs[s, r], hidden, slopes, sums, outputs, gradient)
        _adam(p, gradient, moments, average, taken + s + 1, rates[s], decay)


@_compiled
def mean_loss(p: Array, layers: tuple[int, int], rows: Rows, r: int) -> float:
    """Return the mean over rows and outputs of the weighted squared error of replicate r.

    Args:
        p, layers, r: as for `take_steps`.
        rows: inputs, goals and loss weights of all replicates (R, n, ·).
    """
    inputs, goals, weights = rows
    n, d = goals.shape[1:]
    total = 0.0
    for first in range(0, n, PART):
        own = slice(first, min(first + PART, n))
        total += _summed_loss(p, layers, inputs[r, own], goals[r, own], weights[r, own])
    return total / (n * d)


@_compiled
def _summed_loss(p: Array, layers: tuple[int, int], inputs: Array, goal: Array, weight: Array) -> float:
    (rows, d), (depth, width) = goal.shape, layers
    hidden, slopes = np.empty((depth, rows, width), np.float32), np.empty((depth, rows, width), np.float32)
    outputs = np.empty((rows, d), np.float32)
    _forward(p, inputs, hidden, slopes, np.empty((rows, width), np.float32), outputs)
    total = 0.0
    for i in range(rows):
        for j in range(d):
            total += weight[i, 0] * (outputs[i, j] - goal[i, j]) ** 2
    return total
