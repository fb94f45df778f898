// What norms of gradients are made of.

/// The sum of squares of what each block has of x: parts (gridDim.x).
KERNEL sum_squares(float *parts, const float *x, long long count) {
    long long step = (long long)gridDim.x * blockDim.x;
    float sum = 0.0f;
    for (long long i = (long long)blockIdx.x * blockDim.x + threadIdx.x; i < count; i += step) {
        sum += x[i] * x[i];
    }
    sum = over_block<Sum>(sum);
    if (threadIdx.x == 0) {
        parts[blockIdx.x] = sum;
    }
}
EXPORT(sum_squares)
