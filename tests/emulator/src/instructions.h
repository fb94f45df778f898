// What a GPU has instructions for.
#pragma once

inline float widen(f16 x) {
    uint32_t sign = (uint32_t)(x.bits & 0x8000) << 16, exponent = x.bits >> 10 & 31, rest = x.bits & 1023;
    if (exponent == 0) {
        float value = ldexpf((float)rest, -24);
        return sign ? -value : value;
    }
    if (exponent == 31) {
        return __uint_as_float(sign | 0x7f800000u | rest << 13);
    }
    return __uint_as_float(sign | (exponent + 112) << 23 | rest << 13);
}

template <> inline f16 narrow<f16>(float x) {
    uint32_t bits = __float_as_uint(x);
    uint16_t sign = bits >> 16 & 0x8000;
    float size = fabsf(x);
    if (std::isnan(x)) {
        return f16{(unsigned short)(sign | 0x7e00)};
    }
    if (size >= 65520.0f) {
        return f16{(unsigned short)(sign | 0x7c00)};
    }
    if (size < 6.103515625e-5f) {
        return f16{(unsigned short)(sign | (unsigned)nearbyintf(ldexpf(size, 24)))};
    }
    uint32_t rounded = (bits & 0x7fffffff) + 0xfff + (bits >> 13 & 1);
    return f16{(unsigned short)(sign | ((rounded >> 13) - (112 << 10)))};
}

template <typename T>
inline void multiply(float (&c)[4], const unsigned (&a)[4], unsigned b0, unsigned b1) {
    const uint32_t words[] = {a[0], a[1], a[2], a[3], b0, b1};
    auto lanes = emulator::gather(words, 6);
    auto element = [&](int lane, int word, int k) {
        return widen(T{(unsigned short)(lanes[lane][word] >> (k % 2 * 16))});
    };
    int lane = threadIdx.x % WARP;
    for (int i = 0; i < 4; i++) {
        int row = lane / 4 + i / 2 * 8, column = lane % 4 * 2 + i % 2;
        for (int k = 0; k < 16; k++) {
            float left = element(row % 8 * 4 + k % 8 / 2, row / 8 + k / 8 * 2, k);
            c[i] += left * element(column * 4 + k % 8 / 2, 4 + k / 8, k);
        }
    }
}
