// Gradients of the experts: sums of tokens' rows, weighted by numbers from rank space.
#pragma once

#include "pairs.h"

// T tokens, E experts, R rank, W width of a row, K experts per token; a pair is one token and one of its experts.

// Q rank-space numbers times N vectors of a row, summed over an expert's pairs.
template <class Stored, int Q, int N>
inline void gather_block(const Number<Stored>* weighed, const Stored* rows, const i64* pairs, i64 num_pairs,
                         Stored* to, i64 r, i64 rank, i64 width, i64 top_k) {
    constexpr int LANES = Vectors<Stored>::LANES;
    Vector<Stored> totals[Q][N] = {};
    for (i64 at = 0; at < num_pairs; ++at) {
        const Stored* row = rows + pairs[at] / top_k * width;
        const Number<Stored>* numbers = weighed + pairs[at] * rank;
        for (int n = 0; n < N; ++n) {
            const Vector<Stored> wide = load(row + n * LANES);
            for (int q = 0; q < Q; ++q) totals[q][n] += numbers[std::min(r + q, rank - 1)] * wide;
        }
    }
    for (int q = 0; q < Q && r + q < rank; ++q)
        for (int n = 0; n < N; ++n) store(to + (r + q) * width + n * LANES, totals[q][n]);
}

// to[e, r] = sum over the pairs of expert e of weighed[pair, r] rows[token]; 0 for experts without a pair.
template <class Stored>
void gather(const Number<Stored>* weighed, const Stored* rows, const i64* experts, Stored* to, i64 num_tokens,
            i64 num_experts, i64 rank, i64 width, i64 top_k) {
    if (are_empty(num_tokens, rank, width, top_k)) {
        std::fill(to, to + num_experts * rank * width, narrow<Stored>(0));
        return;
    }
    constexpr int LANES = Vectors<Stored>::LANES, Q = 4;
    const Sorted sorted(experts, static_cast<const Number<Stored>*>(nullptr), num_tokens, num_experts, top_k);
    const i64 band = 4 * LANES, bands = (width + band - 1) / band;
    const double work = count_work(num_tokens * top_k, rank, width);
#pragma omp parallel for schedule(dynamic) if (work > WORTH_A_THREAD)
    for (i64 number = 0; number < num_experts * bands; ++number) {
        const i64 expert = number / bands, begin = number % bands * band, end = std::min(begin + band, width);
        const i64* pairs = sorted.pairs.data() + sorted.first[expert];
        const i64 num_pairs = sorted.first[expert + 1] - sorted.first[expert];
        Stored* own = to + expert * rank * width;
        for (i64 r = 0; r < rank; r += Q) {
            i64 column = begin;
            for (; column + 4 * LANES <= end; column += 4 * LANES)
                gather_block<Stored, Q, 4>(weighed, rows + column, pairs, num_pairs, own + column, r, rank, width, top_k);
            for (; column + LANES <= end; column += LANES)
                gather_block<Stored, Q, 1>(weighed, rows + column, pairs, num_pairs, own + column, r, rank, width, top_k);
            for (; column < end; ++column)
                for (int q = 0; q < Q && r + q < rank; ++q) {
                    Number<Stored> total = 0;
                    for (i64 at = 0; at < num_pairs; ++at)
                        total += weighed[pairs[at] * rank + r + q] * widen(rows[pairs[at] / top_k * width + column]);
                    own[(r + q) * width + column] = narrow<Stored>(total);
                }
        }
    }
}
