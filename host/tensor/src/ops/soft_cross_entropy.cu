// Cross-entropy of rows against distributions, a block for each row.

/// The loss, log(sum(e^(x scale))) and sum(target) of each row.
template <typename T, typename P>
__device__ void soft_cross_entropy(float *losses, float *log_sums, float *masses, const T *x,
                                   const P *target, int width, float scale, int packed) {
    size_t row = blockIdx.x;
    x += row * width;
    target += row * width;
    // One pass over what may be long: the sum is brought to each new largest number.
    float most = -INFINITY, sum = 0.0f;
    over_row(x, width, packed, [&](int, float x) {
        x *= scale;
        if (x > most) {
            sum *= expf(most - x);
            most = x;
        }
        sum += expf(x - most);
    });
    float largest = over_block<Most>(most);
    sum = over_block<Sum>(most == -INFINITY ? 0.0f : sum * expf(most - largest));
    float log_sum = largest + logf(sum);
    float loss = 0.0f, mass = 0.0f;
    over_rows(x, target, width, packed, [&](int, float x, float p) {
        loss += p * (log_sum - x * scale);
        mass += p;
    });
    loss = over_block<Sum>(loss);
    mass = over_block<Sum>(mass);
    if (threadIdx.x == 0) {
        losses[row] = loss;
        log_sums[row] = log_sum;
        masses[row] = mass;
    }
}

/// dx = (e^(x scale - log_sum) mass - target) grad scale.
template <typename T, typename P>
__device__ void soft_cross_entropy_grad(T *dx, const T *x, const P *target, const float *log_sums,
                                        const float *masses, const float *grads, int width,
                                        float scale, int packed) {
    size_t row = blockIdx.x;
    float log_sum = log_sums[row], mass = masses[row], grad = grads[row] * scale;
    map_rows(dx + row * width, x + row * width, target + row * width, width, packed,
             [&](int, float x, float p) { return (expf(x * scale - log_sum) * mass - p) * grad; });
}

#define SOFT_CROSS_ENTROPY(X, x_type, P, p_type)                                                      \
    KERNEL soft_cross_entropy_##X##_##P(float *losses, float *log_sums, float *masses,                \
                                        const x_type *x, const p_type *target, int width,             \
                                        float scale, int packed) {                                    \
        soft_cross_entropy(losses, log_sums, masses, x, target, width, scale, packed);                \
    }                                                                                                 \
    EXPORT(soft_cross_entropy_##X##_##P)                                                              \
    KERNEL soft_cross_entropy_grad_##X##_##P(                                                         \
        x_type *dx, const x_type *x, const p_type *target, const float *log_sums,                     \
        const float *masses, const float *grads, int width, float scale, int packed) {                \
        soft_cross_entropy_grad(dx, x, target, log_sums, masses, grads, width, scale, packed);        \
    }                                                                                                 \
    EXPORT(soft_cross_entropy_grad_##X##_##P)

SOFT_CROSS_ENTROPY(f32, float, f32, float)
SOFT_CROSS_ENTROPY(f32, float, bf16, bf16)
SOFT_CROSS_ENTROPY(bf16, bf16, f32, float)
SOFT_CROSS_ENTROPY(bf16, bf16, bf16, bf16)
SOFT_CROSS_ENTROPY(f16, f16, f16, f16)
