"""How the kernels of ``normalize`` are broken: {name of the break: {old text: new text}}.

Every old text must be in a source of the kernel, so that rewriting the kernel disarms no break.
"""

# of both families: what is done between their sweeps
STATISTICS = {
    "a chunk dropped": {"range(1, partial.shape[0])": "range(2, partial.shape[0])"},
    "squares of chunks dropped": {
        "for j in range(2):\n            for line": "for j in range(1):\n            for line"
    },
    "squares of one line of a statistic": {
        "squares += partial[0, 1, line]": "squares = partial[0, 1, line]"
    },
    "the sum of one line of a statistic": {
        "total += partial[0, 0, line]": "total = partial[0, 0, line]"
    },
    "lost digits not flagged": {"is_far(count, total, squares)": "False"},
    "always flagged": {"1.0 if lost else 0.0": "1.0"},
    "the variance unbiased": {"= m2 / count\n": "= m2 / (count - 1)\n"},
    "the deviation unbiased": {"sqrt(m2 / count + eps)": "sqrt(m2 / (count - 1) + eps)"},
    "eps outside the root": {
        "1.0 / math.sqrt(m2 / count + eps)": "1 / (math.sqrt(m2 / count) + eps)"
    },
    "no eps": {"m2 / count + eps": "m2 / count"},
    "the mean left at the shift": {"stats[0, r] = mean": "pass"},
    "the mean taken away where it is not": {"if centred:": "if True:"},
    "the mean left where it is taken away": {"if centred:": "if False:"},
}

AFFINE = {
    "no weight": {"scale = weight[c] * invstd": "scale = invstd"},
    "no bias": {"bias[c] - rest": "0 - rest"},
    "the rest of the mean dropped": {"bias[c] - rest * scale": "bias[c]"},
    "the rest of the mean added": {"bias[c] - rest": "bias[c] + rest"},
    "the rest of the mean not scaled": {"rest * scale": "rest"},
    "the first statistic for all lines": {
        "r = first // per\n        shift": "r = l0 // per\n        shift"
    },
    "the first channel for all lines": {
        "c = c + 1 if c + 1 < weight.size else 0": "c = l0 % weight.size"
    },
}

GRADIENT = {
    "a chunk dropped": STATISTICS["a chunk dropped"],
    "the weight's gradient without its rest": {"- rest * partial[0, 0, line]": ""},
    "the weight's gradient not scaled": {"partial[0, 0, line]) * invstd": "partial[0, 0, line])"},
    "sums swapped": {"sums[0, line] = partial[0, 0, line]": "sums[0, line] = partial[0, 1, line]"},
    "no weight": {"coef[0, k] = w * stats": "coef[0, k] = stats"},
    "no weight in the mean's term": {"total += w * sums": "total += sums"},
    "no weight in the variance's term": {"moment += w * sums": "moment += sums"},
    "the mean's term of one line": {"total += w": "total = w"},
    "the variance's term of one line": {"moment += w": "moment = w"},
    "the mean's term where no mean was taken away": {"* centred": ""},
    "the sign of the variance's term": {"b = -stats[2, r]": "b = stats[2, r]"},
    "the variance's term once too little": {"b = -stats[2, r] * stats[2, r]": "b = -stats[2, r]"},
    "samples not added up": {"sums[j, c] += sums[j, first + c]": "pass"},
    "a sample added twice": {
        "range(channels, sums.shape[1], channels)": "range(0, sums.shape[1], channels)"
    },
    "the sign of the mean's term": {"= -stats[2, r] * total": "= stats[2, r] * total"},
    "the mean's term dropped": {"-stats[2, r] * total / count": "0.0"},
    "the rest of the mean dropped": {"/ count - b * rest": "/ count"},
    "unbiased": {"* moment / count": "* moment / (count - 1)"},
    "evaluation as training": {
        "b if training else 0.0": "b",
        "- b * rest if training else 0.0": "- b * rest",
        "if not training:": "if False:",
    },
    "training as evaluation": {"if not training:": "if True:"},
}

_Z = "z = (v.x - v.shift) * v.scale + v.offset"
_RETURN = "\n        return {"
_Y = "activate(z + v.other if added else z, activation, slope)"

FORMULA_FORWARD = {
    "the shift forgotten": {_Z + _RETURN: "z = v.x * v.scale + v.offset" + _RETURN},
    "the scale forgotten": {_Z + _RETURN: "z = (v.x - v.shift) + v.offset" + _RETURN},
    "the offset forgotten": {_Z + _RETURN: "z = (v.x - v.shift) * v.scale" + _RETURN},
    "what is added forgotten": {"activate(z + v.other if added else z,": "activate(z,"},
    "what is added after the activation": {
        _Y: "activate(z, activation, slope) + (v.other if added else 0)"
    },
    "the activation forgotten": {_Y: "z + v.other if added else z"},
    "sums without shift": {"d = v.x - v.shift": "d = v.x"},
    "no squares": {'"q": d * d': '"q": d'},
}

FORMULA_BACKWARD = {
    "a product without shift": {'"q": g * (v.x - v.shift)': '"q": g * v.x'},
    "the sign of a product": {'"q": g * (v.x - v.shift)': '"q": -g * (v.x - v.shift)'},
    "no gate in the sums": {'"s": g, ': '"s": v.g, '},
    "the gate without its offset": {
        "v.scale + v.offset\n    return gate": "v.scale\n    return gate"
    },
    "the gate without what was added": {"z + v.other if at == SUM else z": "z"},
    "the gate at what was added": {"gate(v.g, v.other,": "gate(v.g, -v.other,"},
    "no gate": {"if at == NOWHERE:": "if True:"},
    "the gated gradient not kept": {'out | {"gated": g} if kept else out': "out"},
    "the ungated gradient kept": {'out | {"gated": g}': 'out | {"gated": v.g}'},
    "the constant dropped": {"(v.b * (v.x - v.shift) + v.c)": "(v.b * (v.x - v.shift))"},
    "the shift dropped": {"(v.b * (v.x - v.shift) + v.c)": "(v.b * v.x + v.c)"},
    "the sign of the variance's part": {"v.a * g + (v.b": "v.a * g + (-v.b"},
    "no gate in the gradient": {'{"dx": v.a * g + (': '{"dx": v.a * v.g + ('},
    "no gate in evaluation": {'{"dx": v.a * g}': '{"dx": v.a * v.g}'},
}

# of both families: what a training step does besides
MOVES = {
    "the buffers left alone": {"if i[RUNNING_MEAN] != 0 and i[ANSWER] == 0:": "if False:"},
    "moved although digits were lost": {" != 0 and i[ANSWER] == 0:": " != 0:"},
    "the buffers swapped": {"move(means, variances, stats": "move(variances, means, stats"},
    "moved by eps": {"floats[1], ": "floats[0], "},
    "the batch not counted": {"if i[BATCHES] != 0:": "if False:"},
    "the batch counted twice": {"[0] += 1": "[0] += 2"},
}
ROWS_MOVES = MOVES | {
    "the numbers of a run alone": {"[1], np.float64(shape[1] * shape[2])": "[1], shape[2]"}
}
COLUMNS_MOVES = MOVES | {"a number too many": {"[1], _count(shape)": "[1], _count(shape) + 1"}}
ROUNDING = {
    "no gradients": {"if t == AFTER and i[PHASE] & SUMS and i[DBIAS] != 0:": "if False:"},
    "the bias' gradient for both": {"WEIGHT]), (i[CHANNELS],)), 1": "WEIGHT]), (i[CHANNELS],)), 0"},
    "both gradients in one place": {"i[DWEIGHT]),": "i[DBIAS]),"},
    "the first line's for all": {"gradient[c] = sums[k, c]": "gradient[c] = sums[k, 0]"},
}

ROWS_FORWARD = {
    "weights from the first channel on": {"c = l0 % weight.size": "c = 0"},
    "a piece short of its run": {"min(piece, length - at)": "min(piece, length - at - 1)"},
    "a piece past its run": {"min(piece, length - at)": "piece"},
    "the last piece dropped": {
        "pieces = runs * ((length + piece - 1) // piece)": "pieces = runs * max(1, length // piece)"
    },
    "runs not apart": {"// of_run * run_stride": "// of_run * length"},
    "lines not apart": {"return r * pitch": "return r * length // 2"},
    "the last chunk dropped": {
        "g, first, last = t, 0, chunks": "g, first, last = t, 0, max(1, chunks - 1)"
    },
    "the tail of rows dropped": {
        "min(shape[0], (g + 1) * group)": "min(shape[0] // group * group, (g + 1) * group)"
    },
    "a group too many": {"min(shape[0], (g + 1) * group)": "(g + 1) * group"},
    "no shift from the data": {"= middle / max(size * per, 1)": "= 0.0"},
    "a shift where the mean stays": {
        "max(FIRST // per, FEW)) * shape[9]": "max(FIRST // per, FEW))"
    },
    "partial sums not cleared": {"partial[k, 1, r] = 0.0": "pass"},
    "a chunk's pieces twice": {"_pieces_of(k, k + 1, shape)": "_pieces_of(k, k + 2, shape)"},
    "the output of the first pieces only": {
        "= _pieces_of(first, last, shape)": "= _pieces_of(first, first + 1, shape)"
    },
    "what is added from the wrong place": {"i[OTHER] + byte": "i[OTHER]"},
    "lines of a group without their channels": {
        "np.float64(shape[1] * shape[2] * per)": "np.float64(shape[1] * shape[2])"
    },
    "scale for offset": {"_line_numbers(coef, 1), _line": "_line_numbers(coef, 2), _line"},
    "digits lost not answered": {"i[ANSWER] = digits_lost(stats)": "pass"},
}

ROWS_BACKWARD = {
    "the upstream gradient of the wrong place": {"g + byte, x": "g, x"},
    "what was added from the wrong place": {"other + byte": "other"},
    "the gated gradient at the wrong place": {"gated + byte": "gated"},
    "the input gradient at the wrong place": {"dx + byte": "dx"},
    "a gate twice": {"g = gated if i[REUSED] else g": "g = g"},
    "terms swapped": {"_line_numbers(coef, 3), _line": "_line_numbers(coef, 4), _line"},
    "a group without its channels": {
        "shape[2] * per)\n        gradient": "shape[2])\n        gradient"
    },
    "the last piece dropped": ROWS_FORWARD["the last piece dropped"],
    "the last chunk dropped": ROWS_FORWARD["the last chunk dropped"],
    "the tail of rows dropped": ROWS_FORWARD["the tail of rows dropped"],
    "partial sums not cleared": ROWS_FORWARD["partial sums not cleared"],
    "the output of the first pieces only": ROWS_FORWARD["the output of the first pieces only"],
}

COLUMNS_FORWARD = {
    "the last chunk dropped": {
        "(_rows(shape) + shape[5] - 1) // shape[5]": "max(1, _rows(shape) // shape[5])"
    },
    "a chunk past its end": {
        "min(_rows(shape), last * shape[5])": "min(_rows(shape), last * shape[5] + 1)"
    },
    "the short row dropped": {
        "(shape[1] + shape[2] - 1) // shape[2]": "max(1, shape[1] // shape[2])"
    },
    "the short row as long as others": {
        "min(max(shape[1] % shape[2] - c0, 0), columns)": "columns"
    },
    "the first sample for all": {"start, pitch = sample * shape[1] + c0": "start, pitch = c0"},
    "the first sample's lines for all": {"first = sample * channels": "first = 0 * channels"},
    "the last run of rows dropped": {"range(i0, i1, RUN)": "range(i0, max(i0 + 1, i1 - RUN), RUN)"},
    "rows counted twice": {"min(r + RUN, i1)": "i1"},
    "a run's sums not cleared": {"sums[j, at + r] = 0": "pass"},
    "copies of a channel not added up": {
        "for at in range(0, sums.shape[1], l1 - l0):": "for at in range(1):"
    },
    "numbers of the first copy only": {
        "for at in range(0, wide.shape[1], coef.shape[1]):": "for at in range(1):"
    },
    "no shift from the data": {"stats[0, r] = weight.dtype.type(stats[0, r])": "stats[0, r] = 0.0"},
    "a shift where the mean stays": {"if not shape[7]:": "if False:"},
    "the shift of a sum": {"sums[at + r] / count": "sums[at + r]"},
    "what is added from the wrong place": {"i[OTHER] + byte": "i[OTHER]"},
    "lines without their channels": {"shape[1] // shape[3] * shape[6]": "shape[1] // shape[3]"},
    "partial sums not cleared": {"partial[k, 1, r] = 0.0": "pass"},
    "scale for offset": {"(h, h + step, h + 2 * step)": "(h, h + 2 * step, h + step)"},
    "digits lost not answered": {"i[ANSWER] = digits_lost(stats)": "pass"},
}

COLUMNS_BACKWARD = {
    "a gate twice": {"g = i[GATED] if i[REUSED] else i[G]": "g = i[G]"},
    "terms swapped": {
        "(h + 3 * step, h + 4 * step, h + 5 * step)": "(h + 3 * step, h + 5 * step, h + 4 * step)"
    },
    "terms over the affine numbers": {"_spread(coef, 3, wide)": "_spread(coef, 0, wide)"},
    "what was added from the wrong place": {"i[OTHER] + byte, i[GATED]": "i[OTHER], i[GATED]"},
    "the last chunk dropped": COLUMNS_FORWARD["the last chunk dropped"],
    "the short row dropped": COLUMNS_FORWARD["the short row dropped"],
    "the short row as long as others": COLUMNS_FORWARD["the short row as long as others"],
    "the first sample for all": COLUMNS_FORWARD["the first sample for all"],
    "the first sample's lines for all": COLUMNS_FORWARD["the first sample's lines for all"],
    "copies of a channel not added up": COLUMNS_FORWARD["copies of a channel not added up"],
    "numbers of the first copy only": COLUMNS_FORWARD["numbers of the first copy only"],
    "the last run of rows dropped": COLUMNS_FORWARD["the last run of rows dropped"],
    "rows counted twice": COLUMNS_FORWARD["rows counted twice"],
    "a run's sums not cleared": COLUMNS_FORWARD["a run's sums not cleared"],
    "lines without their channels": COLUMNS_FORWARD["lines without their channels"],
    "scale for offset": COLUMNS_FORWARD["scale for offset"],
}

ACTIVATIONS = {
    "ReLU passes what is negative": {"where(z < 0.0, 0.0, z)": "z"},
    "ReLU keeps what it should drop": {"where(z < 0.0, 0.0, z)": "where(z > 0.0, 0.0, z)"},
    "ReLU drops NaN": {"where(z < 0.0, 0.0, z)": "where(z >= 0.0, z, 0.0)"},
    "the slope on the wrong side": {"where(z < 0.0, z * slope": "where(z > 0.0, z * slope"},
    "SiLU of the wrong sign": {"z / one_and_exp(-z)": "z / one_and_exp(z)"},
    "GELU not halved": {"0.5 * z * (1.0": "z * (1.0"},
    "GELU of the wrong scale": {
        "(1.0 + erf(z * math.sqrt(0.5)))\n    return z": "(1.0 + erf(z))\n    return z"
    },
    "ReLU's derivative at 0": {"where(z <= 0.0, 0.0, g)": "where(z < 0.0, 0.0, g)"},
    "ReLU's derivative of NaN": {"where(z <= 0.0, 0.0, g)": "where(z > 0.0, g, 0.0)"},
    "the slope forgotten": {"where(z > 0.0, g, g * slope)": "where(z > 0.0, g, g)"},
    "the leaky derivative at 0": {"where(z > 0.0, g,": "where(z >= 0.0, g,"},
    "a sign in SiLU's derivative": {"z * (1.0 - p)": "z * (1.0 + p)"},
    "a factor of SiLU's derivative": {"g * p * (1.0": "g * (1.0"},
    "a term of GELU's derivative": {" + z * bell * (1.0 / math.sqrt(2.0 * math.pi))": ""},
    "the argument of GELU's derivative": {"normal(z)": "normal(z * math.sqrt(2.0))"},
    "the peak of GELU's derivative": {"math.sqrt(2.0 * math.pi)": "math.sqrt(math.pi)"},
    "the wrong activation": {
        'if name == "silu":\n        return z /': 'if name == "silu":\n        return 2 * z /'
    },
}


RUNNING = {
    "the variance biased": {"batch[1, r] * unbiased": "batch[1, r]"},
    "the correction upside down": {"count / (count - 1.0)": "(count - 1.0) / count"},
    "momentum the other way": {"momentum * batch[0, r]": "(1.0 - momentum) * batch[0, r]"},
    "nothing forgotten": {"(1.0 - momentum) * variances[r]": "variances[r]"},
    "the variance's place": {"momentum * (batch[1, r] * unbiased)": "momentum * batch[0, r]"},
    "the last channel dropped": {"range(batch.shape[1])": "range(batch.shape[1] - 1)"},
    "the mean's sign": {"+ momentum * batch[0, r]": "- momentum * batch[0, r]"},
}
