// AdamW, with the teacher's average, in one pass over memory.

/// Without a teacher, `moved` and `teacher` are null. New values are written beside old ones.
KERNEL adamw(float *value, float *first, float *second, float *moved, const float *old,
             const float *gradient, const float *old_first, const float *old_second,
             const float *teacher, long long count, float clip, float keep, float new1, float beta2,
             float new2, float rate, float correction, float eps, float momentum, float rest) {
    long long i = (long long)blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= count) {
        return;
    }
    float g = gradient[i] * clip;
    float m = old_first[i], v = old_second[i];
    m += (g - m) * new1;
    v = v * beta2 + g * g * new2;
    float x = old[i] * keep - rate * (m / (sqrtf(v) / correction + eps));
    value[i] = x;
    first[i] = m;
    second[i] = v;
    if (teacher) {
        // Rounding must not carry away what is never trained.
        float t = teacher[i];
        moved[i] = t == x ? t : momentum * t + rest * x;
    }
}
EXPORT(adamw)
