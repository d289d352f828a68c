// word2vec: skip-gram and CBOW over negative sampling and hierarchical softmax.
//
// Everything is one small dense problem, solved again and again: a tile of input rows against a tile of output rows, with
// a weight and a label for each pair (logistic_tile). Skip-gram's inputs are the words around a few consecutive centres,
// CBOW's are the means of those words; the outputs are the centres with shared noise words, or the inner nodes of the
// centres' Huffman paths.
//
// Versions tried on 3 M words of enwiki2015, v = 72,702, d = 100, window 5: M words of text a second of one core (Zen 5).
//                                                                                   skip-gram  CBOW  hierarchical
//   8 centres share 8 noise words; names of outputs looked up for every pair            4.0      4.1      0.74
//   columns known, CBOW's rows summed in registers, one path a tile, and the rows
//   of the next tile fetched while this one is computed (this one)                      6.1      5.7      1.5
// How much is shared, by the second version on a busier machine:
//   8 centres, 8 noise words                                                            5.2      5.2
//   1 centre, 5 noise words of its own: word2vec's algorithm                            2.7      3.3
//   4 centres, 8 noise words                                                            4.8
//   16 centres, 8 noise words                                                           5.2
//   8 centres, 16 noise words: skip-gram's default, for analogies at d = 300           4.2    4.0
//   8 centres, 32 noise words                                                                    2.9
// Seconds and analogies on 17.8 M words, 2 threads; CBOW at the rate of 0.05, two seeds:
//   skip-gram d = 300: 8 centres, 8 noise words    18 s  28.0 %     8 and 16   29 s  29.5 %
//   CBOW: 8 centres, 8 noise words   13.5 s  26.3 %    8 and 16   17.5 s  28.2 %    4 and 16   15.8 s  29.1 %
//         4 and 8 (CBOW's default)   13.2 s  27.7 %    4 and 12   17 s    28.7 %    2 and 6    17 s    28.4 %
// CBOW at word2vec.c's rate for skip-gram, 0.025: 25 % with each of these, and with one centre and 5 words of its own.
//
// Floor. Three quarters of the words are kept by subsampling, 8 of them make a tile of 16 x 16 rows (padded): 172,000
// operations at d = 100, 60 ns a word of text at this core's 260 GFLOP/s. Its 24 new rows are read and written, 1.3 KB a
// centre, 70 ns at 14 GB/s if none were in the cache, beside the arithmetic. 164 ns are reached: 0.4 of the floor. CBOW:
// 37 ns of arithmetic (8 noise words), 0.2 of it reached; windows and weights take the rest. Hierarchical: 8 x 12 rows a
// centre, 180 ns, 0.28 of it reached.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "random.hpp"

namespace firth {

constexpr std::size_t BLOCK = 4;        // rows of a register block; tiles are padded to it with rows of zeros
constexpr std::size_t ROW_FLOATS = 16;  // rows are padded to whole cache lines

// Float storage at an address that divides by 64, zero at first.
class Floats {
  public:
    explicit Floats(std::size_t n) : storage(n + ROW_FLOATS) {
        start = (64 - reinterpret_cast<std::uintptr_t>(storage.data()) % 64) % 64 / sizeof(float);
    }
    float *data() { return storage.data() + start; }

  private:
    std::vector<float> storage;
    std::size_t start;
};

// Weights and labels lie in blocks of 4 x 4, block row by block row, so that a block's scores come out of the registers
// in the order in which they meet their weights.
struct Tile {
    Tile(std::size_t most_inputs, std::size_t most_outputs, std::size_t pitch);

    std::size_t inputs = 0, outputs = 0;
    std::vector<float *> x, u;               // rows of `pitch` floats, 64-byte aligned; no output row stands twice
    std::size_t pitch;

    // Both sides are settled: weights and labels become zero.
    void open(std::size_t n_inputs, std::size_t n_outputs);
    std::size_t input_blocks() const { return (inputs + BLOCK - 1) / BLOCK; }
    std::size_t output_blocks() const { return (outputs + BLOCK - 1) / BLOCK; }
    std::size_t at(std::size_t input, std::size_t output) const {
        return (input / BLOCK * output_blocks() + output / BLOCK) * BLOCK * BLOCK + input % BLOCK * BLOCK +
               output % BLOCK;
    }
    float *weight() { return weights.data(); }
    float *label() { return labels.data(); }
    float *gradient() { return gradients.data(); }
    float *step(std::size_t input) { return steps.data() + input * pitch; }

  private:
    Floats weights, labels, gradients, steps, nothing;
};

// One gradient step on a tile. With s = x u^T and sigma the logistic function:
//   loss = sum of weight * log(1 + exp(s)) - label * s
//   g = rate * (label - weight * sigma(s));   x += g u;   u += g^T x (the x before the step)
// A negative pair has label 0; a positive pair has weight and label 1. Returns the loss before the step. What x moves by
// is left in tile.step(i); with move = false x itself stays.
double logistic_tile(Tile &tile, float rate, bool move);
float dot_row(const float *a, const float *b, std::size_t pitch);
// to += by * from, for rows of `pitch` floats.
void add_row(float *to, const float *from, float by, std::size_t pitch);
// to = sum of by[i] * rows[i]; with `add`, to += that.
void sum_rows(float *to, const std::vector<const float *> &rows, const std::vector<float> &by, std::size_t pitch,
              bool add);

struct Word2VecSettings {
    bool skipgram, hierarchical, softmax, mean, shrink, deterministic;
    std::size_t window, negatives, epochs;
    float rate, last_rate;
    uint64_t seed;
    std::size_t centres, noise;  // centres a tile, noise words a tile
    std::size_t inputs;          // most inputs a tile
    std::size_t span;            // ids a piece
};

struct Model {
    std::size_t words, pitch;
    float *input, *output;
    const uint32_t *keep;         // (v) a word is kept if 32 random bits are <= this
    const uint32_t *noise_below;  // (v) alias table: stay if 32 random bits are <= this
    const int32_t *noise_alias;   // (v) else take this word
    const int64_t *path_start;    // (v + 1) where a word's Huffman path begins in `path`
    const int32_t *path;          // inner nodes, times two, plus the code bit
};

void alias_table(const double *weights, std::size_t n, uint32_t *below, int32_t *alias);
std::vector<int32_t> huffman(const int64_t *counts, std::size_t n, int64_t *starts);

// A slice of the corpus as one pass of training sees it: without the words that subsampling left out, and how many words
// to the left and right belong to each one's window; windows end with their sentence. Centres are [first, last), from
// ids[start, stop); the others are only company.
struct Piece {
    std::vector<int32_t> word, left, right;
    std::size_t first, last;
};
void sample_piece(const Model &model, const Word2VecSettings &settings, const int32_t *ids, std::size_t n,
                  std::size_t start, std::size_t stop, Random &random, Piece &piece);
int32_t noise_word(const Model &model, Random &random);
// Where piece p of a corpus begins: behind the first sentence end in its span, or at the span's begin if there is none.
std::size_t piece_start(const int32_t *ids, std::size_t n, std::size_t p, std::size_t span);
uint64_t piece_seed(uint64_t seed, std::size_t epoch, std::size_t p);

struct Passed {
    double loss = 0;
    uint64_t pairs = 0;  // that the loss sums over: (centre, context) in skip-gram, centres in CBOW
};

// The learning rate of a piece that begins at `start`: it falls with the text that has been read.
float rate_at(const Word2VecSettings &settings, std::size_t epoch, std::size_t start, std::size_t n);

struct Span {
    std::size_t begin, end;  // pieces
};

struct Wanted {
    int32_t output;
    float times;
};

// One gradient step of m inputs against all v outputs, of which wanted[i] are the right answers to input i. With n their
// number and s the scores:  loss = sum of n * log(sum exp(s)) - wanted * s,  g = rate * (wanted - n * softmax(s)). Moves u;
// what x would move by is left in steps, row i at i * pitch. Returns the loss before the step.
double softmax_step(const std::vector<float *> &x, float *u, std::size_t v, std::size_t pitch,
                    const std::vector<std::vector<Wanted>> &wanted, float rate, float *steps, int threads,
                    const std::atomic<bool> &stop);
Passed train_softmax(const Model &model, const Word2VecSettings &settings, const int32_t *ids, std::size_t n,
                     std::size_t epoch, Span pieces, int threads, const std::atomic<bool> &stop);

// Trains on part `part` of `parts` of ids[0, n), as in epoch `epoch` of settings.epochs.
Passed train_part(const Model &model, const Word2VecSettings &settings, const int32_t *ids, std::size_t n,
                  std::size_t epoch, std::size_t part, std::size_t parts, int threads, const std::atomic<bool> &stop);

}  // namespace firth
