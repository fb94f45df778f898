// Softmax of rows, a block for each.

template <typename T, typename O>
__device__ void softmax(O *y, const T *x, int width, int packed) {
    size_t row = blockIdx.x;
    x += row * width;
    y += row * width;
    float most = -INFINITY;
    over_row(x, width, packed, [&](int, float x) { most = fmaxf(most, x); });
    most = over_block<Most>(most);
    float sum = 0.0f;
    over_row(x, width, packed, [&](int, float x) { sum += expf(x - most); });
    float scale = 1.0f / over_block<Sum>(sum);
    map_row(y, x, width, packed, [&](int, float x) { return expf(x - most) * scale; });
}

/// dx = y (grad - sum(y grad)).
template <typename T, typename O>
__device__ void softmax_grad(T *dx, const O *y, const O *grad, int width, int packed) {
    size_t row = blockIdx.x;
    y += row * width;
    grad += row * width;
    dx += row * width;
    float along = 0.0f;
    over_rows(y, grad, width, packed, [&](int, float y, float grad) { along += y * grad; });
    along = over_block<Sum>(along);
    map_rows(dx, y, grad, width, packed, [&](int, float y, float grad) { return y * (grad - along); });
}

#define SOFTMAX(X, x_type, Y, y_type) ROW_KERNELS(softmax, X, x_type, Y, y_type)

FOR_RESULTS(SOFTMAX)
