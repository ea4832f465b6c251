// Numbers are stored narrow and summed wide; vectors of them by GCC's and Clang's extensions.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <type_traits>

#ifdef __AVX512BF16__
#include <immintrin.h>
#endif

#ifdef __AVX512F__
constexpr int VECTOR_BYTES = 64;
#else
constexpr int VECTOR_BYTES = 32;
#endif

using i64 = std::int64_t;

struct BFloat16 {
    std::uint16_t bits;
};

template <class Stored>
struct Wide {
    using Number = Stored;
};
template <>
struct Wide<BFloat16> {
    using Number = float;
};

template <class Stored>
using Number = typename Wide<Stored>::Number;

template <class Stored>
struct Vectors {
    static constexpr int LANES = VECTOR_BYTES / sizeof(Number<Stored>);
    typedef Number<Stored> Vector __attribute__((vector_size(VECTOR_BYTES)));
};

template <class Stored>
using Vector = typename Vectors<Stored>::Vector;

template <class Stored>
inline Number<Stored> widen(Stored stored) {
    if constexpr (std::is_same_v<Stored, BFloat16>) {
        std::uint32_t bits = std::uint32_t(stored.bits) << 16;
        float number;
        std::memcpy(&number, &bits, sizeof number);
        return number;
    } else {
        return stored;
    }
}

// To the nearest, ties to even; NaN stays NaN.
template <class Stored>
inline Stored narrow(Number<Stored> number) {
    if constexpr (std::is_same_v<Stored, BFloat16>) {
        std::uint32_t bits;
        std::memcpy(&bits, &number, sizeof bits);
        if (number != number) return BFloat16{std::uint16_t((bits >> 16) | 0x40)};
        return BFloat16{std::uint16_t((bits + 0x7fff + ((bits >> 16) & 1)) >> 16)};
    } else {
        return number;
    }
}

typedef std::uint16_t Halves __attribute__((vector_size(VECTOR_BYTES / 2)));
typedef std::uint32_t Words __attribute__((vector_size(VECTOR_BYTES)));

inline Vector<BFloat16> load(const BFloat16* from) {
    Halves halves;
    std::memcpy(&halves, from, sizeof halves);
    const Words words = __builtin_convertvector(halves, Words) << 16;
    Vector<BFloat16> wide;
    std::memcpy(&wide, &words, sizeof wide);
    return wide;
}

template <class Stored>
inline Vector<Stored> load(const Stored* from) {
    Vector<Stored> wide;
    std::memcpy(&wide, from, sizeof wide);
    return wide;
}

inline void store(BFloat16* to, Vector<BFloat16> wide) {
    Words words;
    std::memcpy(&words, &wide, sizeof words);
    const Words nearest = (words + 0x7fff + ((words >> 16) & 1)) >> 16, cut = (words >> 16) | 0x40;
    const Words no_number = reinterpret_cast<Words>(wide != wide);
    const Halves halves = __builtin_convertvector((no_number & cut) | (~no_number & nearest), Halves);
    std::memcpy(to, &halves, sizeof halves);
}

template <class Stored>
inline void store(Stored* to, Vector<Stored> wide) {
    std::memcpy(to, &wide, sizeof wide);
}

template <class Stored>
inline Number<Stored> add_up(Vector<Stored> wide) {
    constexpr int LANES = Vectors<Stored>::LANES;
    Number<Stored> lanes[LANES];
    std::memcpy(lanes, &wide, sizeof lanes);
    for (int half = LANES / 2; half > 0; half /= 2)
        for (int lane = 0; lane < half; ++lane) lanes[lane] += lanes[lane + half];
    return lanes[0];
}
