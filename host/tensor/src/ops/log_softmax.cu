// Logarithm of the softmax of rows, a block for each.

template <typename T, typename O>
__device__ void log_softmax(O *y, const T *x, int width, int packed) {
    size_t row = blockIdx.x;
    x += row * width;
    y += row * width;
    float most = -INFINITY;
    over_row(x, width, packed, [&](int, float x) { most = fmaxf(most, x); });
    most = over_block<Most>(most);
    float sum = 0.0f;
    over_row(x, width, packed, [&](int, float x) { sum += expf(x - most); });
    // Not log-sum-exp in one number: for large |x| that would round away log(sum).
    float log_sum = logf(over_block<Sum>(sum));
    map_row(y, x, width, packed, [&](int, float x) { return (x - most) - log_sum; });
}

/// dx = grad - e^y sum(grad).
template <typename T, typename O>
__device__ void log_softmax_grad(T *dx, const O *y, const O *grad, int width, int packed) {
    size_t row = blockIdx.x;
    y += row * width;
    grad += row * width;
    dx += row * width;
    float total = 0.0f;
    over_row(grad, width, packed, [&](int, float grad) { total += grad; });
    total = over_block<Sum>(total);
    map_rows(dx, y, grad, width, packed,
             [&](int, float y, float grad) { return grad - expf(y) * total; });
}

#define LOG_SOFTMAX(X, x_type, Y, y_type) ROW_KERNELS(log_softmax, X, x_type, Y, y_type)

FOR_RESULTS(LOG_SOFTMAX)
