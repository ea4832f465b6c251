// The inner loops of a routed model on CPUs. Plain C++ with GCC's and Clang's vector extensions: no header of
// PyTorch, no instruction of one processor. Compiled for the machine it runs on by build.py, called by cpu.py.
//
// T tokens, E experts, R rank, W width of a row, K experts per token; a pair is one token and one of its experts.

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <vector>

#ifdef __AVX512BF16__
#include <immintrin.h>
#endif
#ifdef _OPENMP
#include <omp.h>
#endif

#ifdef __AVX512F__
constexpr int VECTOR_BYTES = 64;
#else
constexpr int VECTOR_BYTES = 32;
#endif

using i64 = std::int64_t;

// ---------------------------------------------------------------- numbers: stored narrow, summed wide

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

// To the nearest, ties to even; what is no number stays none.
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

// ---------------------------------------------------------------- pairs, sorted by expert

// A few pairs of one expert, each of another token, worked on together.
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

// Below this many multiplications a second thread costs more than it does.
constexpr i64 WORTH_A_THREAD = 1 << 15;

// ---------------------------------------------------------------- shrink: rows to rank space

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
// Twice the numbers per instruction, where the processor has one for this.
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

template <class Stored, int P>
void shrink_tokens(const Stored* x, const Stored* factors, const i64* pairs, i64 rank, i64 width, i64 top_k,
                   Number<Stored>* shrunk) {
    constexpr int Q = 4;
    const Stored* tokens[P];
    for (int p = 0; p < P; ++p) tokens[p] = x + pairs[p] / top_k * width;
    for (i64 r = 0; r < rank; r += Q) {
        const Stored* rows[Q];
        Number<Stored> sums[P * Q];
        for (int q = 0; q < Q; ++q) rows[q] = factors + std::min(r + q, rank - 1) * width;
        dot<P, Q>(tokens, rows, width, sums);
        for (int p = 0; p < P; ++p)
            for (int q = 0; q < Q && r + q < rank; ++q) shrunk[pairs[p] * rank + r + q] = sums[p * Q + q];
    }
}

// shrunk[t, k] = factors[experts[t, k]] x[t]; 0 where a weight is 0.
template <class Stored>
void shrink(const Stored* x, const Stored* factors, const i64* experts, const Number<Stored>* weights,
            Number<Stored>* shrunk, i64 num_tokens, i64 num_experts, i64 rank, i64 width, i64 top_k) {
    const Sorted sorted(experts, weights, num_tokens, num_experts, top_k);
    if (i64(sorted.pairs.size()) < num_tokens * top_k)
        std::fill(shrunk, shrunk + num_tokens * top_k * rank, Number<Stored>(0));
    const i64 work = i64(sorted.pairs.size()) * rank * width;
#pragma omp parallel for schedule(static) if (work > WORTH_A_THREAD)
    for (i64 number = 0; number < i64(sorted.blocks.size()); ++number) {
        const Block block = sorted.blocks[number];
        const Stored* own = factors + block.expert * rank * width;
        const i64* pairs = sorted.pairs.data() + block.first;
        if (block.size == 4) shrink_tokens<Stored, 4>(x, own, pairs, rank, width, top_k, shrunk);
        if (block.size == 2) shrink_tokens<Stored, 2>(x, own, pairs, rank, width, top_k, shrunk);
        if (block.size == 1) shrink_tokens<Stored, 1>(x, own, pairs, rank, width, top_k, shrunk);
    }
}

// ---------------------------------------------------------------- the weighing in rank space

// outputs: every pair's own vector times its weight. factors: their weighted sum times each weight.
template <class Real>
void weigh(const Real* shrunk, const Real* weights, Real* weighed, i64 num_tokens, i64 rank, i64 top_k,
           bool factors) {
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

// ---------------------------------------------------------------- expand: from rank space to rows

// What rank-space numbers are kept in meanwhile: bfloat16 where the processor multiplies it two by two.
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

// N vectors of P tokens' rows: sums += weighed rank-space numbers times an expert's rows.
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
// Two rows at once: their columns are interleaved, and met by a pair of numbers. An odd rank is padded with 0.
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
                 const Stored* onto, Stored* to, i64 num_tokens, i64 rank, i64 width, i64 top_k, i64 begin, i64 end) {
    const i64 band = end - begin;
    std::vector<Number<Stored>> sums(num_tokens * band, 0);
    for (const Block block : sorted.blocks) {
        const Stored* own = factors + block.expert * rank * width + begin;
        const i64* pairs = sorted.pairs.data() + block.first;
        if (block.size == 4) expand_tokens<4>(weighed, stride, own, pairs, sums.data(), rank, width, top_k, band);
        if (block.size == 2) expand_tokens<2>(weighed, stride, own, pairs, sums.data(), rank, width, top_k, band);
        if (block.size == 1) expand_tokens<1>(weighed, stride, own, pairs, sums.data(), rank, width, top_k, band);
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

// How many columns are worked on at once, of all tokens' experts.
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
            const Stored* onto, Stored* to, i64 num_tokens, i64 num_experts, i64 rank, i64 width, i64 top_k) {
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
    const i64 work = num_tokens * top_k * rank * width;
#pragma omp parallel for schedule(dynamic) if (work > WORTH_A_THREAD)
    for (i64 number = 0; number < groups * bands; ++number) {
        const i64 group = number / bands, first = group * TOKENS, begin = number % bands * band;
        expand_band(kept + first * top_k * stride, stride, factors, sorted[group],
                    onto ? onto + first * width : nullptr, to + first * width, std::min(TOKENS, num_tokens - first),
                    rank, width, top_k, begin, std::min(begin + band, width));
    }
}

// ---------------------------------------------------------------- gather: gradients of the experts

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
    constexpr int LANES = Vectors<Stored>::LANES, Q = 4;
    const Sorted sorted(experts, static_cast<const Number<Stored>*>(nullptr), num_tokens, num_experts, top_k);
    const i64 band = 4 * LANES, bands = (width + band - 1) / band;
    const i64 work = num_tokens * top_k * rank * width;
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

// ---------------------------------------------------------------- choose: the best few of many scores

// Whether any of a vector's numbers is above the limit.
inline bool any_above(Vector<float> numbers, float limit) {
    const auto above = numbers > limit;
    std::int64_t halves[VECTOR_BYTES / 8], any = 0;
    std::memcpy(halves, &above, sizeof halves);
    for (std::int64_t half : halves) any |= half;
    return any != 0;
}

// Best first, of equals the one that comes first; what is no number counts as the lowest number there is.
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

// P tokens: their scores are how far they reach along the experts' prototypes, [E, W], either way.
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
#pragma omp parallel for schedule(static) if (num_tokens * num_experts * width > WORTH_A_THREAD)
    for (i64 number = 0; number < blocks; ++number) {
        const i64 token = number < fours ? 4 * number : 3 * fours + number;
        const auto choose = number < fours ? choose_tokens_along<Stored, 4> : choose_tokens_along<Stored, 1>;
        choose(x + token * width, prototypes, experts + token * top_k, weights + token * top_k, num_experts, width,
               top_k, temperature, abstains, base);
    }
}

// ---------------------------------------------------------------- what Python calls

template <class Stored>
void mix(const void* x, const void* a, const void* b, const i64* experts, const void* weights, const void* onto,
         void* to, void* shrunk, void* weighed, i64 num_tokens, i64 num_experts, i64 rank, i64 inputs, i64 outputs,
         i64 top_k, bool factors, bool skip) {
    using Real = Number<Stored>;
    const Real* real_weights = static_cast<const Real*>(weights);
    shrink(static_cast<const Stored*>(x), static_cast<const Stored*>(a), experts, skip ? real_weights : nullptr,
           static_cast<Real*>(shrunk), num_tokens, num_experts, rank, inputs, top_k);
    weigh(static_cast<const Real*>(shrunk), real_weights, static_cast<Real*>(weighed), num_tokens, rank, top_k,
          factors);
    expand(static_cast<const Real*>(weighed), static_cast<const Stored*>(b), experts, skip ? real_weights : nullptr,
           static_cast<const Stored*>(onto), static_cast<Stored*>(to), num_tokens, num_experts, rank, outputs, top_k);
}

#define FOR_EACH_DTYPE(F) F(bfloat16, BFloat16) F(float32, float) F(float64, double)

#define EXPORT(name, Stored)                                                                                       \
    extern "C" void mix_##name(const void* x, const void* a, const void* b, const i64* experts,                    \
                               const void* weights, const void* onto, void* to, void* shrunk, void* weighed,       \
                               i64 num_tokens, i64 num_experts, i64 rank, i64 inputs, i64 outputs, i64 top_k,      \
                               i64 factors, i64 skip) {                                                            \
        mix<Stored>(x, a, b, experts, weights, onto, to, shrunk, weighed, num_tokens, num_experts, rank, inputs,   \
                    outputs, top_k, factors, skip);                                                                \
    }                                                                                                              \
    extern "C" void shrink_##name(const void* x, const void* factors, const i64* experts, void* shrunk,            \
                                  i64 num_tokens, i64 num_experts, i64 rank, i64 width, i64 top_k) {               \
        shrink<Stored>(static_cast<const Stored*>(x), static_cast<const Stored*>(factors), experts, nullptr,       \
                       static_cast<Number<Stored>*>(shrunk), num_tokens, num_experts, rank, width, top_k);         \
    }                                                                                                              \
    extern "C" void expand_##name(const void* weighed, const void* factors, const i64* experts, void* to,          \
                                  i64 num_tokens, i64 num_experts, i64 rank, i64 width, i64 top_k) {               \
        expand<Stored>(static_cast<const Number<Stored>*>(weighed), static_cast<const Stored*>(factors), experts,  \
                       nullptr, nullptr, static_cast<Stored*>(to), num_tokens, num_experts, rank, width, top_k);   \
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
