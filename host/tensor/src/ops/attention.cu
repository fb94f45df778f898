// Attention without a matrix of weights (Dao, 2023), for heads of 32 or 64 channels in bf16 and f16.
//
// A block has 64 queries (or 64 keys, for their gradients), its four warps 16 each, and goes over the
// other side 64 at a time. What is multiplied lies in shared memory: by rows where the product sums over
// channels, by columns where it sums over queries or keys. Gradients of queries and of keys are made by
// kernels of their own, each of which computes the weights again: nothing is added by two blocks, so that
// results are the same in each run.
//
// Maps are given as (batch, heads, rows, D) with any strides but that of D; results are (batch, rows,
// heads, D) in memory.

/// Rows of a tile.
#define ROWS 64

/// Threads of a block.
#define THREADS 128

/// What lies between rows or columns in shared memory, in elements: no two lanes meet in a bank.
#define GAP 8

#define LOG2_E 1.4426950408889634f

/// Distances in elements.
struct Strides {
    int batch, head, row;
};

/// The first row of a head.
template <typename T> __device__ inline const T *head_of(const T *map, Strides strides) {
    return map + (size_t)blockIdx.z * strides.batch + (size_t)blockIdx.y * strides.head;
}

/// A tile in shared memory.
template <typename T, int D> struct ByRows {
    T at[ROWS][D + GAP];

    /// The register of two channels from `channel` on.
    __device__ inline unsigned pair(int row, int channel) const {
        return *(const unsigned *)&at[row][channel];
    }
};

template <typename T, int D> struct ByColumns {
    T at[D][ROWS + GAP];

    /// The register of two rows from `row` on.
    __device__ inline unsigned pair(int channel, int row) const {
        return *(const unsigned *)&at[channel][row];
    }
};

struct __align__(16) Chunk {
    unsigned words[4];
};

/// Copies the rows from `first` on, of `count` in all; what is beyond them is 0. Either place may be null.
template <typename T, int D>
__device__ inline void load_tile(ByRows<T, D> *rows, ByColumns<T, D> *columns, const T *from, int stride,
                                 int first, int count) {
    for (int i = threadIdx.x; i < ROWS * D / 8; i += THREADS) {
        int row = i % ROWS, channel = i / ROWS * 8;
        Chunk chunk = {{0, 0, 0, 0}};
        if (first + row < count) {
            chunk = *(const Chunk *)(from + (size_t)(first + row) * stride + channel);
        }
        if (rows) {
            *(Chunk *)&rows->at[row][channel] = chunk;
        }
        if (columns) {
#pragma unroll
            for (int j = 0; j < 8; j++) {
                columns->at[channel + j][row].bits = (unsigned short)(chunk.words[j / 2] >> (j % 2 * 16));
            }
        }
    }
}

/// The left side of products, from memory: this warp's 16 rows from `first` on.
template <typename T, int D>
__device__ inline void load_rows(unsigned (&a)[D / 16][4], const T *from, int stride, int first,
                                 int count) {
    int lane = threadIdx.x % WARP, group = lane / 4, pair = lane % 4 * 2;
#pragma unroll
    for (int i = 0; i < 4; i++) {
        int row = first + group + i % 2 * 8;
#pragma unroll
        for (int step = 0; step < D / 16; step++) {
            const T *at = from + (size_t)row * stride + step * 16 + i / 2 * 8 + pair;
            a[step][i] = row < count ? *(const unsigned *)at : 0;
        }
    }
}

/// sums (16 rows, 64) = a times the transpose of a tile of rows.
template <typename T, int D>
__device__ inline void by_rows(float (&sums)[ROWS / 8][4], const unsigned (&a)[D / 16][4],
                               const ByRows<T, D> &tile) {
    int lane = threadIdx.x % WARP, group = lane / 4, pair = lane % 4 * 2;
#pragma unroll
    for (int n = 0; n < ROWS / 8; n++) {
#pragma unroll
        for (int i = 0; i < 4; i++) {
            sums[n][i] = 0.0f;
        }
#pragma unroll
        for (int step = 0; step < D / 16; step++) {
            int channel = step * 16 + pair;
            multiply<T>(sums[n], a[step], tile.pair(n * 8 + group, channel),
                        tile.pair(n * 8 + group, channel + 8));
        }
    }
}

/// sums (16 rows, D) += weights (16 rows, 64), rounded to T, times a tile of rows.
template <typename T, int D>
__device__ inline void by_columns(float (&sums)[D / 8][4], const float (&weights)[ROWS / 8][4],
                                  const ByColumns<T, D> &tile) {
    int lane = threadIdx.x % WARP, group = lane / 4, pair = lane % 4 * 2;
#pragma unroll
    for (int step = 0; step < ROWS / 16; step++) {
        // A product's result lies as a product's left side is read.
        const float(&left)[4] = weights[step * 2], (&right)[4] = weights[step * 2 + 1];
        unsigned a[4] = {both<T>(left[0], left[1]), both<T>(left[2], left[3]),
                         both<T>(right[0], right[1]), both<T>(right[2], right[3])};
#pragma unroll
        for (int n = 0; n < D / 8; n++) {
            int row = step * 16 + pair;
            multiply<T>(sums[n], a, tile.pair(n * 8 + group, row), tile.pair(n * 8 + group, row + 8));
        }
    }
}

/// Writes this warp's 16 rows from `first` on, times a factor for the rows g and g + 8.
template <typename T, int D>
__device__ inline void store_rows(T *to, const float (&sums)[D / 8][4], const float (&factors)[2],
                                  int first, int count) {
    int lane = threadIdx.x % WARP, group = lane / 4, pair = lane % 4 * 2;
    int heads = gridDim.y;
#pragma unroll
    for (int i = 0; i < 2; i++) {
        int row = first + group + i * 8;
        if (row < count) {
            T *at = to + (((size_t)blockIdx.z * count + row) * heads + blockIdx.y) * D + pair;
#pragma unroll
            for (int n = 0; n < D / 8; n++) {
                float left = sums[n][i * 2] * factors[i], right = sums[n][i * 2 + 1] * factors[i];
                *(unsigned *)(at + n * 8) = both<T>(left, right);
            }
        }
    }
}

template <int N> __device__ inline void clear(float (&sums)[N][4]) {
#pragma unroll
    for (int n = 0; n < N; n++) {
#pragma unroll
        for (int i = 0; i < 4; i++) {
            sums[n][i] = 0.0f;
        }
    }
}

/// A row's values lie in four lanes.
template <typename How> __device__ inline float over_row_lanes(float value) {
    value = How::join(value, __shfl_xor_sync(ALL_LANES, value, 1));
    return How::join(value, __shfl_xor_sync(ALL_LANES, value, 2));
}

/// y = softmax(scale q k^T) v, and log(sum(e^(scale q k^T))) per query (batch, heads, queries).
template <typename T, int D>
__device__ void attention(T *y, float *log_sums, const T *q, const T *k, const T *v, int queries,
                          int keys, Strides strides_q, Strides strides_k, Strides strides_v,
                          float scale) {
    __shared__ ByRows<T, D> k_tile;
    __shared__ ByColumns<T, D> v_tile;
    q = head_of(q, strides_q);
    k = head_of(k, strides_k);
    v = head_of(v, strides_v);
    int lane = threadIdx.x % WARP, group = lane / 4, pair = lane % 4 * 2;
    int first = blockIdx.x * ROWS + threadIdx.x / WARP * 16;
    unsigned left[D / 16][4];
    load_rows<T, D>(left, q, strides_q.row, first, queries);
    float output[D / 8][4], most[2] = {-INFINITY, -INFINITY}, sum[2] = {0.0f, 0.0f};
    clear(output);
    // Powers of 2 take one instruction.
    scale *= LOG2_E;
    for (int start = 0; start < keys; start += ROWS) {
        __syncthreads();
        load_tile<T, D>(&k_tile, nullptr, k, strides_k.row, start, keys);
        load_tile<T, D>(nullptr, &v_tile, v, strides_v.row, start, keys);
        __syncthreads();
        float scores[ROWS / 8][4];
        by_rows<T, D>(scores, left, k_tile);
        float largest[2] = {most[0], most[1]};
#pragma unroll
        for (int n = 0; n < ROWS / 8; n++) {
#pragma unroll
            for (int i = 0; i < 4; i++) {
                bool inside = start + n * 8 + pair + i % 2 < keys;
                scores[n][i] = inside ? scores[n][i] * scale : -INFINITY;
                largest[i / 2] = fmaxf(largest[i / 2], scores[n][i]);
            }
        }
        float fade[2];
#pragma unroll
        for (int i = 0; i < 2; i++) {
            largest[i] = over_row_lanes<Most>(largest[i]);
            fade[i] = exp2f(most[i] - largest[i]);
            most[i] = largest[i];
            sum[i] *= fade[i];
        }
#pragma unroll
        for (int n = 0; n < ROWS / 8; n++) {
#pragma unroll
            for (int i = 0; i < 4; i++) {
                scores[n][i] = exp2f(scores[n][i] - most[i / 2]);
                sum[i / 2] += scores[n][i];
            }
        }
#pragma unroll
        for (int n = 0; n < D / 8; n++) {
#pragma unroll
            for (int i = 0; i < 4; i++) {
                output[n][i] *= fade[i / 2];
            }
        }
        by_columns<T, D>(output, scores, v_tile);
    }
    float factors[2];
#pragma unroll
    for (int i = 0; i < 2; i++) {
        sum[i] = over_row_lanes<Sum>(sum[i]);
        factors[i] = 1.0f / sum[i];
        int row = first + group + i * 8;
        if (pair == 0 && row < queries) {
            size_t head = (size_t)blockIdx.z * gridDim.y + blockIdx.y;
            log_sums[head * queries + row] = most[i] / LOG2_E + logf(sum[i]);
        }
    }
    store_rows<T, D>(y, output, factors, first, queries);
}

/// sum(y grad) per query (batch, heads, queries): a warp for each.
template <typename T, int D>
__device__ void attention_along(float *along, const T *y, const T *grad, int queries, Strides strides_y,
                                Strides strides_g) {
    int row = blockIdx.x * (THREADS / WARP) + threadIdx.x / WARP, lane = threadIdx.x % WARP;
    if (row >= queries) {
        return;
    }
    y = head_of(y, strides_y) + (size_t)row * strides_y.row;
    grad = head_of(grad, strides_g) + (size_t)row * strides_g.row;
    float sum = 0.0f;
    for (int i = lane; i < D; i += WARP) {
        sum += widen(y[i]) * widen(grad[i]);
    }
    sum = over_warp<Sum>(sum);
    if (lane == 0) {
        along[((size_t)blockIdx.z * gridDim.y + blockIdx.y) * queries + row] = sum;
    }
}

/// dq = scale (weights (grad v^T - along)) k.
template <typename T, int D>
__device__ void attention_grad_q(T *dq, const T *q, const T *k, const T *v, const T *grad,
                                 const float *log_sums, const float *along, int queries, int keys,
                                 Strides strides_q, Strides strides_k, Strides strides_v,
                                 Strides strides_g, float scale) {
    __shared__ ByRows<T, D> k_rows, v_rows;
    __shared__ ByColumns<T, D> k_columns;
    q = head_of(q, strides_q);
    k = head_of(k, strides_k);
    v = head_of(v, strides_v);
    grad = head_of(grad, strides_g);
    size_t head = (size_t)blockIdx.z * gridDim.y + blockIdx.y;
    int lane = threadIdx.x % WARP, group = lane / 4, pair = lane % 4 * 2;
    int first = blockIdx.x * ROWS + threadIdx.x / WARP * 16;
    unsigned left[D / 16][4], slopes[D / 16][4];
    load_rows<T, D>(left, q, strides_q.row, first, queries);
    load_rows<T, D>(slopes, grad, strides_g.row, first, queries);
    float log_sum[2], share[2];
#pragma unroll
    for (int i = 0; i < 2; i++) {
        int row = first + group + i * 8;
        log_sum[i] = row < queries ? log_sums[head * queries + row] * LOG2_E : 0.0f;
        share[i] = row < queries ? along[head * queries + row] : 0.0f;
    }
    float sums[D / 8][4];
    clear(sums);
    for (int start = 0; start < keys; start += ROWS) {
        __syncthreads();
        load_tile<T, D>(&k_rows, &k_columns, k, strides_k.row, start, keys);
        load_tile<T, D>(&v_rows, nullptr, v, strides_v.row, start, keys);
        __syncthreads();
        float weights[ROWS / 8][4], changes[ROWS / 8][4];
        by_rows<T, D>(weights, left, k_rows);
        by_rows<T, D>(changes, slopes, v_rows);
#pragma unroll
        for (int n = 0; n < ROWS / 8; n++) {
#pragma unroll
            for (int i = 0; i < 4; i++) {
                bool inside = start + n * 8 + pair + i % 2 < keys;
                float weight = exp2f(weights[n][i] * (scale * LOG2_E) - log_sum[i / 2]);
                weights[n][i] = inside ? weight * (changes[n][i] - share[i / 2]) : 0.0f;
            }
        }
        by_columns<T, D>(sums, weights, k_columns);
    }
    const float factors[2] = {scale, scale};
    store_rows<T, D>(dq, sums, factors, first, queries);
}

/// dv = weights^T grad and dk = scale (weights (grad v^T - along))^T q.
template <typename T, int D>
__device__ void attention_grad_kv(T *dk, T *dv, const T *q, const T *k, const T *v, const T *grad,
                                  const float *log_sums, const float *along, int queries, int keys,
                                  Strides strides_q, Strides strides_k, Strides strides_v,
                                  Strides strides_g, float scale) {
    __shared__ ByRows<T, D> q_rows, g_rows;
    __shared__ ByColumns<T, D> q_columns, g_columns;
    __shared__ float log_sum[ROWS], share[ROWS];
    q = head_of(q, strides_q);
    k = head_of(k, strides_k);
    v = head_of(v, strides_v);
    grad = head_of(grad, strides_g);
    size_t head = (size_t)blockIdx.z * gridDim.y + blockIdx.y;
    int pair = threadIdx.x % 4 * 2;
    int first = blockIdx.x * ROWS + threadIdx.x / WARP * 16;
    unsigned left[D / 16][4], values[D / 16][4];
    load_rows<T, D>(left, k, strides_k.row, first, keys);
    load_rows<T, D>(values, v, strides_v.row, first, keys);
    float sums_k[D / 8][4], sums_v[D / 8][4];
    clear(sums_k);
    clear(sums_v);
    for (int start = 0; start < queries; start += ROWS) {
        __syncthreads();
        load_tile<T, D>(&q_rows, &q_columns, q, strides_q.row, start, queries);
        load_tile<T, D>(&g_rows, &g_columns, grad, strides_g.row, start, queries);
        for (int i = threadIdx.x; i < ROWS; i += THREADS) {
            bool inside = start + i < queries;
            // Weights of what is beyond the queries become 0.
            log_sum[i] = inside ? log_sums[head * queries + start + i] * LOG2_E : INFINITY;
            share[i] = inside ? along[head * queries + start + i] : 0.0f;
        }
        __syncthreads();
        // Rows are keys, columns are queries.
        float weights[ROWS / 8][4];
        by_rows<T, D>(weights, left, q_rows);
#pragma unroll
        for (int n = 0; n < ROWS / 8; n++) {
#pragma unroll
            for (int i = 0; i < 4; i++) {
                weights[n][i] =
                    exp2f(weights[n][i] * (scale * LOG2_E) - log_sum[n * 8 + pair + i % 2]);
            }
        }
        by_columns<T, D>(sums_v, weights, g_columns);
        float changes[ROWS / 8][4];
        by_rows<T, D>(changes, values, g_rows);
#pragma unroll
        for (int n = 0; n < ROWS / 8; n++) {
#pragma unroll
            for (int i = 0; i < 4; i++) {
                changes[n][i] = weights[n][i] * (changes[n][i] - share[n * 8 + pair + i % 2]);
            }
        }
        by_columns<T, D>(sums_k, changes, q_columns);
    }
    const float whole[2] = {1.0f, 1.0f}, factors[2] = {scale, scale};
    store_rows<T, D>(dv, sums_v, whole, first, keys);
    store_rows<T, D>(dk, sums_k, factors, first, keys);
}

#define ATTENTION(D, T)                                                                               \
    KERNEL attention_##D##_##T(T *y, float *log_sums, const T *q, const T *k, const T *v,             \
                               int queries, int keys, int qb, int qh, int qr, int kb, int kh, int kr, \
                               int vb, int vh, int vr, float scale) {                                 \
        attention<T, D>(y, log_sums, q, k, v, queries, keys, Strides{qb, qh, qr},                     \
                        Strides{kb, kh, kr}, Strides{vb, vh, vr}, scale);                             \
    }                                                                                                 \
    EXPORT(attention_##D##_##T)                                                                       \
    KERNEL attention_along_##D##_##T(float *along, const T *y, const T *grad, int queries, int yb,    \
                                     int yh, int yr, int gb, int gh, int gr) {                        \
        attention_along<T, D>(along, y, grad, queries, Strides{yb, yh, yr}, Strides{gb, gh, gr});     \
    }                                                                                                 \
    EXPORT(attention_along_##D##_##T)                                                                 \
    KERNEL attention_grad_q_##D##_##T(T *dq, const T *q, const T *k, const T *v, const T *grad,       \
                                      const float *log_sums, const float *along, int queries,         \
                                      int keys, int qb, int qh, int qr, int kb, int kh, int kr,       \
                                      int vb, int vh, int vr, int gb, int gh, int gr, float scale) {  \
        attention_grad_q<T, D>(dq, q, k, v, grad, log_sums, along, queries, keys,                     \
                               Strides{qb, qh, qr}, Strides{kb, kh, kr}, Strides{vb, vh, vr},         \
                               Strides{gb, gh, gr}, scale);                                           \
    }                                                                                                 \
    EXPORT(attention_grad_q_##D##_##T)                                                                \
    KERNEL attention_grad_kv_##D##_##T(T *dk, T *dv, const T *q, const T *k, const T *v,              \
                                       const T *grad, const float *log_sums, const float *along,      \
                                       int queries, int keys, int qb, int qh, int qr, int kb, int kh, \
                                       int kr, int vb, int vh, int vr, int gb, int gh, int gr,        \
                                       float scale) {                                                 \
        attention_grad_kv<T, D>(dk, dv, q, k, v, grad, log_sums, along, queries, keys,                \
                                Strides{qb, qh, qr}, Strides{kb, kh, kr}, Strides{vb, vh, vr},        \
                                Strides{gb, gh, gr}, scale);                                          \
    }                                                                                                 \
    EXPORT(attention_grad_kv_##D##_##T)

ATTENTION(32, bf16)
ATTENTION(64, bf16)
ATTENTION(32, f16)
ATTENTION(64, f16)
