// Views made of a batch's images: the bytes that the processor makes, which are PIL's and torchvision's.
//
// An image is bytes (height, width, 3), a view as well. Where floats are truncated, a fused product and
// sum would show: such pairs are written as two roundings.

/// What is to be done for a view: the words of hssl_datasets::Drawn, in their order.
struct View {
    unsigned first[2], between[2];
    unsigned stride, width, height;
    unsigned along_rows, taps_x, along_columns, taps_y;
    unsigned flip;
    unsigned colours[5], factors[5];
    unsigned reach, full, partial;
    unsigned threshold;
};

__device__ inline size_t number(const unsigned (&halves)[2]) {
    return halves[0] | (size_t)halves[1] << 32;
}

/// Fraction bits of a resize's weights.
#define PRECISION 22

/// One pixel of a resized line: of so many neighbours of `from`, `step` bytes apart, as `weights` say for
/// its position; of the pixel at its position if there are no taps.
__device__ inline void resize(unsigned char *to, const unsigned char *from, size_t step,
                              const unsigned *weights, int size, int position, int taps) {
    if (taps == 0) {
        from += position * step;
        to[0] = from[0], to[1] = from[1], to[2] = from[2];
        return;
    }
    from += weights[position] * step;
    weights += size + position * taps;
    int sums[3] = {1 << (PRECISION - 1), 1 << (PRECISION - 1), 1 << (PRECISION - 1)};
    for (int tap = 0; tap < taps; tap++) {
        int weight = (int)weights[tap];
        for (int c = 0; c < 3; c++) {
            sums[c] += from[c] * weight;
        }
        from += step;
    }
    for (int c = 0; c < 3; c++) {
        to[c] = (unsigned char)min(max(sums[c] >> PRECISION, 0), 255);
    }
}

/// The rows of each crop at the view's width. A column of blocks for each view.
KERNEL resize_rows(unsigned char *between, const unsigned char *images, const unsigned *views,
                   const unsigned *weights, int size) {
    const View &view = ((const View *)views)[blockIdx.x];
    int pixel = blockIdx.y * blockDim.x + threadIdx.x;
    int row = pixel / size, x = pixel % size;
    if (row < (int)view.height) {
        const unsigned char *from = images + number(view.first) + (size_t)row * view.stride;
        resize(between + number(view.between) + (size_t)pixel * 3, from, 3, weights + view.along_rows,
               size, x, view.taps_x);
    }
}
EXPORT(resize_rows)

/// The views (size, size, 3) of such rows, mirrored where that is said.
KERNEL resize_columns(unsigned char *made, const unsigned char *between, const unsigned *views,
                      const unsigned *weights, int size) {
    const View &view = ((const View *)views)[blockIdx.x];
    int pixel = blockIdx.y * blockDim.x + threadIdx.x;
    int y = pixel / size, x = pixel % size;
    if (y < size) {
        int column = view.flip ? size - 1 - x : x;
        const unsigned char *from = between + number(view.between) + (size_t)x * 3;
        resize(made + (((size_t)blockIdx.x * size + y) * size + column) * 3, from, (size_t)size * 3,
               weights + view.along_columns, size, y, view.taps_y);
    }
}
EXPORT(resize_columns)

/// PIL's luma.
__device__ inline unsigned luma(const unsigned char *pixel) {
    return (pixel[0] * 19595u + pixel[1] * 38470u + pixel[2] * 7471u + 0x8000u) >> 16;
}

/// PIL's Image.blend: `from` at factor 0, `to` at factor 1, and beyond; rounded down.
__device__ inline unsigned char blend(unsigned from, unsigned to, float factor) {
    float blended = __fadd_rn((float)from, __fmul_rn(factor, (float)to - (float)from));
    return (unsigned char)fminf(fmaxf(blended, 0.0f), 255.0f);
}

/// The sum over a block, in every thread; below 2^32.
__device__ inline unsigned over_block(unsigned value) {
    __shared__ unsigned warps[WARP];
    for (int step = WARP / 2; step > 0; step /= 2) {
        value += __shfl_xor_sync(ALL_LANES, value, step);
    }
    if (threadIdx.x % WARP == 0) {
        warps[threadIdx.x / WARP] = value;
    }
    __syncthreads();
    unsigned sum = 0;
    for (int warp = 0; warp < (int)blockDim.x / WARP; warp++) {
        sum += warps[warp];
    }
    // Nobody writes the next sums before all have read these.
    __syncthreads();
    return sum;
}

__device__ inline float share_of(float max, float value, float range) {
    return __fdiv_rn(max - value, range);
}

/// PIL's hue, turned by so many of 256 steps.
__device__ inline void turn_hue(unsigned char *pixel, int steps) {
    float r = pixel[0], g = pixel[1], b = pixel[2];
    float max = fmaxf(fmaxf(r, g), b), min = fminf(fminf(r, g), b);
    // 1 instead of 0: grey pixels come out with hue and saturation 0.
    float range = fmaxf(max - min, 1.0f);
    float saturated = __fdiv_rn(max - min, fmaxf(max, 1.0f));
    float of_r = share_of(max, r, range), of_g = share_of(max, g, range);
    float of_b = share_of(max, b, range);
    float sixths;
    if (r == max) {
        sixths = of_b - of_g;
    } else if (g == max) {
        sixths = (float)(2.0 + (double)of_r - (double)of_b);
    } else {
        sixths = (float)(4.0 + (double)of_g - (double)of_r);
    }
    double turn = (double)sixths / 6.0 + 1.0;
    double hue = (double)(float)(turn - floor(turn));
    int turned = ((int)floor(hue * 255.0) + steps) & 0xff;

    double place = turned * 6.0 / 255.0;
    double sector = floor(place);
    double share = (double)(float)(place - sector);
    double saturation = (double)(float)(floor((double)saturated * 255.0) / 255.0);
    double v = (double)max;
    double cuts[3] = {saturation, __dmul_rn(saturation, share), __dmul_rn(saturation, 1.0 - share)};
    unsigned char levels[3];
    for (int i = 0; i < 3; i++) {
        levels[i] = (unsigned char)floor(__dadd_rn(__dmul_rn(v, 1.0 - cuts[i]), 0.5));
    }
    unsigned char p = levels[0], q = levels[1], t = levels[2], top = (unsigned char)max;
    switch ((int)sector % 6) {
    case 0: pixel[0] = top, pixel[1] = t, pixel[2] = p; break;
    case 1: pixel[0] = q, pixel[1] = top, pixel[2] = p; break;
    case 2: pixel[0] = p, pixel[1] = top, pixel[2] = t; break;
    case 3: pixel[0] = p, pixel[1] = q, pixel[2] = top; break;
    case 4: pixel[0] = t, pixel[1] = p, pixel[2] = top; break;
    default: pixel[0] = top, pixel[1] = p, pixel[2] = q; break;
    }
}

/// A block for each view; a thread has the same pixels in each change.
KERNEL change_colours(unsigned char *made, const unsigned *views, int size) {
    const View &view = ((const View *)views)[blockIdx.x];
    int count = size * size;
    made += (size_t)blockIdx.x * count * 3;
    for (int change = 0; change < 5; change++) {
        unsigned kind = view.colours[change], bits = view.factors[change];
        float factor = __uint_as_float(bits);
        unsigned mean = 0;
        if (kind == 2) {
            unsigned sum = 0;
            for (int i = threadIdx.x; i < count; i += blockDim.x) {
                sum += luma(made + i * 3);
            }
            mean = (unsigned)((double)over_block(sum) / (double)count + 0.5);
        }
        for (int i = threadIdx.x; i < count && kind != 0; i += blockDim.x) {
            unsigned char *pixel = made + i * 3;
            if (kind == 4) {
                turn_hue(pixel, (int)bits);
                continue;
            }
            unsigned grey = luma(pixel);
            unsigned from = kind == 1 ? 0 : kind == 2 ? mean : grey;
            for (int c = 0; c < 3; c++) {
                pixel[c] = kind == 5 ? (unsigned char)grey : blend(from, pixel[c], factor);
            }
        }
    }
}
EXPORT(change_colours)

/// Boxes one after the other, along rows and then along columns; `work` is as large as `made`. A block for
/// each view.
KERNEL blur(unsigned char *made, unsigned char *work, const unsigned *views, int size) {
    const View &view = ((const View *)views)[blockIdx.x];
    int reach = (int)view.reach - 1, count = size * size * 3;
    if (reach < 0) {
        return;
    }
    unsigned char *from = made + (size_t)blockIdx.x * count;
    unsigned char *to = work + (size_t)blockIdx.x * count;
    for (int pass = 0; pass < 6; pass++) {
        int step = pass < 3 ? 3 : size * 3;
        for (int i = threadIdx.x; i < count; i += blockDim.x) {
            int at = i / step % size;
            const unsigned char *line = from + (i - at * step);
            unsigned sum = 0;
            for (int k = at - reach; k <= at + reach; k++) {
                sum += line[min(max(k, 0), size - 1) * step];
            }
            unsigned outer = line[max(at - reach - 1, 0) * step];
            outer += line[min(at + reach + 1, size - 1) * step];
            to[i] = (unsigned char)((sum * view.full + outer * view.partial + (1u << 23)) >> 24);
        }
        __syncthreads();
        unsigned char *last = from;
        from = to;
        to = last;
    }
}
EXPORT(blur)

/// y (views, 3, size, size) = tables[channel][byte], of bytes from the view's threshold on inverted.
KERNEL deliver(float *y, const unsigned char *made, const unsigned *views, const float *tables, int plane,
               long long count) {
    long long i = (long long)blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= count) {
        return;
    }
    long long view = i / plane;
    unsigned threshold = ((const View *)views)[view].threshold;
    for (int c = 0; c < 3; c++) {
        unsigned value = made[i * 3 + c];
        value = value < threshold ? value : 255 - value;
        y[(view * 3 + c) * plane + i % plane] = tables[c * 256 + value];
    }
}
EXPORT(deliver)
