// CUDA's words as C++ ones, for kernels that keep to what host/tensor/src/cuda/common.cuh says.
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <tuple>
#include <utility>

#define EMULATED
#define __device__
#define __global__
#define __host__
#define __forceinline__ inline
#define __restrict__ __restrict
#define __shared__ static
#define __align__(bytes) alignas(bytes)
#define __launch_bounds__(...)

struct dim3 {
    unsigned x, y, z;
};

namespace emulator {

/// The thread that runs, and where it stands.
extern dim3 thread, block, threads, blocks;

/// Waits for all threads of the block.
void block_barrier();

/// The value that a lane of this warp gave.
uint32_t exchange(uint32_t value, int lane);

/// What each lane of this warp gave: (lane, word), until the warp's next exchange.
const uint32_t (*gather(const uint32_t *words, int count))[8];

using Call = void (*)(const void *const *arguments);

/// Makes a kernel known: its name, and a letter for each parameter.
struct Kernel {
    Kernel(const char *name, const char *kinds, Call call);
};

template <typename T> constexpr char kind_of() {
    if constexpr (std::is_pointer_v<T>) {
        return 'p';
    } else if constexpr (std::is_same_v<T, int>) {
        return 'i';
    } else if constexpr (std::is_same_v<T, long long>) {
        return 'l';
    } else {
        static_assert(std::is_same_v<T, float>, "a kernel's parameters are pointers, int, long long and float");
        return 'f';
    }
}

template <auto kernel> struct Exported;
template <typename... A, void (*kernel)(A...)> struct Exported<kernel> {
    static constexpr char kinds[] = {kind_of<A>()..., 0};

    static void call(const void *const *arguments) {
        unpack(arguments, std::index_sequence_for<A...>{});
    }

    template <size_t... I>
    static void unpack(const void *const *arguments, std::index_sequence<I...>) {
        kernel(*(const A *)arguments[I]...);
    }
};

} // namespace emulator

#define threadIdx (emulator::thread)
#define blockIdx (emulator::block)
#define blockDim (emulator::threads)
#define gridDim (emulator::blocks)
#define __syncthreads() emulator::block_barrier()
#define EXPORT(kernel)                                                                                \
    static emulator::Kernel known_##kernel(#kernel, emulator::Exported<kernel>::kinds,                \
                                           emulator::Exported<kernel>::call);

inline float __uint_as_float(uint32_t bits) {
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

inline uint32_t __float_as_uint(float value) {
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

inline float __shfl_xor_sync(unsigned, float value, int mask) {
    int lane = (int)(threadIdx.x % 32) ^ mask;
    return __uint_as_float(emulator::exchange(__float_as_uint(value), lane));
}

inline unsigned __shfl_xor_sync(unsigned, unsigned value, int mask) {
    return emulator::exchange(value, (int)(threadIdx.x % 32) ^ mask);
}

inline float __fadd_rn(float a, float b) { return a + b; }
inline float __fmul_rn(float a, float b) { return a * b; }
inline float __fdiv_rn(float a, float b) { return a / b; }
inline double __dadd_rn(double a, double b) { return a + b; }
inline double __dmul_rn(double a, double b) { return a * b; }

inline float rsqrtf(float x) { return 1.0f / sqrtf(x); }
inline float __expf(float x) { return expf(x); }

template <typename T> inline T min(T a, T b) { return b < a ? b : a; }
template <typename T> inline T max(T a, T b) { return a < b ? b : a; }
