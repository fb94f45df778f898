// Statistics and affine maps per sample and channel of x (samples, rows, width): what batch norm and group
// norm are made of. Statistics are (samples, width).

/// For part blockIdx.y of the rows of sample blockIdx.z, sums of g and of g (x - mean) in each column, where
/// g is grad, or x - mean without one: parts (samples, parts, 2, width). A warp's lanes are columns side by
/// side, its block's warps take turns with the rows.
template <typename T>
__device__ void products(float *parts, const T *x, const T *grad, const float *mean, int rows, int width) {
    __shared__ float sums[2][8][WARP];
    int lane = threadIdx.x % WARP, warp = threadIdx.x / WARP, warps = blockDim.x / WARP;
    int column = blockIdx.x * WARP + lane;
    int share = (rows + gridDim.y - 1) / gridDim.y;
    int first = blockIdx.y * share;
    int end = min(rows, first + share);
    float sum = 0.0f, product = 0.0f;
    if (column < width) {
        size_t place = (size_t)blockIdx.z * rows * width + column;
        float middle = mean[(size_t)blockIdx.z * width + column];
        for (int row = first + warp; row < end; row += warps) {
            size_t at = place + (size_t)row * width;
            float centred = widen(x[at]) - middle;
            float g = grad ? widen(grad[at]) : centred;
            sum += g;
            product += g * centred;
        }
    }
    sums[0][warp][lane] = sum;
    sums[1][warp][lane] = product;
    __syncthreads();
    if (warp < 2 && column < width) {
        sum = 0.0f;
        for (int i = 0; i < warps; i++) {
            sum += sums[warp][i][lane];
        }
        parts[(((size_t)blockIdx.z * gridDim.y + blockIdx.y) * 2 + warp) * width + column] = sum;
    }
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
