// Pairs of a token and one of its experts, sorted by expert.
#pragma once

#include <vector>

#include "guard.h"
#include "numbers.h"

// T tokens, E experts, R rank, W width of a row, K experts per token; a pair is one token and one of its experts.

// Whether every pair's expert exists: an untrusted index must not write outside the tensors.
inline bool are_known(const i64* experts, i64 num_pairs, i64 num_experts) {
    return std::all_of(experts, experts + num_pairs, [&](i64 expert) { return 0 <= expert && expert < num_experts; });
}

// Whether the rank of every pair's expert is within its rows.
inline bool are_ranks(const i64* ranks, const i64* experts, i64 num_pairs, i64 rank) {
    const auto fits = [&](i64 expert) { return 0 <= ranks[expert] && ranks[expert] <= rank; };
    return !ranks || std::all_of(experts, experts + num_pairs, fits);
}

// The number of its R rows that an expert uses; without ranks all of them.
inline i64 own_rank(const i64* ranks, i64 expert, i64 rank) { return ranks ? ranks[expert] : rank; }

// Whether there is nothing to multiply. If a size is 0, others can be huge and are not limited by memory.
inline bool are_empty(i64 num_tokens, i64 rank, i64 width, i64 top_k) {
    return !num_tokens || !rank || !width || !top_k;
}

// A few pairs of one expert, each of a different token, computed together.
struct Block {
    i64 expert, first, size;
};

// Pairs of weight 0 are left out if weights are given.
struct Sorted {
    std::vector<i64> pairs;     // numbers t*K + k
    std::vector<i64> first;     // [E + 1]: where each expert's pairs begin
    std::vector<Block> blocks;  // of 4, 2 or 1

    template <class Weight>
    Sorted(const i64* experts, const Weight* weights, i64 num_tokens, i64 num_experts, i64 top_k)
        : first(num_experts + 1, 0) {
        const i64 num_pairs = num_tokens * top_k;
        auto counts = [&](i64 pair) { return !weights || weights[pair] != 0; };
        for (i64 pair = 0; pair < num_pairs; ++pair)
            if (counts(pair)) ++first[experts[pair] + 1];
        for (i64 expert = 0; expert < num_experts; ++expert) first[expert + 1] += first[expert];
        pairs.resize(first[num_experts]);
        std::vector<i64> next(first.begin(), first.end() - 1);
        for (i64 pair = 0; pair < num_pairs; ++pair)
            if (counts(pair)) pairs[next[experts[pair]]++] = pair;
        for (i64 expert = 0; expert < num_experts; ++expert)
            for (i64 at = first[expert]; at < first[expert + 1]; at += blocks.back().size)
                blocks.push_back({expert, at, block_size(at, first[expert + 1], top_k)});
    }

  private:
    i64 block_size(i64 at, i64 end, i64 top_k) const {
        i64 size = 1;
        while (size < 4 && at + size < end && pairs[at + size] / top_k != pairs[at + size - 1] / top_k) ++size;
        return size == 3 ? 2 : size;
    }
};

// Below this number of multiplications a second thread costs more than it saves.
constexpr double WORTH_A_THREAD = 1 << 15;

// The number of multiplications; not an integer, which could overflow.
inline double count_work(i64 num_pairs, i64 rank, i64 width) { return double(num_pairs) * rank * width; }
