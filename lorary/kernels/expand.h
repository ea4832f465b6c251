// From rank space to rows.
#pragma once

#ifdef _OPENMP
#include <omp.h>
#endif

#include "pairs.h"

// T tokens, E experts, R rank, W width of a row, K experts per token; a pair is one token and one of its experts.

// The type of rank-space numbers: bfloat16 if the processor multiplies it in pairs.
template <class Stored>
struct Kept {
    using Type = Number<Stored>;
};
#ifdef __AVX512BF16__
template <>
struct Kept<BFloat16> {
    using Type = BFloat16;
};
#endif

// N vectors of P tokens' rows: sums += weighted rank-space numbers times an expert's rows.
template <int P, int N, class Stored>
inline void expand_block(const typename Kept<Stored>::Type* const* weighed, const Stored* factors,
                         Number<Stored>* const* sums, i64 rank, i64 width, i64 column) {
    constexpr int LANES = Vectors<Stored>::LANES;
    Vector<Stored> totals[P][N];
    for (int p = 0; p < P; ++p)
        for (int n = 0; n < N; ++n) totals[p][n] = load(sums[p] + column + n * LANES);
    for (i64 r = 0; r < rank; ++r)
        for (int n = 0; n < N; ++n) {
            const Vector<Stored> row = load(factors + r * width + column + n * LANES);
            for (int p = 0; p < P; ++p) totals[p][n] += widen(weighed[p][r]) * row;
        }
    for (int p = 0; p < P; ++p)
        for (int n = 0; n < N; ++n) store(sums[p] + column + n * LANES, totals[p][n]);
}

#ifdef __AVX512BF16__
// Two rows at once: their columns are interleaved, and multiplied by a pair of numbers. An odd rank is padded with 0.
template <int P>
inline void expand_pairs(const BFloat16* const* weighed, const BFloat16* factors, float* const* sums, i64 rank,
                         i64 width, i64 column) {
    const __m512i first = _mm512_set_epi16(47, 15, 46, 14, 45, 13, 44, 12, 43, 11, 42, 10, 41, 9, 40, 8, 39, 7, 38, 6,
                                           37, 5, 36, 4, 35, 3, 34, 2, 33, 1, 32, 0);
    const __m512i second = _mm512_add_epi16(first, _mm512_set1_epi16(16));
    __m512 totals[P][2];
    for (int p = 0; p < P; ++p)
        for (int n = 0; n < 2; ++n) totals[p][n] = _mm512_loadu_ps(sums[p] + column + 16 * n);
    for (i64 r = 0; r < rank; r += 2) {
        const BFloat16* row = factors + r * width + column;
        const __m512i upper = _mm512_loadu_si512(row);
        const __m512i lower = r + 1 < rank ? _mm512_loadu_si512(row + width) : _mm512_setzero_si512();
        const __m512bh left = (__m512bh)_mm512_permutex2var_epi16(upper, first, lower);
        const __m512bh right = (__m512bh)_mm512_permutex2var_epi16(upper, second, lower);
        for (int p = 0; p < P; ++p) {
            int pair;
            std::memcpy(&pair, weighed[p] + r, sizeof pair);
            const __m512bh numbers = (__m512bh)_mm512_set1_epi32(pair);
            totals[p][0] = _mm512_dpbf16_ps(totals[p][0], left, numbers);
            totals[p][1] = _mm512_dpbf16_ps(totals[p][1], right, numbers);
        }
    }
    for (int p = 0; p < P; ++p)
        for (int n = 0; n < 2; ++n) _mm512_storeu_ps(sums[p] + column + 16 * n, totals[p][n]);
}
#endif

// The same for a band of columns; weighed has stride numbers per pair.
template <int P, class Stored>
void expand_tokens(const typename Kept<Stored>::Type* weighed, i64 stride, const Stored* factors, const i64* pairs,
                   Number<Stored>* sums, i64 rank, i64 width, i64 top_k, i64 band) {
    constexpr int LANES = Vectors<Stored>::LANES;
    const typename Kept<Stored>::Type* from[P];
    Number<Stored>* to[P];
    for (int p = 0; p < P; ++p) {
        from[p] = weighed + pairs[p] * stride;
        to[p] = sums + pairs[p] / top_k * band;
    }
    i64 column = 0;
#ifdef __AVX512BF16__
    if constexpr (std::is_same_v<Stored, BFloat16>)
        for (; column + 32 <= band; column += 32) expand_pairs<P>(from, factors, to, rank, width, column);
#endif
    for (; column + 2 * LANES <= band; column += 2 * LANES)
        expand_block<P, 2>(from, factors, to, rank, width, column);
    for (; column + LANES <= band; column += LANES) expand_block<P, 1>(from, factors, to, rank, width, column);
    for (; column < band; ++column)
        for (int p = 0; p < P; ++p)
            for (i64 r = 0; r < rank; ++r)
                to[p][column] += widen(from[p][r]) * widen(factors[r * width + column]);
}

// Some tokens, columns from begin to end.
template <class Stored>
void expand_band(const typename Kept<Stored>::Type* weighed, i64 stride, const Stored* factors, const Sorted& sorted,
                 const i64* ranks, const Stored* onto, Stored* to, i64 num_tokens, i64 rank, i64 width, i64 top_k, i64 begin, i64 end) {
    const i64 band = end - begin;
    std::vector<Number<Stored>> sums(num_tokens * band, 0);
    for (const Block block : sorted.blocks) {
        const Stored* rows = factors + block.expert * rank * width + begin;
        const i64 own = own_rank(ranks, block.expert, rank);
        const i64* pairs = sorted.pairs.data() + block.first;
        if (block.size == 4) expand_tokens<4>(weighed, stride, rows, pairs, sums.data(), own, width, top_k, band);
        if (block.size == 2) expand_tokens<2>(weighed, stride, rows, pairs, sums.data(), own, width, top_k, band);
        if (block.size == 1) expand_tokens<1>(weighed, stride, rows, pairs, sums.data(), own, width, top_k, band);
    }
    constexpr int LANES = Vectors<Stored>::LANES;
    for (i64 token = 0; token < num_tokens; ++token) {
        const Number<Stored>* row = sums.data() + token * band;
        const i64 offset = token * width + begin;
        i64 column = 0;
        for (; column + LANES <= band; column += LANES) {
            const Vector<Stored> sum = load(row + column);
            store(to + offset + column, onto ? sum + load(onto + offset + column) : sum);
        }
        for (; column < band; ++column)
            to[offset + column] = narrow<Stored>(row[column] + (onto ? widen(onto[offset + column]) : 0));
    }
}

// The number of columns that are computed at once, for all tokens' experts.
inline i64 choose_band(i64 num_tokens, i64 width) {
    if (num_tokens > 32) return 128;  // sums of 512 tokens and the columns of 128 experts of rank 8 fit a cache
    i64 threads = 1;
#ifdef _OPENMP
    threads = omp_get_max_threads();
#endif
    return std::max<i64>(((width + threads - 1) / threads + 31) / 32 * 32, 32);  // read in one go
}

// to[t] = onto[t] + sum_k weighed[t, k] factors[experts[t, k]], without the pairs of weight 0. onto may be null, or to.
template <class Stored>
void expand(const Number<Stored>* weighed, const Stored* factors, const i64* experts, const Number<Stored>* weights,
            const i64* ranks, const Stored* onto, Stored* to, i64 num_tokens, i64 num_experts, i64 rank, i64 width, i64 top_k) {
    if (are_empty(num_tokens, rank, width, top_k)) {
        if (onto) std::copy(onto, onto + num_tokens * width, to);
        else std::fill(to, to + num_tokens * width, narrow<Stored>(0));
        return;
    }
    constexpr i64 TOKENS = 512;
    const i64 band = choose_band(num_tokens, width), bands = (width + band - 1) / band;
    const i64 groups = (num_tokens + TOKENS - 1) / TOKENS;
    std::vector<Sorted> sorted;
    for (i64 first = 0; first < num_tokens; first += TOKENS)
        sorted.emplace_back(experts + first * top_k, weights ? weights + first * top_k : nullptr,
                            std::min(TOKENS, num_tokens - first), num_experts, top_k);
    using Type = typename Kept<Stored>::Type;
    i64 stride = rank;
    const Type* kept;
    std::vector<Type> rounded;
    if constexpr (std::is_same_v<Type, Number<Stored>>) {
        kept = weighed;
    } else {
        stride = rank + rank % 2;
        rounded.resize(num_tokens * top_k * stride, narrow<Type>(0));
        for (i64 pair = 0; pair < num_tokens * top_k; ++pair)
            for (i64 r = 0; r < rank; ++r) rounded[pair * stride + r] = narrow<Type>(weighed[pair * rank + r]);
        kept = rounded.data();
    }
    const double work = count_work(num_tokens * top_k, rank, width);
    Threads threads;
#pragma omp parallel for schedule(dynamic) if (work > WORTH_A_THREAD)
    for (i64 number = 0; number < groups * bands; ++number) {
        const i64 group = number / bands, first = group * TOKENS, begin = number % bands * band;
        threads.guard([&] {
            expand_band(kept + first * top_k * stride, stride, factors, sorted[group], ranks,
                        onto ? onto + first * width : nullptr, to + first * width,
                        std::min(TOKENS, num_tokens - first), rank, width, top_k, begin,
                        std::min(begin + band, width));
        });
    }
    threads.finish();
}
