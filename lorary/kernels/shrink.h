// From rows to rank space, and the weights there.
#pragma once

#include "pairs.h"

// T tokens, E experts, R rank, W width of a row, K experts per token; a pair is one token and one of its experts.

// P tokens against Q of an expert's R rows, [W] each.
template <int P, int Q, class Stored>
inline void dot(const Stored* const* tokens, const Stored* const* rows, i64 width, Number<Stored>* sums) {
    constexpr int LANES = Vectors<Stored>::LANES;
    Vector<Stored> totals[P][Q] = {};
    i64 column = 0;
    for (; column + LANES <= width; column += LANES) {
        Vector<Stored> row[Q];
        for (int q = 0; q < Q; ++q) row[q] = load(rows[q] + column);
        for (int p = 0; p < P; ++p) {
            Vector<Stored> token = load(tokens[p] + column);
            for (int q = 0; q < Q; ++q) totals[p][q] += token * row[q];
        }
    }
    for (int p = 0; p < P; ++p)
        for (int q = 0; q < Q; ++q) {
            Number<Stored> total = add_up<Stored>(totals[p][q]);
            for (i64 rest = column; rest < width; ++rest) total += widen(tokens[p][rest]) * widen(rows[q][rest]);
            sums[p * Q + q] = total;
        }
}

#ifdef __AVX512BF16__
// Twice the numbers per instruction, if the processor supports it.
template <int P, int Q>
inline void dot(const BFloat16* const* tokens, const BFloat16* const* rows, i64 width, float* sums) {
    __m512 totals[P][Q] = {};
    for (i64 column = 0; column < width; column += 32) {
        const __mmask32 within = width - column >= 32 ? ~0u : (1u << (width - column)) - 1;
        const auto load = [&](const BFloat16* from) {
            return (__m512bh)_mm512_maskz_loadu_epi16(within, from + column);
        };
        __m512bh row[Q];
        for (int q = 0; q < Q; ++q) row[q] = load(rows[q]);
        for (int p = 0; p < P; ++p) {
            const __m512bh token = load(tokens[p]);
            for (int q = 0; q < Q; ++q) totals[p][q] = _mm512_dpbf16_ps(totals[p][q], token, row[q]);
        }
    }
    for (int p = 0; p < P; ++p)
        for (int q = 0; q < Q; ++q) sums[p * Q + q] = _mm512_reduce_add_ps(totals[p][q]);
}
#endif

// An expert may use only its own rows, fewer than R.
template <class Stored, int P>
void shrink_tokens(const Stored* x, const Stored* factors, const i64* pairs, i64 own, i64 rank, i64 width, i64 top_k,
                   Number<Stored>* shrunk) {
    constexpr int Q = 4;
    const Stored* tokens[P];
    for (int p = 0; p < P; ++p) tokens[p] = x + pairs[p] / top_k * width;
    for (i64 r = 0; r < own; r += Q) {
        const Stored* rows[Q];
        Number<Stored> sums[P * Q];
        for (int q = 0; q < Q; ++q) rows[q] = factors + std::min(r + q, own - 1) * width;
        dot<P, Q>(tokens, rows, width, sums);
        for (int p = 0; p < P; ++p)
            for (int q = 0; q < Q && r + q < own; ++q) shrunk[pairs[p] * rank + r + q] = sums[p * Q + q];
    }
}

// shrunk[t, k] = factors[experts[t, k]] x[t]; 0 where a weight is 0, and beyond an expert's own rank.
template <class Stored>
void shrink(const Stored* x, const Stored* factors, const i64* experts, const Number<Stored>* weights,
            const i64* ranks, Number<Stored>* shrunk, i64 num_tokens, i64 num_experts, i64 rank, i64 width, i64 top_k) {
    if (are_empty(num_tokens, rank, width, top_k)) {
        std::fill(shrunk, shrunk + num_tokens * top_k * rank, Number<Stored>(0));
        return;
    }
    const Sorted sorted(experts, weights, num_tokens, num_experts, top_k);
    if (ranks || i64(sorted.pairs.size()) < num_tokens * top_k)
        std::fill(shrunk, shrunk + num_tokens * top_k * rank, Number<Stored>(0));
    const double work = count_work(sorted.pairs.size(), rank, width);
#pragma omp parallel for schedule(static) if (work > WORTH_A_THREAD)
    for (i64 number = 0; number < i64(sorted.blocks.size()); ++number) {
        const Block block = sorted.blocks[number];
        const Stored* rows = factors + block.expert * rank * width;
        const i64 own = own_rank(ranks, block.expert, rank);
        const i64* pairs = sorted.pairs.data() + block.first;
        if (block.size == 4) shrink_tokens<Stored, 4>(x, rows, pairs, own, rank, width, top_k, shrunk);
        if (block.size == 2) shrink_tokens<Stored, 2>(x, rows, pairs, own, rank, width, top_k, shrunk);
        if (block.size == 1) shrink_tokens<Stored, 1>(x, rows, pairs, own, rank, width, top_k, shrunk);
    }
}

// outputs: every pair's own vector times its weight. factors: their weighted sum times each weight.
template <class Real>
void weigh(const Real* shrunk, const Real* weights, Real* weighed, i64 num_tokens, i64 rank, i64 top_k,
           bool factors) {
    if (are_empty(num_tokens, rank, 1, top_k)) return;
    std::vector<Real> sum(rank);
    for (i64 token = 0; token < num_tokens; ++token) {
        const Real* own = shrunk + token * top_k * rank;
        const Real* weight = weights + token * top_k;
        Real* to = weighed + token * top_k * rank;
        if (factors) {
            std::fill(sum.begin(), sum.end(), Real(0));
            for (i64 k = 0; k < top_k; ++k)
                for (i64 r = 0; r < rank; ++r) sum[r] += weight[k] * own[k * rank + r];
        }
        for (i64 k = 0; k < top_k; ++k)
            for (i64 r = 0; r < rank; ++r) to[k * rank + r] = weight[k] * (factors ? sum[r] : own[k * rank + r]);
    }
}
