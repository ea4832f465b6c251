// The inner loops of a routed model on CPUs: the functions that Python calls, for each dtype. Plain C++ without
// PyTorch's headers, compiled for the machine it runs on by build.py, called by cpu.py.
//
// T tokens, E experts, R rank, W width of a row, K experts per token; a pair is one token and one of its experts.

#include "choose.h"
#include "expand.h"
#include "gather.h"
#include "guard.h"
#include "shrink.h"

// A call's arguments, as cpu.py packs them: addresses, then numbers of eight bytes.
struct Mix {
    const void *x, *a, *b;
    const i64* experts;
    const void* weights;
    const i64* ranks;
    const void* onto;
    void *to, *shrunk, *weighed;
    i64 num_tokens, num_experts, rank, inputs, outputs, top_k, factors, skip;
};

// Rows to rank space by factors, or back, or rows by rank space to the factors' gradient.
struct Rows {
    const void *from, *by;
    const i64* experts;
    void* to;
    i64 num_tokens, num_experts, rank, width, top_k;
};

struct Choice {
    const void *x, *prototypes;
    i64* experts;
    float* weights;
    i64 num_tokens, num_experts, width, top_k;
    double temperature;
    i64 abstains;
    double base;
};

template <class Stored>
i64 mix(const Mix& call) {
    using Real = Number<Stored>;
    const auto [x, a, b, experts, weights, ranks, onto, to, shrunk, weighed, num_tokens, num_experts, rank, inputs,
                outputs, top_k, factors, skip] = call;
    if (is_missing(x, {num_tokens, inputs}) || is_missing(a, {num_experts, rank, inputs}) ||
        is_missing(b, {num_experts, rank, outputs}) || is_missing(experts, {num_tokens, top_k}) ||
        is_missing(weights, {num_tokens, top_k}))
        return NO_ADDRESS;
    if (!are_known(experts, num_tokens * top_k, num_experts)) return UNKNOWN_EXPERT;
    if (!are_ranks(ranks, experts, num_tokens * top_k, rank)) return UNKNOWN_RANK;
    const Real* real_weights = static_cast<const Real*>(weights);
    const Real* counting = skip ? real_weights : nullptr;
    shrink(static_cast<const Stored*>(x), static_cast<const Stored*>(a), experts, counting, ranks,
           static_cast<Real*>(shrunk), num_tokens, num_experts, rank, inputs, top_k);
    weigh(static_cast<const Real*>(shrunk), real_weights, static_cast<Real*>(weighed), num_tokens, rank, top_k,
          factors);
    expand(static_cast<const Real*>(weighed), static_cast<const Stored*>(b), experts, counting, ranks,
           static_cast<const Stored*>(onto), static_cast<Stored*>(to), num_tokens, num_experts, rank, outputs, top_k);
    return DONE;
}

template <class Stored>
i64 shrink_rows(const Rows& call) {
    const auto [x, factors, experts, to, num_tokens, num_experts, rank, width, top_k] = call;
    if (is_missing(x, {num_tokens, width}) || is_missing(factors, {num_experts, rank, width}) ||
        is_missing(experts, {num_tokens, top_k}))
        return NO_ADDRESS;
    if (!are_known(experts, num_tokens * top_k, num_experts)) return UNKNOWN_EXPERT;
    shrink<Stored>(static_cast<const Stored*>(x), static_cast<const Stored*>(factors), experts, nullptr, nullptr,
                   static_cast<Number<Stored>*>(to), num_tokens, num_experts, rank, width, top_k);
    return DONE;
}

template <class Stored>
i64 expand_rows(const Rows& call) {
    const auto [weighed, factors, experts, to, num_tokens, num_experts, rank, width, top_k] = call;
    if (is_missing(weighed, {num_tokens, top_k, rank}) || is_missing(factors, {num_experts, rank, width}) ||
        is_missing(experts, {num_tokens, top_k}))
        return NO_ADDRESS;
    if (!are_known(experts, num_tokens * top_k, num_experts)) return UNKNOWN_EXPERT;
    expand<Stored>(static_cast<const Number<Stored>*>(weighed), static_cast<const Stored*>(factors), experts, nullptr,
                   nullptr, nullptr, static_cast<Stored*>(to), num_tokens, num_experts, rank, width, top_k);
    return DONE;
}

template <class Stored>
i64 gather_rows(const Rows& call) {
    const auto [weighed, x, experts, to, num_tokens, num_experts, rank, width, top_k] = call;
    if (is_missing(weighed, {num_tokens, top_k, rank}) || is_missing(x, {num_tokens, width}) ||
        is_missing(experts, {num_tokens, top_k}))
        return NO_ADDRESS;
    if (!are_known(experts, num_tokens * top_k, num_experts)) return UNKNOWN_EXPERT;
    gather<Stored>(static_cast<const Number<Stored>*>(weighed), static_cast<const Stored*>(x), experts,
                   static_cast<Stored*>(to), num_tokens, num_experts, rank, width, top_k);
    return DONE;
}

template <class Stored>
i64 choose_along(const Choice& call) {
    const auto [x, prototypes, experts, weights, num_tokens, num_experts, width, top_k, temperature, abstains,
                base] = call;
    if (is_missing(x, {num_tokens, width}) || is_missing(prototypes, {num_experts, width})) return NO_ADDRESS;
    choose_along<Stored>(static_cast<const Stored*>(x), static_cast<const Stored*>(prototypes), experts, weights,
                         num_tokens, num_experts, width, top_k, temperature, abstains, base);
    return DONE;
}

#define FOR_EACH_DTYPE(F) F(bfloat16, BFloat16) F(float32, float) F(float64, double)

#define EXPORT(name, Stored)                                                                                      \
    extern "C" i64 mix_##name(const Mix* call) { return guard([&] { return mix<Stored>(*call); }); }              \
    extern "C" i64 shrink_##name(const Rows* call) { return guard([&] { return shrink_rows<Stored>(*call); }); }  \
    extern "C" i64 expand_##name(const Rows* call) { return guard([&] { return expand_rows<Stored>(*call); }); }  \
    extern "C" i64 gather_##name(const Rows* call) { return guard([&] { return gather_rows<Stored>(*call); }); }  \
    extern "C" i64 along_##name(const Choice* call) { return guard([&] { return choose_along<Stored>(*call); }); }
FOR_EACH_DTYPE(EXPORT)

extern "C" i64 choose_float32(const Choice* call) {
    const auto [x, _, experts, weights, num_tokens, num_experts, width, top_k, temperature, abstains, base] = *call;
    if (is_missing(x, {num_tokens, num_experts})) return NO_ADDRESS;
    choose_best(static_cast<const float*>(x), experts, weights, num_tokens, num_experts, top_k, temperature, abstains,
                base);
    return DONE;
}
