// Sums over the columns and rows of matrices.

/// `scale` times the sums of the columns of x (outer, rows, width): parts (outer, parts, width).
template <typename T>
__device__ void column_sums(float *parts, const T *x, int rows, int width, float scale) {
    x += (size_t)blockIdx.z * rows * width;
    over_columns<1>(parts, rows, width, scale, [&](int row, int column, float *sums) {
        sums[0] += widen(x[(size_t)row * width + column]);
    });
}

/// `scale` times the sum of each row of x, a block for each.
template <typename T>
__device__ void row_sums(float *sums, const T *x, int width, float scale, int packed) {
    float sum = 0.0f;
    over_row(x + (size_t)blockIdx.x * width, width, packed, [&](int, float x) { sum += x; });
    sum = over_block<Sum>(sum);
    if (threadIdx.x == 0) {
        sums[blockIdx.x] = sum * scale;
    }
}

#define SUMS(X, x_type)                                                                               \
    KERNEL column_sums_##X(float *parts, const x_type *x, int rows, int width, float scale) {         \
        column_sums(parts, x, rows, width, scale);                                                    \
    }                                                                                                 \
    EXPORT(column_sums_##X)                                                                           \
    KERNEL row_sums_##X(float *sums, const x_type *x, int width, float scale, int packed) {           \
        row_sums(sums, x, width, scale, packed);                                                      \
    }                                                                                                 \
    EXPORT(row_sums_##X)

FOR_TYPES(SUMS)
