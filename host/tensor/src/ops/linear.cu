// A fully connected layer's bias; the product is cuBLAS's.

template <typename T> __device__ void add_bias(T *y, const float *bias, int width, int packed) {
    y += (size_t)blockIdx.x * width;
    map_row(y, y, width, packed, [&](int i, float y) { return y + bias[i]; });
}

#define ADD_BIAS(Y, y_type)                                                                           \
    KERNEL add_bias_##Y(y_type *y, const float *bias, int width, int packed) {                        \
        add_bias(y, bias, width, packed);                                                             \
    }                                                                                                 \
    EXPORT(add_bias_##Y)

FOR_TYPES(ADD_BIAS)
