// GELU with the exact error function.

/// The share of the standard normal distribution below x.
__device__ inline float below(float x) { return 0.5f * erfcf(-0.70710678f * x); }

template <typename T> __device__ void gelu(T *y, const T *x, long long count, int packed) {
    map_all(y, x, count, packed, [](float x) { return x * below(x); });
}

template <typename T>
__device__ void gelu_grad(T *dx, const T *x, const T *grad, long long count, int packed) {
    zip_all(dx, x, grad, count, packed, [](float x, float grad) {
        float density = 0.39894228f * expf(-0.5f * x * x);
        return grad * (below(x) + x * density);
    });
}

#define GELU(X, x_type)                                                                               \
    KERNEL gelu_##X(x_type *y, const x_type *x, long long count, int packed) {                        \
        gelu(y, x, count, packed);                                                                    \
    }                                                                                                 \
    EXPORT(gelu_##X)                                                                                  \
    KERNEL gelu_grad_##X(x_type *dx, const x_type *x, const x_type *grad, long long count,            \
                         int packed) {                                                                \
        gelu_grad(dx, x, grad, count, packed);                                                        \
    }                                                                                                 \
    EXPORT(gelu_grad_##X)

FOR_TYPES(GELU)
