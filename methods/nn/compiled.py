"""Training steps of a plain network, compiled: forward, backward, Adam and averaging of one replicate.

A replicate has its parameters in one row, all weights W_0 … W_D and then all biases b_0 … b_D, see
`ReplicatedMLP.flatten`. What a step uses stays in a core's cache until the next step. Products are made of
tiles whose sums stay in registers; LLVM vectorises what is between them. Compilation takes some seconds once,
and numba keeps the result on disk. It notices only changes of the file of a function, so all is in one file.
"""

import itertools
from typing import Any

import numpy as np
import numpy.typing as npt
from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.core.codegen import get_host_cpu_features
from numba.extending import intrinsic

Array = npt.NDArray[np.float32]
Rates = npt.NDArray[np.float64]
Rows = tuple[Array, Array, Array]
Space = tuple[Array, Array, Array, Array]

BETA_1, BETA_2, EPSILON = 0.9, 0.999, 1e-8  # of Adam

# eˣ = 2ⁿ eʳ with |r| ≤ ½ log 2, and a polynomial for eʳ (Cephes). log 2 has two parts, of which the first has
# few digits, so n log 2 is exact; a sum with MAGIC is rounded to a whole number.
LEAST, MOST = np.float32(-87), np.float32(88)
LOG2_E, MAGIC = np.float32(1.44269504), np.float32(12582912)
LOG_2, LOG_2_REST = np.float32(0.693359375), np.float32(-2.12194440e-4)
P_0, P_1, P_2 = np.float32(1.9875691500e-4), np.float32(1.3981999507e-3), np.float32(8.3334519073e-3)
P_3, P_4, P_5 = np.float32(4.1665795894e-2), np.float32(1.6666665459e-1), np.float32(5.0000001201e-1)
ONE = np.float32(1)

# The sums of a tile fill half the registers of a processor: 8 × 2 vectors of 16 numbers with AVX-512, else
# 4 × 2 of 8. LLVM replaces vectors that a processor lacks.
TILE_ROWS, LANES = (8, 16) if "+avx512f" in get_host_cpu_features() else (4, 8)
TILE_COLUMNS = 2 * LANES
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


def _build_tile(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
    """Write LLVM's instructions for a tile. Its sums stay in registers while k runs."""
    number, whole, index = ir.FloatType(), ir.IntType(32), ir.IntType(64)
    vector = ir.VectorType(number, LANES)
    zeros, firsts = ir.Constant(vector, None), ir.Constant(ir.VectorType(whole, LANES), None)
    matrices = zip(signature.args[:3], arguments[:3], strict=True)
    a, b, c = (context.make_array(kind)(context, builder, value) for kind, value in matrices)
    rows = [builder.add(arguments[3], index(i)) for i in range(TILE_ROWS)]
    columns = [builder.add(arguments[4], index(j)) for j in range(0, TILE_COLUMNS, LANES)]
    sums = {place: cgutils.alloca_once(builder, vector) for place in itertools.product(rows, columns)}

    def pointer(matrix: Any, row: Any, column: Any, kind: Any) -> Any:
        strides = cgutils.unpack_tuple(builder, matrix.strides, 2)
        offset = builder.add(builder.mul(row, strides[0]), builder.mul(column, strides[1]))
        return cgutils.pointer_add(builder, matrix.data, offset, kind.as_pointer())

    def repeated(value: Any) -> Any:
        return builder.shuffle_vector(builder.insert_element(zeros, value, whole(0)), zeros, firsts)

    for total in sums.values():
        builder.store(zeros, total)
    with cgutils.for_range(builder, cgutils.unpack_tuple(builder, b.shape, 2)[0], intp=index) as loop:
        k = loop.index
        of_a = {row: repeated(builder.load(pointer(a, row, k, number))) for row in rows}
        of_b = {column: builder.load(pointer(b, k, column, vector), align=4) for column in columns}
        for (row, column), total in sums.items():  # a processor without a fused instruction may round twice
            product = builder.fmul(of_a[row], of_b[column], flags=("contract",))
            builder.store(builder.fadd(product, builder.load(total), flags=("contract",)), total)
    for (row, column), total in sums.items():
        builder.store(builder.load(total), pointer(c, row, column, vector), align=4)
    return context.get_dummy_value()


def _product_of_tile(typing: Any, a: Any, b: Any, c: Any, row: Any, column: Any) -> Any:
    return types.void(a, b, c, types.intp, types.intp), _build_tile


_multiply_tile: Any = intrinsic(_product_of_tile)  # one tile of c = a · b, from a row and a column on


@_compiled
def multiply(a: Array, b: Array, c: Array) -> None:
    """Write a · b to c: by tiles, or by plain loops if c is smaller than a tile.

    The last tile of a row or column overlaps the one before it.

    Args:
        a: (m, k), or with more columns, which do not count; its strides may be any.
        b, c: (k, n) and (m, n). The numbers of a row lie together.
    """
    rows, columns = c.shape
    if rows >= TILE_ROWS and columns >= TILE_COLUMNS:
        for j in range(0, columns, TILE_COLUMNS):
            for i in range(0, rows, TILE_ROWS):
                _multiply_tile(a, b, c, min(i, rows - TILE_ROWS), min(j, columns - TILE_COLUMNS))
    else:
        for i in range(rows):
            for j in range(columns):
                c[i, j] = 0
            for k in range(len(b)):
                for j in range(columns):
                    c[i, j] += a[i, k] * b[k, j]


@_compiled
def _copy(values: Array, into: Array) -> None:
    """Copy the first rows and columns of a matrix."""
    for i in range(into.shape[0]):
        for j in range(into.shape[1]):
            into[i, j] = values[i, j]


@_compiled
def _activate(hidden: Array, bias: Array, gates: Array) -> None:
    """Replace z − bias by SiLU(z) = z g, and write the gate g = 1/(1 + e⁻ᶻ)."""
    for i in range(hidden.shape[0]):
        for j in range(hidden.shape[1]):
            z = hidden[i, j] + bias[j]
            gate = ONE / (ONE + exponential(-z))
            hidden[i, j] = z * gate
            gates[i, j] = gate


@_compiled
def _deactivate(back: Array, hidden: Array, gates: Array) -> None:
    """Multiply by the derivative of SiLU, g + z g (1 − g)."""
    for i in range(back.shape[0]):
        for j in range(back.shape[1]):
            back[i, j] *= gates[i, j] + hidden[i, j] * (ONE - gates[i, j])


@_compiled
def _space(rows: int, d: int, layers: tuple[int, int]) -> Space:
    """Return arrays for hidden layers and their gates, the last weight and the outputs.

    The last weight and the outputs have at least the columns of a tile. What is beyond d is 0.
    """
    (depth, width), columns = layers, max(d, TILE_COLUMNS)
    hidden, gates = np.empty((depth, rows, width), np.float32), np.empty((depth, rows, width), np.float32)
    return hidden, gates, np.zeros((width, columns), np.float32), np.empty((rows, columns), np.float32)


@_compiled
def _forward(p: Array, inputs: Array, d: int, space: Space) -> None:
    """Write the outputs and what `_backward` needs."""
    hidden, gates, last, outputs = space
    n_inputs, (depth, _, width) = inputs.shape[1], hidden.shape
    end, biases = n_inputs * width, len(p) - depth * width - d
    multiply(inputs, p[:end].reshape(n_inputs, width), hidden[0])
    for k in range(depth):
        own = biases + k * width
        _activate(hidden[k], p[own : own + width], gates[k])
        if k < depth - 1:
            start, end = end, end + width * width
            multiply(hidden[k], p[start:end].reshape(width, width), hidden[k + 1])
    _copy(p[end:biases].reshape(width, d), last[:, :d])
    multiply(hidden[depth - 1], last, outputs)
    bias = p[len(p) - d :]
    for i in range(len(outputs)):
        for j in range(d):
            outputs[i, j] += bias[j]


@_compiled
def _backward(p: Array, inputs: Array, d: int, space: Space, gradient: Array) -> None:
    """Write the gradient, for the derivatives of the loss by the outputs in their place."""
    hidden, gates, last, outputs = space
    n_inputs, (depth, rows, width) = inputs.shape[1], hidden.shape
    end = biases = len(p) - depth * width - d
    back, next_back = np.empty((rows, width), np.float32), np.empty((rows, width), np.float32)
    turned, last_gradient = np.empty((max(width, d), width), np.float32), np.empty_like(last)
    start = biases - width * d
    multiply(hidden[depth - 1].T, outputs, last_gradient)
    _copy(last_gradient, gradient[start:end].reshape(width, d))
    _copy(p[start:end].reshape(width, d).T, turned[:d])
    multiply(outputs, turned[:d], back)
    _sum_rows(outputs, gradient[len(p) - d :])
    for k in range(depth - 1, -1, -1):
        _deactivate(back, hidden[k], gates[k])
        own = biases + k * width
        _sum_rows(back, gradient[own : own + width])
        if k > 0:
            start, end = start - width * width, start
            multiply(hidden[k - 1].T, back, gradient[start:end].reshape(width, width))
            _copy(p[start:end].reshape(width, width).T, turned[:width])
            multiply(back, turned[:width], next_back)
            back, next_back = next_back, back
    multiply(inputs.T, back, gradient[:start].reshape(n_inputs, width))


@_compiled
def _sum_rows(rows: Array, total: Array) -> None:
    total[:] = 0
    for i in range(rows.shape[0]):
        for j in range(len(total)):
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
    rows, d = goals.shape[2:]
    space, gradient, share = _space(rows, d, layers), np.empty_like(p), np.float32(2 / (rows * d))
    outputs = space[3]
    for s in range(len(rates)):
        _forward(p, inputs[s, r], d, space)
        for i in range(rows):
            for j in range(d):
                outputs[i, j] = share * weights[s, r, i, 0] * (outputs[i, j] - goals[s, r, i, j])
        _backward(p, inputs[s, r], d, space, gradient)
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
    rows, d = goal.shape
    space = _space(rows, d, layers)
    _forward(p, inputs, d, space)
    outputs = space[3]
    total = 0.0
    for i in range(rows):
        for j in range(d):
            total += weight[i, 0] * (outputs[i, j] - goal[i, j]) ** 2
    return total
