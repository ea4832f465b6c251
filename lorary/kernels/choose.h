// The best few of many scores, and their shares.
#pragma once

#include <cmath>
#include <limits>

#include "guard.h"
#include "shrink.h"

// T tokens, E experts, R rank, W width of a row, K experts per token; a pair is one token and one of its experts.

// Whether any number of a vector is above the limit.
inline bool any_above(Vector<float> numbers, float limit) {
    const auto above = numbers > limit;
    std::int64_t halves[VECTOR_BYTES / 8], any = 0;
    std::memcpy(halves, &above, sizeof halves);
    for (std::int64_t half : halves) any |= half;
    return any != 0;
}

// The best first, and of equal scores the first; NaN counts as the lowest number.
void choose_token(const float* scores, i64* experts, float* weights, i64 num_experts, i64 top_k, float temperature,
                  bool abstains, float base) {
    constexpr float LARGEST = std::numeric_limits<float>::max();
    constexpr int LANES = Vectors<float>::LANES;
    i64 size = 0;
    for (i64 expert = 0; expert < num_experts; ++expert) {
        while (size == top_k && expert + LANES <= num_experts &&
               !any_above(load(scores + expert) / temperature, weights[top_k - 1]))
            expert += LANES;
        if (expert == num_experts) break;
        float score = scores[expert] / temperature;
        score = score != score ? -LARGEST : std::min(std::max(score, -LARGEST), LARGEST);
        if (size == top_k && !(score > weights[top_k - 1])) continue;
        i64 place = size < top_k ? size++ : top_k - 1;
        for (; place > 0 && weights[place - 1] < score; --place) {
            weights[place] = weights[place - 1];
            experts[place] = experts[place - 1];
        }
        weights[place] = score;
        experts[place] = expert;
    }
    const float highest = abstains ? std::max(weights[0], base) : weights[0];
    float sum = abstains ? std::exp(base - highest) : 0;
    for (i64 k = 0; k < top_k; ++k) sum += weights[k] = std::exp(weights[k] - highest);
    for (i64 k = 0; k < top_k; ++k) weights[k] /= sum;
}

// P tokens: their scores are the absolute products with the experts' prototypes, [E, W].
template <class Stored, int P>
void choose_tokens_along(const Stored* x, const Stored* prototypes, i64* experts, float* weights, i64 num_experts,
                         i64 width, i64 top_k, float temperature, bool abstains, float base) {
    constexpr int Q = 4;
    std::vector<float> scores(P * num_experts);
    const Stored* tokens[P];
    for (int p = 0; p < P; ++p) tokens[p] = x + p * width;
    for (i64 expert = 0; expert < num_experts; expert += Q) {
        const Stored* rows[Q];
        Number<Stored> sums[P * Q];
        for (int q = 0; q < Q; ++q) rows[q] = prototypes + std::min(expert + q, num_experts - 1) * width;
        dot<P, Q>(tokens, rows, width, sums);
        for (int p = 0; p < P; ++p)
            for (int q = 0; q < Q && expert + q < num_experts; ++q)
                scores[p * num_experts + expert + q] = std::abs(float(sums[p * Q + q]));
    }
    for (int p = 0; p < P; ++p)
        choose_token(scores.data() + p * num_experts, experts + p * top_k, weights + p * top_k, num_experts, top_k,
                     temperature, abstains, base);
}

template <class Stored>
void choose_along(const Stored* x, const Stored* prototypes, i64* experts, float* weights, i64 num_tokens,
                  i64 num_experts, i64 width, i64 top_k, float temperature, bool abstains, float base) {
    const i64 fours = num_tokens >= 16 ? num_tokens / 4 : 0, blocks = fours + num_tokens - 4 * fours;
    Threads threads;
#pragma omp parallel for schedule(static) if (count_work(num_tokens, num_experts, width) > WORTH_A_THREAD)
    for (i64 number = 0; number < blocks; ++number) {
        const i64 token = number < fours ? 4 * number : 3 * fours + number;
        const auto choose = number < fours ? choose_tokens_along<Stored, 4> : choose_tokens_along<Stored, 1>;
        threads.guard([&] {
            choose(x + token * width, prototypes, experts + token * top_k, weights + token * top_k, num_experts,
                   width, top_k, temperature, abstains, base);
        });
    }
    threads.finish();
}

inline void choose_best(const float* scores, i64* experts, float* weights, i64 num_tokens, i64 num_experts, i64 top_k,
                        float temperature, bool abstains, float base) {
#pragma omp parallel for schedule(static) if (count_work(num_tokens, num_experts, 1) > WORTH_A_THREAD)
    for (i64 token = 0; token < num_tokens; ++token)
        choose_token(scores + token * num_experts, experts + token * top_k, weights + token * top_k, num_experts,
                     top_k, temperature, abstains, base);
}
