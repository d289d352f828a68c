// word2vec's training loop: from ids to tiles, over threads; see sgns.hpp. The arithmetic is in sgns_tile.cpp.
//
// Lock-free mode: threads take pieces of the corpus as they become free and write to the same rows (Hogwild, Recht et al.
// 2011, arXiv:1106.5730). Deterministic mode: rounds of ROUND pieces; each piece trains on copies of the rows that it
// touches, as if it were alone, and the differences are then added in the order of the pieces, each row by one thread,
// so the number of threads cannot matter. A round must be short: pieces that all move a row the same way move it too far
// together (on a vocabulary of 58 words rounds of 500 ids diverge; damping the sum for rows that many pieces use only
// delayed it), so settings.span follows the most frequent word (static/word2vec.py).
#include "sgns.hpp"

#include <algorithm>
#include <barrier>
#include <cmath>
#include <exception>
#include <memory>
#include <mutex>
#include <thread>

#include "threads.hpp"

namespace firth {
namespace {

constexpr std::size_t ROUND = 4;     // pieces, and the most threads that deterministic training can use
constexpr std::size_t DEEPEST = 64;  // bits of a Huffman code; counts would have to grow like Fibonacci's numbers

// The rows of a matrix that all threads write to.
struct SharedRows {
    float *base;
    std::size_t pitch;
    float *at(int32_t id) { return base + static_cast<std::size_t>(id) * pitch; }
    void fetch(int32_t id) const {
        for (const float *p = base + static_cast<std::size_t>(id) * pitch, *end = p + pitch; p < end; p += ROW_FLOATS)
            __builtin_prefetch(p, 1);
    }
};

// Copies of the rows of a matrix that one piece touches.
class CopiedRows {
  public:
    CopiedRows(float *base, std::size_t rows, std::size_t pitch) : base(base), pitch(pitch), slot(rows, -1) {}

    float *at(int32_t id) {
        int32_t &place = slot[static_cast<std::size_t>(id)];
        if (place < 0) {
            place = static_cast<int32_t>(touched.size());
            touched.push_back(id);
            if (touched.size() > chunks.size() * CHUNK) chunks.push_back(std::make_unique<Floats>(CHUNK * pitch));
            std::copy_n(base + static_cast<std::size_t>(id) * pitch, pitch, row(static_cast<std::size_t>(place)));
        }
        return row(static_cast<std::size_t>(place));
    }

    void fetch(int32_t) const {}  // a piece touches its copies again and again, they are near already

    // Copies become differences from the shared rows.
    void subtract() {
        for (std::size_t i = 0; i < touched.size(); ++i)
            add_row(row(i), base + static_cast<std::size_t>(touched[i]) * pitch, -1, pitch);
    }
    // Adds the differences of the rows that thread `mine` of `team` owns.
    void add(std::size_t mine, std::size_t team) {
        for (std::size_t i = 0; i < touched.size(); ++i)
            if (static_cast<std::size_t>(touched[i]) % team == mine)
                add_row(base + static_cast<std::size_t>(touched[i]) * pitch, row(i), 1, pitch);
    }
    void forget() {
        for (const int32_t id : touched) slot[static_cast<std::size_t>(id)] = -1;
        touched.clear();
    }

  private:
    static constexpr std::size_t CHUNK = 256;  // rows; chunks, so that pointers to rows stay valid as they grow
    float *base;
    std::size_t pitch;
    std::vector<int32_t> slot, touched;
    std::vector<std::unique_ptr<Floats>> chunks;

    float *row(std::size_t place) { return chunks[place / CHUNK]->data() + place % CHUNK * pitch; }
};

// Trains piece after piece on rows that it is handed.
template <class Rows> class Worker {
  public:
    Worker(const Model &model, const Word2VecSettings &settings, Rows input, Rows output)
        : input(std::move(input)), output(std::move(output)), model(model), settings(settings),
          tile(std::min(settings.inputs, settings.centres + 2 * settings.window),
               settings.hierarchical ? DEEPEST : settings.centres + settings.noise, model.pitch),
          means(settings.centres * model.pitch), uses(settings.centres + 2 * settings.window) {}

    // Centres are the words of ids[start, stop); a window may look a little further where a sentence goes on.
    Passed train(const int32_t *ids, std::size_t n, std::size_t start, std::size_t stop, uint64_t seed, float rate) {
        const std::size_t margin = 2 * settings.window;
        std::size_t from = start, to = stop;
        while (from > 0 && start - from < margin && ids[from - 1] >= 0) --from;
        while (to < n && to - stop < margin && to > 0 && ids[to - 1] >= 0) ++to;
        Random random(seed);
        sample_piece(model, settings, ids + from, to - from, start - from, stop - from, random, piece);
        Passed passed;
        prepare(piece.first, random);
        for (std::size_t begin = piece.first; begin < piece.last; begin += settings.centres) {
            const std::size_t end = std::min(piece.last, begin + settings.centres);
            drawn.swap(next);
            prepare(end, random);  // its rows are on their way while this tile is computed
            passed.pairs += settings.skipgram ? skipgram(begin, end, rate, passed.loss) : cbow(begin, end, rate, passed.loss);
        }
        return passed;
    }

    Rows input, output;

  private:
    const Model &model;
    const Word2VecSettings &settings;
    Tile tile;
    Floats means;
    Piece piece;
    std::vector<int32_t> drawn, next;     // noise words of this tile and of the one behind it
    std::vector<int32_t> names;           // what the tile's outputs are: words or inner nodes
    std::vector<std::size_t> own, noise;  // columns of the centres' own words (or of a path), and of the noise words
    std::vector<uint32_t> uses;           // centres that have this input in their window
    std::vector<std::size_t> heads;       // cbow: centres that have a window
    std::vector<const float *> rows;
    std::vector<float> shares;

    // Draws the noise of the tile that begins at `begin`, and asks for the rows that it brings into play.
    void prepare(std::size_t begin, Random &random) {
        if (begin >= piece.last) return;
        next.clear();
        const std::size_t end = std::min(piece.last, begin + settings.centres);
        if (settings.hierarchical) {
            for (std::size_t i = begin; i < end; ++i)
                for (int64_t p = model.path_start[piece.word[i]]; p < model.path_start[piece.word[i] + 1]; ++p)
                    output.fetch(model.path[p] >> 1);
        } else {
            for (std::size_t i = 0; i < settings.noise; ++i) next.push_back(noise_word(model, random));
            for (const int32_t word : next) output.fetch(word);
            for (std::size_t i = begin; i < end; ++i) output.fetch(piece.word[i]);
        }
        const std::size_t last = std::min(piece.word.size(), end + settings.window);
        for (std::size_t i = std::min(last, begin + settings.window); i < last; ++i) input.fetch(piece.word[i]);
    }

    std::size_t column(int32_t name) {
        const auto found = static_cast<std::size_t>(std::find(names.begin(), names.end(), name) - names.begin());
        if (found == names.size()) names.push_back(name);
        return found;
    }

    // The outputs of the centres [begin, end): their words and noise, no word twice; or the path of the only centre.
    void name_outputs(std::size_t begin, std::size_t end) {
        names.clear(), own.clear(), noise.clear();
        if (settings.hierarchical) {
            const int32_t word = piece.word[begin];
            for (int64_t p = model.path_start[word]; p < model.path_start[word + 1]; ++p) {
                own.push_back(names.size());
                names.push_back(model.path[p] >> 1);
            }
            return;
        }
        for (std::size_t i = begin; i < end; ++i) own.push_back(column(piece.word[i]));
        for (const int32_t word : drawn) noise.push_back(column(word));
    }

    void open_tile(std::size_t inputs) {
        tile.open(inputs, names.size());
        for (std::size_t o = 0; o < names.size(); ++o) tile.u[o] = output.at(names[o]);
    }

    // Pair (input row, centre number c of the tile): the centre's own outputs.
    void pair(std::size_t row, std::size_t c, std::size_t begin) {
        if (settings.hierarchical) {
            const int64_t start = model.path_start[piece.word[begin]];
            for (std::size_t p = 0; p < own.size(); ++p)
                add_pair(row, own[p], static_cast<float>(1 - (model.path[start + static_cast<int64_t>(p)] & 1)));
        } else {
            add_pair(row, own[c], 1);
        }
    }
    void add_pair(std::size_t row, std::size_t output, float label) {
        const std::size_t at = tile.at(row, output);
        tile.weight()[at] += 1;
        tile.label()[at] += label;
    }

    std::size_t skipgram(std::size_t begin, std::size_t end, float rate, double &loss) {
        std::size_t low = end, high = begin, pairs = 0;
        for (std::size_t i = begin; i < end; ++i) {
            const auto left = static_cast<std::size_t>(piece.left[i]), right = static_cast<std::size_t>(piece.right[i]);
            if (left + right == 0) continue;
            low = std::min(low, i - left), high = std::max(high, i + right + 1);
            pairs += left + right;
        }
        name_outputs(begin, end);
        if (pairs == 0) return 0;
        for (std::size_t from = low; from < high; from += settings.inputs)
            loss += skipgram_step(begin, end, from, std::min(high, from + settings.inputs), rate);
        return pairs;
    }

    // The centres [begin, end) against the inputs [low, high).
    double skipgram_step(std::size_t begin, std::size_t end, std::size_t low, std::size_t high, float rate) {
        open_tile(high - low);
        for (std::size_t j = low; j < high; ++j) tile.x[j - low] = input.at(piece.word[j]);
        std::fill_n(uses.begin(), high - low, 0);
        for (std::size_t i = begin; i < end; ++i)
            within(i, low, high, [&](std::size_t j) { pair(j - low, i - begin, begin), ++uses[j - low]; });
        const float share = static_cast<float>(settings.negatives) / static_cast<float>(settings.noise);
        for (const std::size_t output : noise) {
            for (std::size_t j = low; j < high; ++j)
                tile.weight()[tile.at(j - low, output)] += share * static_cast<float>(uses[j - low]);
            for (std::size_t i = begin; i < end; ++i)  // a centre is not its own noise
                if (own[i - begin] == output)
                    within(i, low, high, [&](std::size_t j) { tile.weight()[tile.at(j - low, output)] -= share; });
        }
        return logistic_tile(tile, rate, true);
    }

    std::size_t cbow(std::size_t begin, std::size_t end, float rate, double &loss) {
        heads.clear();
        for (std::size_t i = begin; i < end; ++i)
            if (piece.left[i] + piece.right[i] > 0) heads.push_back(i);
        name_outputs(begin, end);
        if (heads.empty()) return 0;
        open_tile(heads.size());
        const float share = static_cast<float>(settings.negatives) / static_cast<float>(settings.noise);
        for (std::size_t h = 0; h < heads.size(); ++h) {
            const std::size_t i = heads[h];
            tile.x[h] = means.data() + h * model.pitch;
            rows.clear();
            within(i, 0, piece.word.size(), [&](std::size_t j) { rows.push_back(input.at(piece.word[j])); });
            shares.assign(rows.size(), settings.mean ? 1.0f / static_cast<float>(rows.size()) : 1.0f);
            sum_rows(tile.x[h], rows, shares, model.pitch, false);
            pair(h, i - begin, begin);
            for (const std::size_t output : noise)
                if (output != own[i - begin]) tile.weight()[tile.at(h, output)] += share;
        }
        loss += logistic_tile(tile, rate, false);
        // Each word once, with the steps of all the centres that it is company to. As word2vec: each word of a mean gets
        // the mean's whole step, each word of a sum its share of the sum's.
        std::size_t low = end, high = begin;
        for (const std::size_t i : heads) {
            low = std::min(low, i - static_cast<std::size_t>(piece.left[i]));
            high = std::max(high, i + static_cast<std::size_t>(piece.right[i]) + 1);
        }
        for (std::size_t j = low; j < high; ++j) {
            rows.clear(), shares.clear();
            for (std::size_t h = 0; h < heads.size(); ++h) {
                const std::size_t i = heads[h];
                const auto left = static_cast<std::size_t>(piece.left[i]), right = static_cast<std::size_t>(piece.right[i]);
                if (j == i || j + left < i || j > i + right) continue;
                rows.push_back(tile.step(h));
                shares.push_back(settings.mean ? 1.0f : 1.0f / static_cast<float>(left + right));
            }
            if (!rows.empty()) sum_rows(input.at(piece.word[j]), rows, shares, model.pitch, true);
        }
        return heads.size();
    }

    // The places in the window of centre i that lie in [low, high).
    template <class Each> void within(std::size_t i, std::size_t low, std::size_t high, Each &&each) {
        const std::size_t first = std::max(low, i - static_cast<std::size_t>(piece.left[i]));
        const std::size_t last = std::min(high, i + static_cast<std::size_t>(piece.right[i]) + 1);
        for (std::size_t j = first; j < last; ++j)
            if (j != i) each(j);
    }
};

Passed train_shared(const Model &model, const Word2VecSettings &settings, const int32_t *ids, std::size_t n,
                    std::size_t epoch, Span pieces, int threads, const std::atomic<bool> &stop) {
    std::vector<std::unique_ptr<Worker<SharedRows>>> workers(static_cast<std::size_t>(std::max(threads, 1)));
    for (auto &worker : workers)
        worker = std::make_unique<Worker<SharedRows>>(model, settings, SharedRows{model.input, model.pitch},
                                                      SharedRows{model.output, model.pitch});
    std::vector<Passed> passed(workers.size());
    parallel_for(pieces.end - pieces.begin, 1, threads, stop, [&](std::size_t i, std::size_t, int thread) {
        const std::size_t p = pieces.begin + i;
        const std::size_t start = piece_start(ids, n, p, settings.span), end = piece_start(ids, n, p + 1, settings.span);
        const Passed part = workers[static_cast<std::size_t>(thread)]->train(
            ids, n, start, end, piece_seed(settings.seed, epoch, p), rate_at(settings, epoch, start, n));
        passed[static_cast<std::size_t>(thread)].loss += part.loss;
        passed[static_cast<std::size_t>(thread)].pairs += part.pairs;
    });
    Passed total;
    for (const Passed &part : passed) total.loss += part.loss, total.pairs += part.pairs;
    return total;
}

Passed train_fixed(const Model &model, const Word2VecSettings &settings, const int32_t *ids, std::size_t n,
                   std::size_t epoch, Span pieces, int threads, const std::atomic<bool> &stop) {
    const std::size_t team = std::min<std::size_t>(static_cast<std::size_t>(std::max(threads, 1)), ROUND);
    std::vector<std::unique_ptr<Worker<CopiedRows>>> workers(ROUND);
    for (auto &worker : workers)
        worker = std::make_unique<Worker<CopiedRows>>(model, settings, CopiedRows(model.input, model.words, model.pitch),
                                                      CopiedRows(model.output, model.words, model.pitch));
    std::vector<Passed> passed(ROUND);
    std::exception_ptr failure;
    std::mutex mutex;
    std::barrier meet(static_cast<std::ptrdiff_t>(team));
    std::atomic<bool> ending{false};
    auto run_all = [&](std::size_t mine) {
        for (std::size_t first = pieces.begin; first < pieces.end; first += ROUND) {
            const std::size_t here = std::min(ROUND, pieces.end - first);
            for (std::size_t s = mine; s < here; s += team) {
                const std::size_t p = first + s;
                const std::size_t start = piece_start(ids, n, p, settings.span), end = piece_start(ids, n, p + 1, settings.span);
                const Passed part = workers[s]->train(ids, n, start, end, piece_seed(settings.seed, epoch, p),
                                                      rate_at(settings, epoch, start, n));
                passed[s].loss += part.loss, passed[s].pairs += part.pairs;
                workers[s]->input.subtract();
                workers[s]->output.subtract();
            }
            if (mine == 0 && stop.load(std::memory_order_relaxed)) ending = true;  // one reader, so that all agree
            meet.arrive_and_wait();
            for (std::size_t s = 0; s < here; ++s) {
                workers[s]->input.add(mine, team);
                workers[s]->output.add(mine, team);
            }
            const bool last = ending.load();
            meet.arrive_and_wait();
            for (std::size_t s = mine; s < here; s += team) {
                workers[s]->input.forget();
                workers[s]->output.forget();
            }
            if (last) return;
        }
    };
    auto run = [&](std::size_t mine) {
        try {
            run_all(mine);
        } catch (...) {
            std::lock_guard lock(mutex);
            if (!failure) failure = std::current_exception();
            ending = true;
            meet.arrive_and_drop();  // the others must not wait for this one
        }
    };
    std::vector<std::thread> helpers;
    for (std::size_t t = 1; t < team; ++t) helpers.emplace_back(run, t);
    run(0);
    for (std::thread &helper : helpers) helper.join();
    if (failure) std::rethrow_exception(failure);
    Passed total;
    for (const Passed &part : passed) total.loss += part.loss, total.pairs += part.pairs;
    return total;
}

}  // namespace

void sample_piece(const Model &model, const Word2VecSettings &settings, const int32_t *ids, std::size_t n,
                  std::size_t start, std::size_t stop, Random &random, Piece &piece) {
    piece.word.clear(), piece.left.clear(), piece.right.clear();
    piece.first = piece.last = 0;
    std::size_t sentence = 0;
    auto close = [&] {
        const std::size_t end = piece.word.size();
        for (std::size_t i = sentence; i < end; ++i) {
            const std::size_t reach = settings.shrink ? 1 + random.below(settings.window) : settings.window;
            piece.left.push_back(static_cast<int32_t>(std::min(reach, i - sentence)));
            piece.right.push_back(static_cast<int32_t>(std::min(reach, end - 1 - i)));
        }
        sentence = end;
    };
    for (std::size_t i = 0; i < n; ++i) {
        if (i == start) piece.first = piece.word.size();
        if (i == stop) piece.last = piece.word.size();
        if (ids[i] < 0)
            close();
        else if (model.keep[ids[i]] == 0xffffffff || static_cast<uint32_t>(random.next()) <= model.keep[ids[i]])
            piece.word.push_back(ids[i]);
    }
    close();
    if (stop >= n) piece.last = piece.word.size();
}

int32_t noise_word(const Model &model, Random &random) {
    const uint64_t bits = random.next();
    const uint64_t slot = (bits >> 32) * model.words >> 32;
    return static_cast<uint32_t>(bits) <= model.noise_below[slot] ? static_cast<int32_t>(slot) : model.noise_alias[slot];
}

std::size_t piece_start(const int32_t *ids, std::size_t n, std::size_t p, std::size_t span) {
    const std::size_t begin = p * span, end = std::min(n, begin + span);
    if (p == 0 || begin >= n) return std::min(begin, n);
    for (std::size_t i = begin; i < end; ++i)
        if (ids[i] < 0) return i + 1;
    return begin;
}

float rate_at(const Word2VecSettings &settings, std::size_t epoch, std::size_t start, std::size_t n) {
    const double passed = (static_cast<double>(epoch) + static_cast<double>(start) / static_cast<double>(n)) /
                          static_cast<double>(settings.epochs);
    return static_cast<float>(settings.rate - (settings.rate - settings.last_rate) * passed);
}

uint64_t piece_seed(uint64_t seed, std::size_t epoch, std::size_t p) {
    Random mixed(seed);
    Random again(mixed.next() ^ epoch * 0xd1b54a32d192ed03);
    return again.next() ^ p * 0x9e3779b97f4a7c15;
}

Passed train_part(const Model &model, const Word2VecSettings &settings, const int32_t *ids, std::size_t n,
                  std::size_t epoch, std::size_t part, std::size_t parts, int threads, const std::atomic<bool> &stop) {
    // Parts are cut between rounds, so that deterministic training does not depend on how many there are.
    const std::size_t pieces = (n + settings.span - 1) / settings.span, rounds = (pieces + ROUND - 1) / ROUND;
    const Span here{std::min(pieces, rounds * part / parts * ROUND), std::min(pieces, rounds * (part + 1) / parts * ROUND)};
    auto *train = settings.softmax ? train_softmax : settings.deterministic ? train_fixed : train_shared;
    return train(model, settings, ids, n, epoch, here, threads, stop);
}

}  // namespace firth
