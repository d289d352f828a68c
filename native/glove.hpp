// GloVe: how often words stand near each other, and vectors whose inner products tell it.
//
// Counting. A word's row is gathered from all its places at once: the places of every word are listed by a counting sort
// of the corpus, then row after row is summed in one dense accumulator that fits the second-level cache. Rows come out
// sorted, each in the order of the text, so neither threads nor memory change a sum; nothing is hashed or merged inside
// a segment. Symmetric counts are kept once, in the row of the rarer word.
// Versions tried on 17.8 M words, window 10, v = 72,702, seconds of one core:
//   std::unordered_map of pairs                                     66
//   pairs buffered by row block, each block sorted and summed       14
//   rows gathered from places (this one)                             2.4
// Floor: a place brings two cache lines of text from anywhere (9 ns at this machine's 14 GB/s) and makes 20 additions at
// one a cycle (5 ns). 2.4 s are 135 ns a place, so a tenth of the floor is reached: the rest is waiting for sums of rows
// that do not fit the first-level cache.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace firth {

// The rows [begin, end) of a co-occurrence matrix: row r has sizes[r - begin] cells, one behind the other in columns and
// values.
struct CooccurrenceRows {
    std::vector<int64_t> sizes;
    std::vector<int32_t> columns;
    std::vector<float> values;
};

class CooccurrenceCounter {
  public:
    // ids: words and sentence ends (-1); must outlive the counter. symmetric: both sides of a word count, and row r holds
    // columns <= r only; else the words to the left count, in any column.
    CooccurrenceCounter(const int32_t *ids, std::size_t n, std::size_t words, std::size_t window, bool symmetric,
                        int threads, const std::atomic<bool> &stop);
    CooccurrenceRows rows(std::size_t begin, std::size_t end, int threads, const std::atomic<bool> &stop) const;
    // The places before those of word `row`: how rows are shared out evenly.
    uint64_t places_before(std::size_t row) const { return starts[row]; }

  private:
    const int32_t *ids;
    std::size_t n, words, window;
    bool symmetric;
    std::vector<uint64_t> starts;
    std::vector<uint32_t> places;  // of each word in turn
    std::vector<double> nearness;  // 1 / distance
};

// One row of several runs, summed; columns ascend in each.
struct Run {
    const int64_t *starts;  // of the rows [begin, end], into columns and values
    const int32_t *columns;
    const float *values;
};
CooccurrenceRows merge_runs(const std::vector<Run> &runs, std::size_t rows, std::size_t words);

struct GloveSettings {
    float rate, alpha, x_max;
    bool symmetric;
};

// A word's parameters lie in one row of 4 * pitch floats: word vector, context vector, and the sum of squared steps of
// each. A vector's column `dims` is its bias and column dims + 1 is 1 for words and, the other way round, so that the
// inner product of the padded vectors has both biases in it.
struct GloveModel {
    float *rows;
    std::size_t dims, pitch;
};

struct GlovePassed {
    double loss = 0;
    uint64_t cells = 0;
};

// Sorts each row's cells by the band of their column, column % bands, at random inside a band; in place.
void sort_into_bands(const int64_t *starts, int32_t *columns, float *values, std::size_t rows, std::size_t bands,
                     int threads, const std::atomic<bool> &stop);

// One AdaGrad step for each cell of one band of the given rows, in that order; symmetric cells are seen from both sides.
GlovePassed train_glove(const GloveModel &model, const GloveSettings &settings, const int64_t *starts,
                        const int32_t *columns, const float *values, const int32_t *order, std::size_t rows,
                        std::size_t bands, std::size_t band, int threads, const std::atomic<bool> &stop);

}  // namespace firth
