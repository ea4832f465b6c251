// Exceptions, which may leave neither a thread nor C++.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <initializer_list>
#include <new>

// Results of a call for Python; cpu.py has the same numbers.
enum Outcome : std::int64_t { DONE = 0, UNKNOWN_EXPERT = 1, UNKNOWN_RANK = 2, NO_ADDRESS = 3, NO_MEMORY = 4 };

// Whether required numbers are missing.
inline bool is_missing(const void* numbers, std::initializer_list<std::int64_t> sizes) {
    return !numbers && std::none_of(sizes.begin(), sizes.end(), [](std::int64_t size) { return size == 0; });
}

// Code here throws only if memory is exhausted.
template <class Work>
std::int64_t guard(Work work) {
    try {
        return work();
    } catch (...) {
        return NO_MEMORY;
    }
}

// Keeps exceptions of threads until all have finished.
class Threads {
    std::atomic<bool> failed{false};

  public:
    template <class Work>
    void guard(Work work) {
        try {
            work();
        } catch (...) {
            failed = true;
        }
    }

    void finish() const {
        if (failed) throw std::bad_alloc();
    }
};
