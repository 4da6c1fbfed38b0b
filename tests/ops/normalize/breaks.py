"""How the kernels of ``normalize`` are broken: {name of the break: {old text: new text}}.

Every old text must be in the source of the kernel, so that rewriting the kernel disarms no break.
"""

# of both families: what is done between their sweeps
STATISTICS = {
    "a chunk dropped": {"for k in range(partial.shape[0]):": "for k in range(1):"},
    "squares of chunks dropped": {"second += partial[k, 1, r]": "second = partial[k, 1, r]"},
    "lost digits not flagged": {"is_far(count, total, squares)": "False"},
    "always flagged": {"1.0 if lost else 0.0": "1.0"},
    "the variance unbiased": {"= m2 / count\n": "= m2 / (count - 1)\n"},
    "the deviation unbiased": {"sqrt(m2 / count + eps)": "sqrt(m2 / (count - 1) + eps)"},
    "eps outside the root": {
        "1.0 / math.sqrt(m2 / count + eps)": "1 / (math.sqrt(m2 / count) + eps)"
    },
    "no eps": {"m2 / count + eps": "m2 / count"},
    "the mean left at the shift": {"stats[0, r] = mean": "pass"},
}

AFFINE = {
    "no weight": {"scale = weight[r] * stats[2, r]": "scale = stats[2, r]"},
    "no bias": {"= bias[r] - (stats": "= 0 - (stats"},
    "the rest of the mean dropped": {"bias[r] - (stats[0, r] - shift) * scale": "bias[r]"},
    "the rest of the mean added": {"bias[r] - (stats": "bias[r] + (stats"},
    "the rest of the mean not scaled": {"(stats[0, r] - shift) * scale": "(stats[0, r] - shift)"},
}

GRADIENT = {
    "a chunk dropped": STATISTICS["a chunk dropped"],
    "the weight's gradient without its rest": {
        "(moment - (stats[0, r] - shift) * total)": "moment"
    },
    "the weight's gradient not scaled": {"* total) * stats[2, r]": "* total)"},
    "sums swapped": {"sums[0, r] = total": "sums[0, r] = moment"},
    "no weight": {"a = weight[r] * stats[2, r]": "a = stats[2, r]"},
    "the sign of the variance's term": {"b = -a * stats": "b = a * stats"},
    "the variance's term once too little": {"b = -a * stats[2, r] * sums": "b = -a * sums"},
    "the sign of the mean's term": {"= -a * sums[0, r] / count": "= a * sums[0, r] / count"},
    "the mean's term dropped": {"= -a * sums[0, r] / count - b": "= -b"},
    "the rest of the mean dropped": {"/ count - b * rest": "/ count"},
    "unbiased": {"* sums[1, r] / count": "* sums[1, r] / (count - 1)"},
    "evaluation as training": {"if training:": "if True:"},
    "training as evaluation": {"if training:": "if False:"},
}

ROWS_FORWARD = {
    "a piece short of its run": {"min(piece, length - at)": "min(piece, length - at - 1)"},
    "a piece past its run": {"min(piece, length - at)": "piece"},
    "the last piece dropped": {"(length + piece - 1) // piece": "length // piece"},
    "runs not apart": {"// of_run * run_stride": "// of_run * length"},
    "the tail of a block dropped": {
        "range(at, at + size, BLOCK)": "range(at, at + size - BLOCK + 1, BLOCK)"
    },
    "the last chunk dropped": {
        "g, first, last = t, 0, chunks": "g, first, last = t, 0, max(1, chunks - 1)"
    },
    "the tail of rows dropped": {
        "min(shape[0], (g + 1) * group)": "min(shape[0] // group * group, (g + 1) * group)"
    },
    "the neighbour's coefficients": {
        "coef[0, r - r0], coef[1, r - r0]": "coef[0, r - r0], coef[1, 0]"
    },
    "no shift from the data": {
        "cast(_sum(window(x, r * shape[3], size), cast(0)) / cast(size))": "cast(0)"
    },
    "the shift forgotten": {
        "(widen(x[i]) - shift) * scale + offset": "widen(x[i]) * scale + offset"
    },
    "ReLU keeps what it should drop": {"zero if v < zero else v": "v if v < zero else zero"},
    "what is added forgotten": {"add(block, window(other, i, m))": "pass"},
    "what is added from the wrong place": {
        "add(block, window(other, i, m))": "add(block, window(other, 0, m))"
    },
    "the activation forgotten": {"        activate(block, act, slope)\n": ""},
    "partial sums not cleared": {"partial[k, 1, r] = 0.0": "pass"},
}

ROWS_BACKWARD = {
    "the sign of a product": {
        "q += v * _minus(widen(x[i]), shift)": "q -= v * _minus(widen(x[i]), shift)"
    },
    "the mask upside down": {
        "_affine_at(d, scale, offset) <= 0": "_affine_at(d, scale, offset) > 0"
    },
    "no mask in the sums": {"v = shift * 0 if _affine_at(d, scale, offset) <= 0 else v": "v = v"},
    "no mask in the gradient": {"v = zero if d * scale + offset <= 0 else": "v ="},
    "the mask without its offset": {"zero if d * scale + offset <= 0": "zero if d * scale <= 0"},
    "the constant dropped": {"(b * (widen(x[i]) - shift) + c)": "(b * (widen(x[i]) - shift))"},
    "the constant dropped with ReLU": {"a * v + (b * d + c)": "a * v + b * d"},
    "the shift dropped": {"(b * (widen(x[i]) - shift) + c)": "(b * widen(x[i]) + c)"},
    "the mask from x where the output is given": {"if from_output:": "if False:"},
    "what was added forgotten": {
        "if other.size:\n            add(z": "if False:\n            add(z"
    },
    "no gradient of what was added": {"if dother.size:": "if False:"},
    "the upstream gradient of the wrong block": {
        "_gated(\n            window(g, i, m)": "_gated(\n            window(g, at, m)"
    },
    "the tail of a block dropped": ROWS_FORWARD["the tail of a block dropped"],
    "the last chunk dropped": ROWS_FORWARD["the last chunk dropped"],
    "the tail of rows dropped": ROWS_FORWARD["the tail of rows dropped"],
    "the neighbour's coefficients": {
        "grad[1, r - r0], grad[2, r - r0]": "grad[1, 0], grad[2, r - r0]"
    },
    "partial sums not cleared": ROWS_FORWARD["partial sums not cleared"],
}

COLUMNS_FORWARD = {
    "the last chunk dropped": {
        "(_rows(shape) + shape[5] - 1) // shape[5]": "max(1, _rows(shape) // shape[5])"
    },
    "a chunk past its end": {"min(rows, (k + 1) * chunk)": "min(rows, (k + 1) * chunk + 1)"},
    "the short row dropped": {"(shape[0] + shape[1] - 1) // shape[1]": "shape[0] // shape[1]"},
    "the short row as long as others": {
        "max(0, min(columns, shape[0] - i * shape[1] - c0))": "columns"
    },
    "the first channels for every tile": {"first = c0 // shape[3]": "first = 0"},
    "a tile too short": {"min(tile, width - t * tile)": "min(tile - 1, width - t * tile)"},
    "a row's squares lost": {"q[j] += d * d": "q[j] = d * d"},
    "the last run of rows dropped": {"range(i0, i1, RUN)": "range(i0, max(i0 + 1, i1 - RUN), RUN)"},
    "rows counted twice": {"min(i + RUN, i1)": "i1"},
    "a run's sums not cleared": {"        q[j] = 0\n": ""},
    "copies of a channel not added up": {"range(0, s.size, out.size * inner)": "range(0, 1)"},
    "no shift from the data": {"means[r] = weight.dtype.type(means[r] / count)": "means[r] = 0"},
    "the shift forgotten": {
        "y[j] = narrow(y, (widen(x[j]) - h[j])": "y[j] = narrow(y, (widen(x[j]))"
    },
    "ReLU keeps what it should drop": {"zero if v < zero else v": "v if v < zero else zero"},
    "what is added forgotten": {"add(row, window(other, at, n))": "pass"},
    "what is added from the wrong place": {
        "add(row, window(other, at, n))": "add(row, window(other, 0, n))"
    },
    "the activation forgotten": {"        activate(row, act, slope)\n": ""},
    "coefficients of the wrong columns": {
        "window(wide, k * _pitch(shape) + c0, columns)": "window(wide, k * _pitch(shape), columns)"
    },
}

COLUMNS_BACKWARD = {
    "the sign of a product": {
        "q[j] += v * (widen(x[j]) - h[j])": "q[j] -= v * (widen(x[j]) - h[j])"
    },
    "the mask upside down": {"d * a[j] + b[j] <= zero": "d * a[j] + b[j] > zero"},
    "no mask in the gradient": {"v = zero if d * a[j] + offset[j] <= zero else": "v ="},
    "the constant dropped": {
        "(b[j] * (widen(x[j]) - h[j]) + c[j])": "(b[j] * (widen(x[j]) - h[j]))"
    },
    "the constant dropped with ReLU": {"a[j] * v + (b[j] * d + c[j])": "a[j] * v + b[j] * d"},
    "the mask from x where the output is given": {"if from_output:": "if False:"},
    "what was added forgotten": {"add(z, window(other, at, n))": "pass"},
    "no gradient of what was added": {"if dother.size:": "if False:"},
    "a run's sums not cleared": COLUMNS_FORWARD["a run's sums not cleared"],
    "the last chunk dropped": COLUMNS_FORWARD["the last chunk dropped"],
    "the short row dropped": COLUMNS_FORWARD["the short row dropped"],
    "the first channels for every tile": COLUMNS_FORWARD["the first channels for every tile"],
    "copies of a channel not added up": COLUMNS_FORWARD["copies of a channel not added up"],
    "coefficients of the wrong columns": COLUMNS_FORWARD["coefficients of the wrong columns"],
    "the last run of rows dropped": COLUMNS_FORWARD["the last run of rows dropped"],
    "rows counted twice": COLUMNS_FORWARD["rows counted twice"],
    "no mask in the sums": {"v = zero if d * a[j] + b[j] <= zero else": "v ="},
    "the mask of the sums without its offset": {"d * a[j] + b[j] <= zero": "d * a[j] <= zero"},
    "the mask of the gradient without its offset": {
        "d * a[j] + offset[j] <= zero": "d * a[j] <= zero"
    },
    "terms swapped": {"wide, (k + 2) * _pitch(shape)": "wide, (5 - k) * _pitch(shape)"},
}

ACTIVATIONS = {
    "ReLU passes what is negative": {"z[j] = zero if z[j] < zero else z[j]": "z[j] = z[j]"},
    "the slope on the wrong side": {"z[j] * slope if z[j] < 0": "z[j] * slope if z[j] > 0"},
    "SiLU of the wrong sign": {"z[j] / (one + _exp(-z[j]))": "z[j] / (one + _exp(z[j]))"},
    "GELU not halved": {"half * z[j] * (one + _erf": "z[j] * (one + _erf"},
    "GELU of the wrong scale": {"(one + _erf(z[j] * root))": "(one + _erf(z[j]))"},
    "ReLU's derivative at 0": {"zero if z[j] <= 0 else g[j]": "zero if z[j] < 0 else g[j]"},
    "the slope forgotten": {"g[j] if z[j] > 0 else g[j] * slope": "g[j]"},
    "the leaky derivative at 0": {"g[j] if z[j] > 0 else": "g[j] if z[j] >= 0 else"},
    "a sign in SiLU's derivative": {"z[j] * (one - p)": "z[j] * (one + p)"},
    "a term of GELU's derivative": {" + v * peak * _exp(-half * v * v)": ""},
    "the exponent of GELU's derivative": {"_exp(-half * v * v)": "_exp(-v * v)"},
    "a digit of exp": {"1.6666665459e-1": "1.6600000459e-1"},
    "a digit of erf": {"1.60960333262415e-02": "1.60900333262415e-02"},
    "exp never infinite": {"f(np.inf) if large": "y if large"},
    "exp never zero": {"f(0.0) if tiny": "y if tiny"},
    "erf not cut off": {"x = f(4.0) if": "x = f(400.0) if"},
    "the wrong activation": {
        "elif code == SILU:\n        _silu": "elif code == SILU:\n        _gelu"
    },
    "the wrong derivative": {
        "elif code == GELU:\n        _gate_gelu": "elif code == GELU:\n        _gate_silu"
    },
}


RUNNING = {
    "the variance biased": {"stats[1, r] * unbiased": "stats[1, r]"},
    "the correction upside down": {"count / (count - 1.0)": "(count - 1.0) / count"},
    "momentum the other way": {"momentum * stats[0, r]": "(1.0 - momentum) * stats[0, r]"},
    "nothing forgotten": {"(1.0 - momentum) * running_var[r]": "running_var[r]"},
    "the variance's place": {"+ momentum * variance": "+ momentum * stats[0, r]"},
    "the last channel dropped": {"range(running_mean.size)": "range(running_mean.size - 1)"},
    "the mean's sign": {"+ momentum * stats[0, r]": "- momentum * stats[0, r]"},
}
