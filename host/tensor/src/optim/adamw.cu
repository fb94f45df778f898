// AdamW, with the teacher's average, of many parameters in one pass over memory.

/// A parameter. Without a teacher, `moved` and `teacher` are null. New values are written beside old ones.
struct Parameter {
    float *value, *first, *second, *moved;
    const float *old, *gradient, *old_first, *old_second, *teacher;
};

/// The numbers of its step.
struct Factors {
    float clip, keep, rate, correction, momentum, rest;
};

/// Elements that a block updates, as far as there are so many.
#define CHUNK 4096

/// `work`: for each block its parameter, the parameter's elements, and which chunk of them.
KERNEL adamw(const Parameter *parameters, const float *factors, const unsigned *work, float new1,
             float beta2, float new2, float eps) {
    const unsigned *own = work + (size_t)blockIdx.x * 3;
    const Parameter p = parameters[own[0]];
    const Factors f = ((const Factors *)factors)[own[0]];
    size_t count = own[1], start = (size_t)own[2] * CHUNK;
    for (size_t i = start + threadIdx.x; i < count && i < start + CHUNK; i += blockDim.x) {
        float g = p.gradient[i] * f.clip;
        float m = p.old_first[i], v = p.old_second[i];
        m += (g - m) * new1;
        v = v * beta2 + g * g * new2;
        float x = p.old[i] * f.keep - f.rate * (m / (sqrtf(v) / f.correction + eps));
        p.value[i] = x;
        p.first[i] = m;
        p.second[i] = v;
        if (p.teacher) {
            // Rounding must not carry away what is never trained.
            float t = p.teacher[i];
            p.moved[i] = t == x ? t : f.momentum * t + f.rest * x;
        }
    }
}
EXPORT(adamw)
