// Layer norm over rows: one block for each row forwards and for the gradient of x; for the gradients of
// weight and bias, blocks of columns over parts of the rows.

/// y = (x - mean) * rstd * weight + bias; weight and bias may be null.
template <typename T, typename O>
__device__ void layer_norm(O *y, float *means, float *rstds, const T *x, const float *weight,
                           const float *bias, int width, float eps, int packed) {
    size_t row = blockIdx.x;
    x += row * width;
    y += row * width;
    float sum = 0.0f;
    over_row(x, width, packed, [&](int, float x) { sum += x; });
    float mean = over_block<Sum>(sum) / width;
    // The difference of squares would cancel.
    float squares = 0.0f;
    over_row(x, width, packed, [&](int, float x) { squares += (x - mean) * (x - mean); });
    float rstd = rsqrtf(over_block<Sum>(squares) / width + eps);
    map_row(y, x, width, packed, [&](int i, float x) {
        float scale = weight ? weight[i] : 1.0f;
        float shift = bias ? bias[i] : 0.0f;
        return (x - mean) * rstd * scale + shift;
    });
    if (threadIdx.x == 0) {
        means[row] = mean;
        rstds[row] = rstd;
    }
}

/// With u = grad * weight and n = (x - mean) rstd: dx = rstd (u - mean(u) - n mean(u n)).
template <typename T, typename O>
__device__ void layer_norm_grad_x(T *dx, const T *x, const O *grad, const float *weight,
                                  const float *means, const float *rstds, int width, int packed) {
    size_t row = blockIdx.x;
    x += row * width;
    grad += row * width;
    dx += row * width;
    float mean = means[row], rstd = rstds[row];
    float total = 0.0f, along = 0.0f;
    over_rows(x, grad, width, packed, [&](int i, float x, float grad) {
        float u = weight ? grad * weight[i] : grad;
        total += u;
        along += u * ((x - mean) * rstd);
    });
    total = over_block<Sum>(total) / width;
    along = over_block<Sum>(along) / width;
    map_rows(dx, x, grad, width, packed, [&](int i, float x, float grad) {
        float u = weight ? grad * weight[i] : grad;
        return (u - total - (x - mean) * rstd * along) * rstd;
    });
}

/// Sums of grad * n and of grad in each column: parts (parts, 2, width).
template <typename T, typename O>
__device__ void layer_norm_grad_w(float *parts, const T *x, const O *grad, const float *means,
                                  const float *rstds, int rows, int width) {
    over_columns<2>(parts, rows, width, 1.0f, [&](int row, int column, float *sums) {
        size_t at = (size_t)row * width + column;
        float g = widen(grad[at]);
        sums[0] += g * ((widen(x[at]) - means[row]) * rstds[row]);
        sums[1] += g;
    });
}

#define LAYER_NORM(X, x_type, Y, y_type)                                                              \
    KERNEL layer_norm_##X##_##Y(y_type *y, float *means, float *rstds, const x_type *x,               \
                                const float *weight, const float *bias, int width, float eps,         \
                                int packed) {                                                         \
        layer_norm(y, means, rstds, x, weight, bias, width, eps, packed);                             \
    }                                                                                                 \
    EXPORT(layer_norm_##X##_##Y)                                                                      \
    KERNEL layer_norm_grad_x_##X##_##Y(x_type *dx, const x_type *x, const y_type *grad,               \
                                       const float *weight, const float *means, const float *rstds,   \
                                       int width, int packed) {                                       \
        layer_norm_grad_x(dx, x, grad, weight, means, rstds, width, packed);                          \
    }                                                                                                 \
    EXPORT(layer_norm_grad_x_##X##_##Y)                                                               \
    KERNEL layer_norm_grad_w_##X##_##Y(float *parts, const x_type *x, const y_type *grad,             \
                                       const float *means, const float *rstds, int rows, int width) { \
        layer_norm_grad_w(parts, x, grad, means, rstds, rows, width);                                 \
    }                                                                                                 \
    EXPORT(layer_norm_grad_w_##X##_##Y)

FOR_RESULTS(LAYER_NORM)
