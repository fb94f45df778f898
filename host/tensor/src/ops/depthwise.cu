// Depthwise convolution over maps (B, H, W, C), and its gradients.
//
// A lane computes channels side by side, so that a warp reads whole lines of memory: four where C allows
// it. At stride 1, a thread computes TILE neighbouring pixels from a window that it reads once per line.

/// Neighbouring pixels that a thread computes.
#define TILE 4

/// Warps of a block.
#define WARPS 4

template <int V, typename T> __device__ inline void read(float (&values)[V], const T *from) {
    if constexpr (V == PACK) {
        load(values, from);
    } else {
        values[0] = widen(*from);
    }
}

template <int V, typename T> __device__ inline void write(T *to, const float (&values)[V]) {
    if constexpr (V == PACK) {
        store(to, values);
    } else {
        *to = narrow<T>(values[0]);
    }
}

/// `count` pixels of the line `y` from column `x` on; those outside of the map are 0.
template <int V, int COUNT, typename T>
__device__ inline void read_line(float (&line)[COUNT][V], const T *map, int y, int x, int height,
                                 int width, int channels) {
    bool inside = y >= 0 && y < height;
#pragma unroll
    for (int i = 0; i < COUNT; i++) {
        if (inside && x + i >= 0 && x + i < width) {
            read<V>(line[i], map + ((size_t)y * width + x + i) * channels);
        } else {
#pragma unroll
            for (int j = 0; j < V; j++) {
                line[i][j] = 0.0f;
            }
        }
    }
}

/// y[b, i, j, c] = bias[c] + sum over taps of x[b, i - top + tap_h, j - left + tap_w, c] weight[tap, c];
/// `turned` takes the taps in the opposite order. A warp has a tile of a line of y.
template <int K, int V, typename T>
__device__ void depthwise_tile(T *y, const T *x, const float *weight, const float *bias, int batch,
                               int height, int width, int channels, int out_height, int out_width,
                               int taps_h, int top, int left, int turned) {
    int channel = (blockIdx.y * WARP + threadIdx.x % WARP) * V;
    int tiles = (out_width + TILE - 1) / TILE;
    int piece = blockIdx.x * WARPS + threadIdx.x / WARP;
    // Warps of a block have lines below each other, which read the same lines of x.
    int row = piece % out_height, tile = piece / out_height % tiles;
    int image = piece / out_height / tiles;
    if (image >= batch || channel >= channels) {
        return;
    }
    int column = tile * TILE;
    float sums[TILE][V];
#pragma unroll
    for (int j = 0; j < V; j++) {
        float start = bias ? bias[channel + j] : 0.0f;
#pragma unroll
        for (int i = 0; i < TILE; i++) {
            sums[i][j] = start;
        }
    }
    x += (size_t)image * height * width * channels + channel;
    for (int tap_h = 0; tap_h < taps_h; tap_h++) {
        float line[TILE + K - 1][V];
        read_line<V>(line, x, row - top + tap_h, column - left, height, width, channels);
#pragma unroll
        for (int tap_w = 0; tap_w < K; tap_w++) {
            int tap = tap_h * K + tap_w;
            tap = turned ? taps_h * K - 1 - tap : tap;
            float factors[V];
            read<V>(factors, weight + (size_t)tap * channels + channel);
#pragma unroll
            for (int i = 0; i < TILE; i++) {
#pragma unroll
                for (int j = 0; j < V; j++) {
                    sums[i][j] += line[i + tap_w][j] * factors[j];
                }
            }
        }
    }
    y += (((size_t)image * out_height + row) * out_width + column) * channels + channel;
#pragma unroll
    for (int i = 0; i < TILE; i++) {
        if (column + i < out_width) {
            write<V>(y + (size_t)i * channels, sums[i]);
        }
    }
}

/// The weight's gradient at stride 1: parts (parts, taps, C). A block has one line of taps, and its warps
/// take turns with the lines of part blockIdx.z of all images.
template <int K, int V, typename T>
__device__ void depthwise_grad_w_tile(float *parts, const T *x, const T *grad, int batch, int height,
                                      int width, int channels, int out_height, int out_width, int taps_h,
                                      int top, int left) {
    __shared__ float shared[WARPS][K][WARP * V];
    int lane = threadIdx.x % WARP, warp = threadIdx.x / WARP;
    int channel = (blockIdx.y * WARP + lane) * V, tap_h = blockIdx.x;
    int lines = batch * out_height;
    int share = (lines + gridDim.z - 1) / gridDim.z;
    int first = blockIdx.z * share, end = min(lines, first + share);
    float sums[K][V];
#pragma unroll
    for (int i = 0; i < K; i++) {
#pragma unroll
        for (int j = 0; j < V; j++) {
            sums[i][j] = 0.0f;
        }
    }
    for (int line = first + warp; line < end && channel < channels; line += WARPS) {
        int image = line / out_height, row = line % out_height;
        const T *map = x + (size_t)image * height * width * channels + channel;
        const T *slopes = grad + (size_t)image * out_height * out_width * channels + channel;
        for (int column = 0; column < out_width; column += TILE) {
            float pixels[TILE + K - 1][V], slope[TILE][V];
            read_line<V>(pixels, map, row - top + tap_h, column - left, height, width, channels);
            read_line<V>(slope, slopes, row, column, out_height, out_width, channels);
#pragma unroll
            for (int tap_w = 0; tap_w < K; tap_w++) {
#pragma unroll
                for (int i = 0; i < TILE; i++) {
#pragma unroll
                    for (int j = 0; j < V; j++) {
                        sums[tap_w][j] += pixels[i + tap_w][j] * slope[i][j];
                    }
                }
            }
        }
    }
#pragma unroll
    for (int i = 0; i < K; i++) {
#pragma unroll
        for (int j = 0; j < V; j++) {
            shared[warp][i][lane * V + j] = sums[i][j];
        }
    }
    __syncthreads();
    for (int i = threadIdx.x; i < K * WARP * V; i += blockDim.x) {
        int tap_w = i / (WARP * V), at = i % (WARP * V);
        int column = blockIdx.y * WARP * V + at;
        if (column < channels) {
            float sum = 0.0f;
            for (int j = 0; j < WARPS; j++) {
                sum += shared[j][tap_w][at];
            }
            int tap = tap_h * K + tap_w;
            parts[((size_t)blockIdx.z * taps_h * K + tap) * channels + column] = sum;
        }
    }
}

/// As depthwise_tile for any stride, for elements of x that lie `spread` apart, and for any distance
/// between taps. A thread has one element of y.
template <typename T>
__device__ void depthwise_any(T *y, const T *x, const float *weight, const float *bias, int batch,
                              int height, int width, int channels, int out_height, int out_width,
                              int taps_h, int taps_w, int top, int left, int stride_h, int stride_w,
                              int spread_h, int spread_w, int apart_h, int apart_w, int turned) {
    long long at = (long long)blockIdx.x * blockDim.x + threadIdx.x;
    if (at >= (long long)batch * out_height * out_width * channels) {
        return;
    }
    int channel = at % channels;
    int column = at / channels % out_width, row = at / channels / out_width % out_height;
    x += at / channels / out_width / out_height * height * width * channels + channel;
    float sum = bias ? bias[channel] : 0.0f;
    for (int tap_h = 0; tap_h < taps_h; tap_h++) {
        int i = row * stride_h - top + tap_h * apart_h;
        if (i < 0 || i % spread_h != 0 || i / spread_h >= height) {
            continue;
        }
        for (int tap_w = 0; tap_w < taps_w; tap_w++) {
            int j = column * stride_w - left + tap_w * apart_w;
            if (j < 0 || j % spread_w != 0 || j / spread_w >= width) {
                continue;
            }
            int tap = tap_h * taps_w + tap_w;
            tap = turned ? taps_h * taps_w - 1 - tap : tap;
            float factor = weight[(size_t)tap * channels + channel];
            sum += widen(x[((size_t)(i / spread_h) * width + j / spread_w) * channels]) * factor;
        }
    }
    y[at] = narrow<T>(sum);
}

/// As depthwise_grad_w_tile for any stride and distance between taps. A block has one tap.
template <typename T>
__device__ void depthwise_grad_w_any(float *parts, const T *x, const T *grad, int batch, int height,
                                     int width, int channels, int out_height, int out_width, int taps_h,
                                     int taps_w, int top, int left, int stride_h, int stride_w,
                                     int apart_h, int apart_w) {
    __shared__ float sums[WARPS][WARP];
    int lane = threadIdx.x % WARP, warp = threadIdx.x / WARP;
    int channel = blockIdx.y * WARP + lane;
    int tap_h = blockIdx.x / taps_w, tap_w = blockIdx.x % taps_w;
    int lines = batch * out_height;
    int share = (lines + gridDim.z - 1) / gridDim.z;
    int first = blockIdx.z * share, end = min(lines, first + share);
    float sum = 0.0f;
    for (int line = first + warp; line < end && channel < channels; line += WARPS) {
        int image = line / out_height;
        int i = line % out_height * stride_h - top + tap_h * apart_h;
        if (i < 0 || i >= height) {
            continue;
        }
        for (int column = 0; column < out_width; column++) {
            int j = column * stride_w - left + tap_w * apart_w;
            if (j >= 0 && j < width) {
                float pixel = widen(x[(((size_t)image * height + i) * width + j) * channels + channel]);
                sum += pixel * widen(grad[((size_t)line * out_width + column) * channels + channel]);
            }
        }
    }
    sums[warp][lane] = sum;
    __syncthreads();
    if (warp == 0 && channel < channels) {
        sum = 0.0f;
        for (int i = 0; i < WARPS; i++) {
            sum += sums[i][lane];
        }
        parts[((size_t)blockIdx.z * taps_h * taps_w + blockIdx.x) * channels + channel] = sum;
    }
}

#define TILED(K, T, type)                                                                             \
    KERNEL depthwise_##K##_##T(type *y, const type *x, const float *weight, const float *bias,        \
                               int batch, int height, int width, int channels, int out_height,        \
                               int out_width, int taps_h, int top, int left, int turned,              \
                               int packed) {                                                          \
        if (packed) {                                                                                 \
            depthwise_tile<K, PACK>(y, x, weight, bias, batch, height, width, channels, out_height,   \
                                    out_width, taps_h, top, left, turned);                            \
        } else {                                                                                      \
            depthwise_tile<K, 1>(y, x, weight, bias, batch, height, width, channels, out_height,      \
                                 out_width, taps_h, top, left, turned);                               \
        }                                                                                             \
    }                                                                                                 \
    EXPORT(depthwise_##K##_##T)                                                                       \
    KERNEL depthwise_grad_w_##K##_##T(float *parts, const type *x, const type *grad, int batch,       \
                                      int height, int width, int channels, int out_height,            \
                                      int out_width, int taps_h, int top, int left, int packed) {     \
        if (packed) {                                                                                 \
            depthwise_grad_w_tile<K, PACK>(parts, x, grad, batch, height, width, channels,            \
                                           out_height, out_width, taps_h, top, left);                 \
        } else {                                                                                      \
            depthwise_grad_w_tile<K, 1>(parts, x, grad, batch, height, width, channels, out_height,   \
                                        out_width, taps_h, top, left);                                \
        }                                                                                             \
    }                                                                                                 \
    EXPORT(depthwise_grad_w_##K##_##T)

#define DEPTHWISE(T, type)                                                                            \
    TILED(3, T, type)                                                                                 \
    TILED(5, T, type)                                                                                 \
    TILED(7, T, type)                                                                                 \
    KERNEL depthwise_any_##T(type *y, const type *x, const float *weight, const float *bias,          \
                             int batch, int height, int width, int channels, int out_height,          \
                             int out_width, int taps_h, int taps_w, int top, int left, int stride_h,  \
                             int stride_w, int spread_h, int spread_w, int apart_h, int apart_w,      \
                             int turned) {                                                            \
        depthwise_any(y, x, weight, bias, batch, height, width, channels, out_height, out_width,      \
                      taps_h, taps_w, top, left, stride_h, stride_w, spread_h, spread_w, apart_h,     \
                      apart_w, turned);                                                               \
    }                                                                                                 \
    EXPORT(depthwise_any_##T)                                                                         \
    KERNEL depthwise_grad_w_any_##T(float *parts, const type *x, const type *grad, int batch,         \
                                    int height, int width, int channels, int out_height,              \
                                    int out_width, int taps_h, int taps_w, int top, int left,         \
                                    int stride_h, int stride_w, int apart_h, int apart_w) {           \
        depthwise_grad_w_any(parts, x, grad, batch, height, width, channels, out_height, out_width,   \
                             taps_h, taps_w, top, left, stride_h, stride_w, apart_h, apart_w);        \
    }                                                                                                 \
    EXPORT(depthwise_grad_w_any_##T)

FOR_TYPES(DEPTHWISE)
