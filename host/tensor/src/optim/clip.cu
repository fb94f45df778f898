// What norms of gradients are made of.

/// The sums of squares of what each block has of many arrays: parts (arrays, gridDim.x).
KERNEL sum_squares(float *parts, const float *const *arrays, const unsigned *counts) {
    const float *x = arrays[blockIdx.y];
    unsigned count = counts[blockIdx.y], step = gridDim.x * blockDim.x;
    float sum = 0.0f;
    for (size_t i = blockIdx.x * blockDim.x + threadIdx.x; i < count; i += step) {
        sum += x[i] * x[i];
    }
    sum = over_block<Sum>(sum);
    if (threadIdx.x == 0) {
        parts[(size_t)blockIdx.y * gridDim.x + blockIdx.x] = sum;
    }
}
EXPORT(sum_squares)
