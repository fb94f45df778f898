// Batches of images.

/// y = tables[channel][x] for bytes x of planes of red, green and blue in turns.
KERNEL look_up(float *y, const unsigned char *x, const float *tables, long long count, int plane) {
    long long i = (long long)blockIdx.x * blockDim.x + threadIdx.x;
    if (i < count) {
        y[i] = tables[i / plane % 3 * 256 + x[i]];
    }
}
EXPORT(look_up)
