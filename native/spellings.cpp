// A convolution over one-of-v symbols needs no product for each word: a symbol at a place of the window adds one row of a
// table of v rows, which is made once a batch. Its gradient touches the window of the maximum alone.
#include "spellings.hpp"

#include "threads.hpp"
#include "vector.hpp"

namespace firth {
namespace {

constexpr std::size_t WORDS = 32;  // a slice

std::size_t windows(const Spellings &s, const std::int16_t *word) {
    std::size_t used = s.width;
    while (used > 0 && word[used - 1] == s.pad) --used;
    // One window of padding alone stands for all of them.
    return std::min(s.width - s.window, used) + 1;
}

}  // namespace

void spelling_maxima(const Spellings &s, float *best, std::int16_t *places, int threads, const std::atomic<bool> &stop) {
    parallel_for(s.n, WORDS, threads, stop, [&](std::size_t begin, std::size_t end, int) {
        for (std::size_t i = begin; i < end; ++i) {
            const std::int16_t *word = s.symbols + i * s.width;
            const std::size_t count = windows(s, word);
            for (std::size_t c = 0; c < s.f; c += WIDTH) {
                const std::size_t bytes = std::min(WIDTH, s.f - c) * sizeof(float);
                auto some = [&](const float *from) {
                    vf v{};
                    bytes == sizeof v ? (v = load(from), 0) : (std::memcpy(&v, from, bytes), 0);
                    return v;
                };
                const vf bias = some(s.bias + c);
                vf most = {};
                vi where = vi{} - 1;
                for (std::size_t p = 0; p < count; ++p) {
                    vf total = bias;
                    for (std::size_t j = 0; j < s.window; ++j)
                        total += some(s.table + (j * s.v + static_cast<std::size_t>(word[p + j])) * s.f + c);
                    where = total > most ? vi{} + static_cast<std::int32_t>(p) : where;
                    most = larger(total, most);
                }
                std::memcpy(best + i * s.f + c, &most, bytes);
                for (std::size_t k = 0; k < bytes / sizeof(float); ++k)
                    places[i * s.f + c + k] = static_cast<std::int16_t>(where[k]);
            }
        }
    });
}

void spelling_gradient(const Spellings &s, const std::int16_t *places, const float *slopes, float *table, int threads,
                       const std::atomic<bool> &stop) {
    constexpr std::size_t FILTERS = 16;  // a slice: no two threads add to one cache line
    parallel_for(s.f, FILTERS, threads, stop, [&](std::size_t begin, std::size_t end, int) {
        for (std::size_t i = 0; i < s.n; ++i)
            for (std::size_t k = begin; k < end; ++k) {
                const std::int16_t place = places[i * s.f + k];
                if (place < 0) continue;
                const std::int16_t *word = s.symbols + i * s.width + place;
                for (std::size_t j = 0; j < s.window; ++j)
                    table[(j * s.v + static_cast<std::size_t>(word[j])) * s.f + k] += slopes[i * s.f + k];
            }
    });
}

}  // namespace firth
