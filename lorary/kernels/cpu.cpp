// The inner loops of a routed model on CPUs: what Python calls, for each dtype. Plain C++ without PyTorch's headers,
// compiled for the machine it runs on by build.py, called by cpu.py.
//
// T tokens, E experts, R rank, W width of a row, K experts per token; a pair is one token and one of its experts.

#include "choose.h"
#include "expand.h"
#include "gather.h"
#include "shrink.h"

template <class Stored>
void mix(const void* x, const void* a, const void* b, const i64* experts, const void* weights, const i64* ranks,
         const void* onto, void* to, void* shrunk, void* weighed, i64 num_tokens, i64 num_experts, i64 rank, i64 inputs,
         i64 outputs, i64 top_k, bool factors, bool skip) {
    using Real = Number<Stored>;
    const Real* real_weights = static_cast<const Real*>(weights);
    const Real* counting = skip ? real_weights : nullptr;
    shrink(static_cast<const Stored*>(x), static_cast<const Stored*>(a), experts, counting, ranks,
           static_cast<Real*>(shrunk), num_tokens, num_experts, rank, inputs, top_k);
    weigh(static_cast<const Real*>(shrunk), real_weights, static_cast<Real*>(weighed), num_tokens, rank, top_k,
          factors);
    expand(static_cast<const Real*>(weighed), static_cast<const Stored*>(b), experts, counting, ranks,
           static_cast<const Stored*>(onto), static_cast<Stored*>(to), num_tokens, num_experts, rank, outputs, top_k);
}

#define FOR_EACH_DTYPE(F) F(bfloat16, BFloat16) F(float32, float) F(float64, double)

#define EXPORT(name, Stored)                                                                                       \
    extern "C" i64 mix_##name(const void* x, const void* a, const void* b, const i64* experts,                     \
                              const void* weights, const i64* ranks, const void* onto, void* to, void* shrunk,     \
                              void* weighed, i64 num_tokens, i64 num_experts, i64 rank, i64 inputs, i64 outputs,   \
                              i64 top_k, i64 factors, i64 skip) {                                                  \
        if (!are_known(experts, num_tokens * top_k, num_experts)) return 1;                                        \
        mix<Stored>(x, a, b, experts, weights, ranks, onto, to, shrunk, weighed, num_tokens, num_experts, rank,    \
                    inputs, outputs, top_k, factors, skip);                                                        \
        return 0;                                                                                                  \
    }                                                                                                              \
    extern "C" void shrink_##name(const void* x, const void* factors, const i64* experts, void* shrunk,            \
                                  i64 num_tokens, i64 num_experts, i64 rank, i64 width, i64 top_k) {               \
        shrink<Stored>(static_cast<const Stored*>(x), static_cast<const Stored*>(factors), experts, nullptr,       \
                       nullptr, static_cast<Number<Stored>*>(shrunk), num_tokens, num_experts, rank, width,        \
                       top_k);                                                                                     \
    }                                                                                                              \
    extern "C" void expand_##name(const void* weighed, const void* factors, const i64* experts, void* to,          \
                                  i64 num_tokens, i64 num_experts, i64 rank, i64 width, i64 top_k) {               \
        expand<Stored>(static_cast<const Number<Stored>*>(weighed), static_cast<const Stored*>(factors), experts,  \
                       nullptr, nullptr, nullptr, static_cast<Stored*>(to), num_tokens, num_experts, rank, width,  \
                       top_k);                                                                                     \
    }                                                                                                              \
    extern "C" void gather_##name(const void* weighed, const void* rows, const i64* experts, void* to,             \
                                  i64 num_tokens, i64 num_experts, i64 rank, i64 width, i64 top_k) {               \
        gather<Stored>(static_cast<const Number<Stored>*>(weighed), static_cast<const Stored*>(rows), experts,     \
                       static_cast<Stored*>(to), num_tokens, num_experts, rank, width, top_k);                     \
    }                                                                                                              \
    extern "C" void along_##name(const void* x, const void* prototypes, i64* experts, float* weights,              \
                                 i64 num_tokens, i64 num_experts, i64 width, i64 top_k, float temperature,         \
                                 i64 abstains, float base) {                                                       \
        choose_along(static_cast<const Stored*>(x), static_cast<const Stored*>(prototypes), experts, weights,      \
                     num_tokens, num_experts, width, top_k, temperature, abstains, base);                          \
    }
FOR_EACH_DTYPE(EXPORT)

extern "C" void choose(const float* scores, i64* experts, float* weights, i64 num_tokens, i64 num_experts,
                       i64 top_k, float temperature, i64 abstains, float base) {
#pragma omp parallel for schedule(static) if (num_tokens * num_experts > WORTH_A_THREAD)
    for (i64 token = 0; token < num_tokens; ++token)
        choose_token(scores + token * num_experts, experts + token * top_k, weights + token * top_k, num_experts,
                     top_k, temperature, abstains, base);
}
