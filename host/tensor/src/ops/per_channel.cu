// Statistics and affine maps per sample and channel of x (samples, rows, width): what batch norm and group
// norm are made of. Statistics are (samples, width).

/// Sums of g and of g (x - mean) in each column of each sample, where g is grad, or x - mean without one:
/// parts (samples, parts, 2, width).
template <typename T>
__device__ void products(float *parts, const T *x, const T *grad, const float *mean, int rows, int width) {
    size_t sample = (size_t)blockIdx.z * rows * width;
    mean += (size_t)blockIdx.z * width;
    over_columns<2>(parts, rows, width, 1.0f, [&](int row, int column, float *sums) {
        size_t at = sample + (size_t)row * width + column;
        float centred = widen(x[at]) - mean[column];
        float g = grad ? widen(grad[at]) : centred;
        sums[0] += g;
        sums[1] += g * centred;
    });
}

/// y = a grad + b (x - mean) + c, without a and grad if they are null; four elements a thread.
template <typename T>
__device__ void combine(T *y, const T *x, const T *grad, const float *mean, const float *a, const float *b,
                        const float *c, int rows, int width, long long count, int packed) {
    long long first = ((long long)blockIdx.x * blockDim.x + threadIdx.x) * PACK;
    if (first >= count) {
        return;
    }
    // Packed elements are of one row.
    long long at = first / width / rows * width + first % width;
    if (packed) {
        float values[PACK], slopes[PACK] = {0.0f, 0.0f, 0.0f, 0.0f};
        load(values, x + first);
        if (grad) {
            load(slopes, grad + first);
        }
#pragma unroll
        for (int j = 0; j < PACK; j++) {
            values[j] = b[at + j] * (values[j] - mean[at + j]) + c[at + j];
            values[j] += grad ? a[at + j] * slopes[j] : 0.0f;
        }
        store(y + first, values);
        return;
    }
    for (long long i = first; i < count && i < first + PACK; i++) {
        at = i / width / rows * width + i % width;
        float value = b[at] * (widen(x[i]) - mean[at]) + c[at];
        y[i] = narrow<T>(grad ? value + a[at] * widen(grad[i]) : value);
    }
}

#define PER_CHANNEL(X, x_type)                                                                        \
    KERNEL products_##X(float *parts, const x_type *x, const x_type *grad, const float *mean,         \
                        int rows, int width) {                                                        \
        products(parts, x, grad, mean, rows, width);                                                  \
    }                                                                                                 \
    EXPORT(products_##X)                                                                              \
    KERNEL combine_##X(x_type *y, const x_type *x, const x_type *grad, const float *mean,             \
                       const float *a, const float *b, const float *c, int rows, int width,           \
                       long long count, int packed) {                                                 \
        combine(y, x, grad, mean, a, b, c, rows, width, count, packed);                               \
    }                                                                                                 \
    EXPORT(combine_##X)

FOR_TYPES(PER_CHANNEL)
