// Windows of a map as rows of a matrix, and back; the products between are cuBLAS's.

/// How windows lie in a map (batch, height, width, groups x channels).
#define WINDOWS                                                                                       \
    int height, int width, int out_h, int out_w, int kernel_h, int kernel_w, int stride_h,            \
        int stride_w, int pad_h, int pad_w, int dilation_h, int dilation_w, int groups, int channels
#define WINDOWS_GIVEN                                                                                 \
    height, width, out_h, out_w, kernel_h, kernel_w, stride_h, stride_w, pad_h, pad_w, dilation_h,    \
        dilation_w, groups, channels

/// Copies `step` elements, 1 or PACK; zeros of nowhere.
template <typename T> __device__ inline void copy(T *to, const T *from, int step) {
    if (step == 1) {
        *to = from ? *from : narrow<T>(0.0f);
    } else if (from) {
        *(Pack<T> *)to = *(const Pack<T> *)from;
    } else {
        const float zeros[PACK] = {0.0f, 0.0f, 0.0f, 0.0f};
        store(to, zeros);
    }
}

/// windows (groups, pixels, taps, channels); a thread for each element, or for four.
template <typename T>
__device__ void unfold(T *windows, const T *x, long long pixels, WINDOWS, int packed) {
    int step = packed ? PACK : 1, taps = kernel_h * kernel_w;
    long long i = ((long long)blockIdx.x * blockDim.x + threadIdx.x) * step;
    if (i >= groups * pixels * taps * channels) {
        return;
    }
    int channel = i % channels, tap = i / channels % taps;
    long long row = i / channels / taps, pixel = row % pixels;
    int group = row / pixels;
    int column = pixel % out_w * stride_w - pad_w + tap % kernel_w * dilation_w;
    int line = pixel / out_w % out_h * stride_h - pad_h + tap / kernel_w * dilation_h;
    long long image = pixel / out_w / out_h;
    const T *from = nullptr;
    if (line >= 0 && line < height && column >= 0 && column < width) {
        from = x + (((image * height + line) * width + column) * groups + group) * channels + channel;
    }
    copy(windows + i, from, step);
}

/// x (batch, height, width, groups x channels): for each position the sum of what the windows have of it,
/// in the order of the taps.
template <typename T>
__device__ void fold(float *x, const T *windows, long long pixels, WINDOWS, long long count, int packed) {
    int step = packed ? PACK : 1, taps = kernel_h * kernel_w;
    long long i = ((long long)blockIdx.x * blockDim.x + threadIdx.x) * step;
    if (i >= count) {
        return;
    }
    int channel = i % channels, group = i / channels % groups;
    long long position = i / channels / groups;
    int column = position % width + pad_w, line = position / width % height + pad_h;
    long long image = position / width / height;
    float sums[PACK] = {0.0f, 0.0f, 0.0f, 0.0f};
    for (int tap = 0; tap < taps; tap++) {
        int y = line - tap / kernel_w * dilation_h, z = column - tap % kernel_w * dilation_w;
        if (y < 0 || y % stride_h || z < 0 || z % stride_w) {
            continue;
        }
        y /= stride_h;
        z /= stride_w;
        if (y >= out_h || z >= out_w) {
            continue;
        }
        long long pixel = (image * out_h + y) * out_w + z;
        const T *from = windows + ((group * pixels + pixel) * taps + tap) * channels + channel;
        if (packed) {
            float values[PACK];
            load(values, from);
            for (int j = 0; j < PACK; j++) {
                sums[j] += values[j];
            }
        } else {
            sums[0] += widen(*from);
        }
    }
    if (packed) {
        store(x + i, sums);
    } else {
        x[i] = sums[0];
    }
}

#define CONVOLUTION(X, x_type)                                                                        \
    KERNEL unfold_##X(x_type *windows, const x_type *x, long long pixels, WINDOWS, int packed) {      \
        unfold(windows, x, pixels, WINDOWS_GIVEN, packed);                                            \
    }                                                                                                 \
    EXPORT(unfold_##X)                                                                                \
    KERNEL fold_##X(float *x, const x_type *windows, long long pixels, WINDOWS, long long count,      \
                    int packed) {                                                                     \
        fold(x, windows, pixels, WINDOWS_GIVEN, count, packed);                                       \
    }                                                                                                 \
    EXPORT(fold_##X)

FOR_TYPES(CONVOLUTION)
