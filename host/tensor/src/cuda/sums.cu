// Sums over the columns and rows of matrices.

/// `scale` times the sums of the columns of x (outer, rows, width), blockIdx.z of the outer ones, for part
/// blockIdx.y of the rows: parts (outer, parts, width). A warp's lanes are columns side by side, its
/// block's warps take turns with the rows.
template <typename T>
__device__ void column_sums(float *parts, const T *x, int rows, int width, float scale) {
    __shared__ float sums[8][WARP];
    int lane = threadIdx.x % WARP, warp = threadIdx.x / WARP, warps = blockDim.x / WARP;
    int column = blockIdx.x * WARP + lane;
    int share = (rows + gridDim.y - 1) / gridDim.y;
    int first = blockIdx.y * share;
    int end = min(rows, first + share);
    x += (size_t)blockIdx.z * rows * width;
    float sum = 0.0f;
    if (column < width) {
        for (int row = first + warp; row < end; row += warps) {
            sum += widen(x[(size_t)row * width + column]);
        }
    }
    sums[warp][lane] = sum;
    __syncthreads();
    if (warp == 0 && column < width) {
        sum = 0.0f;
        for (int i = 0; i < warps; i++) {
            sum += sums[i][lane];
        }
        parts[((size_t)blockIdx.z * gridDim.y + blockIdx.y) * width + column] = sum * scale;
    }
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
