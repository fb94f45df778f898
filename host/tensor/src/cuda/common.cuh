// What kernels share; this text stands before each file of kernels.
//
// Elements are float, bf16 or f16, and computed with as float. A row is the last dimension of an array,
// whole in memory; where its length and its place allow it, four elements are read and written at once.
//
// Kernels keep to what the emulator of the tests knows: one-dimensional blocks of whole warps,
// __syncthreads, __shfl_xor_sync, multiply, static shared memory. A kernel is named for its element
// types, and EXPORT follows it.

#ifndef EMULATED
#define INFINITY __int_as_float(0x7f800000)
#define EXPORT(kernel)
#endif

#define KERNEL extern "C" __global__ void
#define WARP 32
#define ALL_LANES 0xffffffffu

struct bf16 {
    unsigned short bits;
};

struct f16 {
    unsigned short bits;
};

/// KERNELS(name of the type, type) for each element type.
#define FOR_TYPES(KERNELS)                                                                            \
    KERNELS(f32, float)                                                                               \
    KERNELS(bf16, bf16)                                                                               \
    KERNELS(f16, f16)

/// KERNELS(name and type of what is read, name and type of the result) for each pair: under autocast half
/// types become f32.
#define FOR_RESULTS(KERNELS)                                                                          \
    KERNELS(f32, float, f32, float)                                                                   \
    KERNELS(bf16, bf16, bf16, bf16)                                                                   \
    KERNELS(bf16, bf16, f32, float)                                                                   \
    KERNELS(f16, f16, f16, f16)                                                                       \
    KERNELS(f16, f16, f32, float)

__device__ inline float widen(float x) { return x; }

__device__ inline float widen(bf16 x) { return __uint_as_float((unsigned)x.bits << 16); }

#ifndef EMULATED
__device__ inline float widen(f16 x) {
    float y;
    asm("cvt.f32.f16 %0, %1;" : "=f"(y) : "h"(x.bits));
    return y;
}
#endif

/// Rounds to the nearest, ties to even.
template <typename T> __device__ inline T narrow(float x);

template <> __device__ inline float narrow<float>(float x) { return x; }

template <> __device__ inline bf16 narrow<bf16>(float x) {
#if !defined(EMULATED) && __CUDA_ARCH__ >= 900
    bf16 y;
    asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(y.bits) : "f"(x));
    return y;
#else
    unsigned bits = __float_as_uint(x);
    if ((bits & 0x7fffffffu) > 0x7f800000u) {
        return bf16{(unsigned short)(bits >> 16 | 0x40)};
    }
    return bf16{(unsigned short)((bits + 0x7fff + (bits >> 16 & 1)) >> 16)};
#endif
}

#ifndef EMULATED
template <> __device__ inline f16 narrow<f16>(float x) {
    f16 y;
    asm("cvt.rn.f16.f32 %0, %1;" : "=h"(y.bits) : "f"(x));
    return y;
}
#endif

/// Two numbers in one register, the first in its lower half.
template <typename T> __device__ inline unsigned both(float first, float second) {
    return narrow<T>(first).bits | (unsigned)narrow<T>(second).bits << 16;
}

/// c += a b by a warp, of a (16, 16) and b (16, 8) in T. With g = lane / 4 and t = lane % 4, a lane has
/// of a the columns 2t, 2t + 1 of the rows g and g + 8, then the columns 8 further of both; of b the rows
/// 2t, 2t + 1 of the column g, then the rows 8 further; of c the columns 2t, 2t + 1 of the row g, then of
/// the row g + 8.
template <typename T>
__device__ inline void multiply(float (&c)[4], const unsigned (&a)[4], unsigned b0, unsigned b1);

#ifndef EMULATED
#define MULTIPLY(T, type)                                                                             \
    template <>                                                                                       \
    __device__ inline void multiply<T>(float (&c)[4], const unsigned (&a)[4], unsigned b0,            \
                                       unsigned b1) {                                                 \
        asm("mma.sync.aligned.m16n8k16.row.col.f32." type "." type ".f32 "                            \
            "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"                         \
            : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])                                          \
            : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));                          \
    }

MULTIPLY(bf16, "bf16")
MULTIPLY(f16, "f16")
#endif

/// Elements that are read and written at once.
#define PACK 4

template <typename T> struct __align__(PACK * sizeof(T)) Pack {
    T at[PACK];
};

template <typename T> __device__ inline void load(float (&values)[PACK], const T *from) {
    Pack<T> pack = *(const Pack<T> *)from;
#pragma unroll
    for (int i = 0; i < PACK; i++) {
        values[i] = widen(pack.at[i]);
    }
}

template <typename T> __device__ inline void store(T *to, const float (&values)[PACK]) {
    Pack<T> pack;
#pragma unroll
    for (int i = 0; i < PACK; i++) {
        pack.at[i] = narrow<T>(values[i]);
    }
    *(Pack<T> *)to = pack;
}

struct Sum {
    static __device__ inline float neutral() { return 0.0f; }
    static __device__ inline float join(float a, float b) { return a + b; }
};

struct Most {
    static __device__ inline float neutral() { return -INFINITY; }
    static __device__ inline float join(float a, float b) { return fmaxf(a, b); }
};

/// The values of all lanes of a warp joined, in every lane.
template <typename How> __device__ inline float over_warp(float value) {
#pragma unroll
    for (int step = WARP / 2; step > 0; step /= 2) {
        value = How::join(value, __shfl_xor_sync(ALL_LANES, value, step));
    }
    return value;
}

/// The values of all threads of a block joined, in every thread; the same bits in each run.
template <typename How> __device__ inline float over_block(float value) {
    __shared__ float warps[WARP];
    value = over_warp<How>(value);
    int lane = threadIdx.x % WARP;
    if (lane == 0) {
        warps[threadIdx.x / WARP] = value;
    }
    __syncthreads();
    value = lane < (int)blockDim.x / WARP ? warps[lane] : How::neutral();
    value = over_warp<How>(value);
    // Nobody writes the next sums before all have read these.
    __syncthreads();
    return value;
}

/// Calls body(i, x[i]) for this thread's elements of a row.
template <typename T, typename Body>
__device__ inline void over_row(const T *x, int width, int packed, Body body) {
    if (packed) {
        for (int i = threadIdx.x * PACK; i < width; i += blockDim.x * PACK) {
            float v[PACK];
            load(v, x + i);
#pragma unroll
            for (int j = 0; j < PACK; j++) {
                body(i + j, v[j]);
            }
        }
    } else {
        for (int i = threadIdx.x; i < width; i += blockDim.x) {
            body(i, widen(x[i]));
        }
    }
}

/// Calls body(i, x[i], z[i]) for this thread's elements of two rows.
template <typename T, typename P, typename Body>
__device__ inline void over_rows(const T *x, const P *z, int width, int packed, Body body) {
    if (packed) {
        for (int i = threadIdx.x * PACK; i < width; i += blockDim.x * PACK) {
            float v[PACK], w[PACK];
            load(v, x + i);
            load(w, z + i);
#pragma unroll
            for (int j = 0; j < PACK; j++) {
                body(i + j, v[j], w[j]);
            }
        }
    } else {
        for (int i = threadIdx.x; i < width; i += blockDim.x) {
            body(i, widen(x[i]), widen(z[i]));
        }
    }
}

/// y[i] = body(i, x[i]) for this thread's elements of a row.
template <typename O, typename T, typename Body>
__device__ inline void map_row(O *y, const T *x, int width, int packed, Body body) {
    if (packed) {
        for (int i = threadIdx.x * PACK; i < width; i += blockDim.x * PACK) {
            float v[PACK];
            load(v, x + i);
#pragma unroll
            for (int j = 0; j < PACK; j++) {
                v[j] = body(i + j, v[j]);
            }
            store(y + i, v);
        }
    } else {
        for (int i = threadIdx.x; i < width; i += blockDim.x) {
            y[i] = narrow<O>(body(i, widen(x[i])));
        }
    }
}

/// y[i] = body(i, x[i], z[i]) for this thread's elements of two rows.
template <typename O, typename T, typename P, typename Body>
__device__ inline void map_rows(O *y, const T *x, const P *z, int width, int packed, Body body) {
    if (packed) {
        for (int i = threadIdx.x * PACK; i < width; i += blockDim.x * PACK) {
            float v[PACK], w[PACK];
            load(v, x + i);
            load(w, z + i);
#pragma unroll
            for (int j = 0; j < PACK; j++) {
                v[j] = body(i + j, v[j], w[j]);
            }
            store(y + i, v);
        }
    } else {
        for (int i = threadIdx.x; i < width; i += blockDim.x) {
            y[i] = narrow<O>(body(i, widen(x[i]), widen(z[i])));
        }
    }
}

/// `scale` times N sums down each column of matrices (rows, width), of matrix blockIdx.z for part blockIdx.y
/// of its rows: parts (matrices, parts, N, width). body(row, column, sums) adds what an element is worth. A
/// warp's lanes are columns side by side, its block's eight warps take turns with the rows.
template <int N, typename Body>
__device__ inline void over_columns(float *parts, int rows, int width, float scale, Body body) {
    __shared__ float sums[N][8][WARP];
    int lane = threadIdx.x % WARP, warp = threadIdx.x / WARP, warps = blockDim.x / WARP;
    int column = blockIdx.x * WARP + lane;
    int share = (rows + gridDim.y - 1) / gridDim.y;
    int first = blockIdx.y * share;
    int end = min(rows, first + share);
    float own[N] = {};
    if (column < width) {
        for (int row = first + warp; row < end; row += warps) {
            body(row, column, own);
        }
    }
#pragma unroll
    for (int n = 0; n < N; n++) {
        sums[n][warp][lane] = own[n];
    }
    __syncthreads();
    if (warp < N && column < width) {
        float sum = 0.0f;
        for (int i = 0; i < warps; i++) {
            sum += sums[warp][i][lane];
        }
        parts[(((size_t)blockIdx.z * gridDim.y + blockIdx.y) * N + warp) * width + column] = sum * scale;
    }
}

/// The kernels of a function of rows, name(y, x, width, packed), and of its derivative,
/// name_grad(dx, y, grad, width, packed), a block for each row.
#define ROW_KERNELS(name, X, x_type, Y, y_type)                                                       \
    KERNEL name##_##X##_##Y(y_type *y, const x_type *x, int width, int packed) {                      \
        name(y, x, width, packed);                                                                    \
    }                                                                                                 \
    EXPORT(name##_##X##_##Y)                                                                          \
    KERNEL name##_grad_##X##_##Y(x_type *dx, const y_type *y, const y_type *grad, int width,          \
                                 int packed) {                                                        \
        name##_grad(dx, y, grad, width, packed);                                                      \
    }                                                                                                 \
    EXPORT(name##_grad_##X##_##Y)

/// y[i] = body(x[i]) for the four elements of this thread, of `count` in all.
template <typename O, typename T, typename Body>
__device__ inline void map_all(O *y, const T *x, long long count, int packed, Body body) {
    long long i = ((long long)blockIdx.x * blockDim.x + threadIdx.x) * PACK;
    if (packed && i + PACK <= count) {
        float v[PACK];
        load(v, x + i);
#pragma unroll
        for (int j = 0; j < PACK; j++) {
            v[j] = body(v[j]);
        }
        store(y + i, v);
    } else {
        for (int j = 0; j < PACK && i + j < count; j++) {
            y[i + j] = narrow<O>(body(widen(x[i + j])));
        }
    }
}

/// y[i] = body(x[i], z[i]) for the four elements of this thread, of `count` in all.
template <typename O, typename T, typename P, typename Body>
__device__ inline void zip_all(O *y, const T *x, const P *z, long long count, int packed, Body body) {
    long long i = ((long long)blockIdx.x * blockDim.x + threadIdx.x) * PACK;
    if (packed && i + PACK <= count) {
        float v[PACK], w[PACK];
        load(v, x + i);
        load(w, z + i);
#pragma unroll
        for (int j = 0; j < PACK; j++) {
            v[j] = body(v[j], w[j]);
        }
        store(y + i, v);
    } else {
        for (int j = 0; j < PACK && i + j < count; j++) {
            y[i + j] = narrow<O>(body(widen(x[i + j]), widen(z[i + j])));
        }
    }
}
