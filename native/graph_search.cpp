// Answers: walk the codes, then score the best of them exactly from the float32 rows.
//
// The walk is in integers and the scores are float64 sums of a fixed order, so an answer does not depend on the CPU
// level, on the number of threads or on the other queries. Scratch is kept between searches; a query allocates nothing.
//
// Tried (one busy core of a Zen 5, 500 questions, microseconds a query at recall@10 0.99 and, in the last column, @100,
// beside SymphonyQG's 64, 82 and 216-393; steps in the order taken):
//                                                            50,000 x 768   100,000 x 384   k = 100, 768 / 384
//   whole codes, one query after another, 30 rows scored           70             78            182 / 244
//   the same with two or four queries under way                    73-77          -     bound by bytes, not by waiting
//   upper halves of the codes (planes.hpp), one query              68             52
//   and three queries under way                                    57             48
//   and only as many rows scored as `measure` asks for, 17         (in both)
//   and walks that end at a reach (graph.hpp)                      40             44            157 / 177
// Not taken: finishing the key of what comes near the pool's end by the lower half (15 % slower than whole codes, since
// it waits again); 2 bits a value (half the bytes again, but 5 to 20 % more distances); a pool filled by counting in
// registers, or merged once a step (no faster); six queries under way (no faster, and more scratch).
#include "graph_walk.hpp"
#include "threads.hpp"

#include <cmath>
#include <limits>
#include <optional>

namespace firth {
namespace {

constexpr std::size_t LEAST_GRAIN = 8, MOST_GRAIN = 64;  // queries between two looks at `stop`
// Rows beyond k that are scored exactly: whole codes put the true neighbours among 20 of them, half bytes among far
// fewer than these, most of which `measure` leaves out.
constexpr std::size_t BEYOND_CODES = 20, BEYOND_HALVES = 100, TIMES_HALVES = 3;
constexpr std::size_t LEAST_MEASURED = 12;  // rows whose codes and scores are compared
// How many spreads a node may lie behind by its code: 3.8 where 12 rows were compared, 2.3 with 100, of which each counts
// less. Either loses 0.0001 of recall or nothing; 3.0 with 100 rows scores a tenth more of them.
constexpr double SPREADS = 1.5, UNSURE = 8;
constexpr uint64_t LEAST_SPREAD = 20;  // steps of a code: above it upper halves lose under a twentieth of the variance
constexpr uint32_t TOLD_BY = 64;       // nodes
constexpr std::size_t LANES_A_THREAD = 3;  // queries under way together
constexpr std::size_t MOST_LIST = 512;  // links of level 0, at most

bool wanted_node(const Graph &graph, const Graph::Wanted &wanted, uint32_t node) {
    if (wanted.allow && (node >= wanted.allow_bits || !(wanted.allow[node >> 6] >> (node & 63) & 1))) return false;
    return graph.state_of(node) == ALIVE;
}

// Whether values differ by more than a half byte counts. Those of a codec that was learnt from rows do, 30 steps of the
// code for sentences; an index that began empty has a codec for any unit row, under which they hardly differ.
bool halves_tell(const Graph &graph) {
    const uint32_t count = std::min(graph.count.load(std::memory_order_acquire), TOLD_BY);
    uint64_t squares = 0;
    for (uint32_t node = 0; node < count; ++node) squares += graph.norms[node];
    return squares >= LEAST_SPREAD * LEAST_SPREAD * count * graph.settings.d;
}

// Every wanted node by its whole code.
template <class Space>
uint32_t scan(const Graph &graph, const Space &space, const typename Space::Query &query, const Graph::Wanted &wanted,
              Scratch &scratch) {
    scratch.pool.reset(wanted.k + BEYOND_CODES);
    const uint32_t count = graph.count.load(std::memory_order_acquire);
    uint32_t group[4], keys[4], filled = 0, work = 0;
    auto flush = [&] {
        for (uint32_t j = filled; j < 4; ++j) group[j] = group[0];
        space.keys4(query, group, keys);
        for (uint32_t j = 0; j < filled; ++j) scratch.pool.insert(Pool::pack(keys[j], group[j]));
        work += filled, filled = 0;
    };
    for (uint32_t node = 0; node < count; ++node) {
        if (wanted.allow && (node & 63) == 0)
            while (node + 64 <= std::min<std::size_t>(count, wanted.allow_bits) && wanted.allow[node >> 6] == 0)
                node += 64;
        if (node >= count || !wanted_node(graph, wanted, node)) continue;
        group[filled++] = node;
        if (filled == 4) flush();
    }
    if (filled) flush();
    return work;
}

// The neighbours of a node for a walk that scores allowed nodes only; behind a neighbour that is not allowed its own
// neighbours are looked at, until there are as many nodes as a list has links. Where one node in s is allowed that
// reads s lists a hop, and scores a s-th of what a beam widened by s scores.
// Source: Patel et al. 2024, "ACORN", arXiv:2403.04871 (ACORN-1).
uint32_t gather_through(const Graph &graph, const Graph::Wanted &wanted, Scratch &scratch, uint32_t node,
                        uint32_t *todo) {
    const uint32_t bound = graph.bound(), most = graph.m0;
    uint32_t passed[MOST_LIST], found = 0, behind = 0;
    const uint32_t *link = graph.links(node);
    for (uint32_t i = 0; i < most; ++i) {
        const uint32_t other = load_link(link + i);
        if (other >= bound) break;
        if (!scratch.visit(other)) continue;
        if (wanted_node(graph, wanted, other)) {
            todo[found++] = other;
        } else {
            prefetch_bytes(graph.links(other), most * 4);
            passed[behind++] = other;
        }
    }
    for (uint32_t p = 0; p < behind && found < most; ++p) {
        const uint32_t *further = graph.links(passed[p]);
        for (uint32_t i = 0; i < most && found < most; ++i) {
            const uint32_t other = load_link(further + i);
            if (other >= bound) break;
            if (wanted_node(graph, wanted, other) && scratch.visit(other)) todo[found++] = other;
        }
    }
    return found;
}

double exact(const Graph &graph, const float *query, uint32_t node) {
    const float *row = graph.rows.row(node);
    const double score = graph.settings.metric == Metric::DOT ? dot64(query, row, graph.settings.d)
                                                              : -distance64(query, row, graph.settings.d);
    return score == score ? score : -std::numeric_limits<double>::infinity();  // a damaged row may hold NaN
}

std::size_t usable(const Graph &graph, const Graph::Wanted &wanted, const Pool &pool) {
    std::size_t n = 0;
    if (!wanted.allow && graph.alive.load() == graph.count.load()) return pool.size;
    for (std::size_t i = 0; i < pool.size; ++i) n += wanted_node(graph, wanted, Pool::node(pool.entry[i]));
    return n;
}

// One query on its way to its answer, a step at a time; between two steps the memory fetches what the next one reads.
// `Space` is what the walk goes by, `Whole` what a scan does.
template <class Space, class Whole> class Lane {
  public:
    Lane(const Graph &graph, const Graph::Wanted &wanted, Scratch &scratch)
        : graph_(graph), wanted_(wanted), space_{graph}, scratch_(scratch) {}

    void begin(const float *query) {
        query_ = query, part_ = space_.from_floats(query, scratch_), work = 0;
        if (wanted_.exact || graph_.entry.load(std::memory_order_acquire) == NO_NODE) return scan_all();
        scratch_.pool.reset(wanted_.ef);
        work += descend(graph_, space_, part_, scratch_, 0);
        walk_.emplace(graph_, space_, scratch_, 0, wanted_.reach);
        next_ = LOOK;
    }

    // Goes on; true when `ids` and `scores` of this query have been written.
    bool step(int64_t *ids, float *scores) {
        if (next_ == LOOK && !look()) settle();
        else if (next_ == LOOK) next_ = SCORE;
        else if (next_ == SCORE) walk_->score(part_), next_ = LOOK;
        else if (next_ == MEASURE) measure();
        else return answer(ids, scores), true;
        return false;
    }

    uint32_t work = 0;  // distances computed

  private:
    enum Step { LOOK, SCORE, MEASURE, ANSWER };

    bool look() {
        if (!wanted_.through) return walk_->look();
        return walk_->look([&](uint32_t node, uint32_t *todo) {
            return gather_through(graph_, wanted_, scratch_, node, todo);
        });
    }

    // The walk is over. A filter or removed nodes may have left too little of the beam: then look at each allowed node.
    void settle() {
        work += walk_->work();
        scratch_.forget();
        const std::size_t least = wanted_.k + (wanted_.allow ? BEYOND_CODES : 0);
        if (usable(graph_, wanted_, scratch_.pool) < std::min(least, wanted_.allowed)) return scan_all();
        shortlist();
    }

    void scan_all() {
        work += scan(graph_, Whole{graph_}, part_, wanted_, scratch_);
        shortlist();
    }

    // The best wanted nodes of the pool, of which a first part is surely scored.
    void shortlist() {
        auto &found = scratch_.exact;
        found.clear();
        const Pool &pool = scratch_.pool;
        const std::size_t most = wanted_.k * TIMES_HALVES + BEYOND_HALVES;
        for (std::size_t i = 0; i < pool.size && found.size() < most; ++i) {
            const uint32_t node = Pool::node(pool.entry[i]);
            if (!wanted_node(graph_, wanted_, node)) continue;
            found.emplace_back(Space::score(part_, static_cast<uint32_t>(pool.entry[i] >> 32)), node);
        }
        first_ = std::min(found.size(), std::max(wanted_.k, LEAST_MEASURED));
        ask(0, first_);
        next_ = MEASURE;
    }

    // Scores the first part. How far codes and rows differ there says how far behind the k-th a node may lie by its code
    // and still be nearer: those further behind are not scored.
    void measure() {
        auto &found = scratch_.exact;
        std::vector<double> &scores = scratch_.scores;
        double sum = 0, squares = 0;
        scores.clear();
        for (std::size_t i = 0; i < first_; ++i) {
            scores.push_back(exact(graph_, query_, found[i].second));
            const double apart = scores[i] - found[i].first;
            sum += apart, squares += apart * apart;
        }
        const auto n = static_cast<double>(first_);
        const double mean = sum / n, spread = std::sqrt(std::max(squares / n - mean * mean, 0.0));
        if (wanted_.k <= first_ && first_ < found.size()) {
            std::vector<double> &order = scratch_.order;
            order = scores;
            const auto kth = order.begin() + static_cast<std::ptrdiff_t>(wanted_.k - 1);
            std::nth_element(order.begin(), kth, order.end(), std::greater<>());
            const double least = *kth - mean - (SPREADS + UNSURE / std::sqrt(n)) * spread;
            std::size_t kept = first_;
            while (kept < found.size() && !(found[kept].first < least)) ++kept;
            found.resize(kept);
        }
        for (std::size_t i = 0; i < first_; ++i) found[i].first = -scores[i];
        ask(first_, found.size());
        next_ = ANSWER;
    }

    // Scores the rest and writes the best k.
    void answer(int64_t *ids, float *scores) {
        auto &found = scratch_.exact;
        for (std::size_t i = first_; i < found.size(); ++i) found[i].first = -exact(graph_, query_, found[i].second);
        const std::size_t k = std::min(wanted_.k, found.size());
        std::partial_sort(found.begin(), found.begin() + static_cast<std::ptrdiff_t>(k), found.end());
        for (std::size_t i = 0; i < wanted_.k; ++i) {
            ids[i] = i < k ? graph_.keys[found[i].second] : -1;
            scores[i] = i < k ? static_cast<float>(-found[i].first) : -std::numeric_limits<float>::infinity();
        }
    }

    void ask(std::size_t from, std::size_t to) const {
        for (std::size_t i = from; i < to; ++i)
            prefetch_bytes(graph_.rows.row(scratch_.exact[i].second), graph_.settings.d * sizeof(float));
    }

    const Graph &graph_;
    const Graph::Wanted &wanted_;
    const Space space_;
    Scratch &scratch_;
    const float *query_ = nullptr;
    typename Space::Query part_{};
    std::optional<Walk<Space>> walk_;
    Step next_ = LOOK;
    std::size_t first_ = 0;
};

}  // namespace

template <class Space, class Whole>
void Graph::search_slice(const float *queries, std::size_t begin, std::size_t end, const Wanted &wanted, int64_t *ids,
                         float *scores, uint32_t *work) const {
    const std::size_t lanes = std::min(LANES_A_THREAD, end - begin);
    std::vector<std::unique_ptr<Scratch>> held;
    std::vector<Lane<Space, Whole>> lane;
    std::vector<std::size_t> query;
    held.reserve(lanes), lane.reserve(lanes);
    std::size_t next = begin;
    for (; next < begin + lanes; ++next) {
        held.push_back(scratches.take(bound()));
        lane.emplace_back(*this, wanted, *held.back()).begin(queries + next * settings.d);
        query.push_back(next);
    }
    for (std::size_t open = lanes; open;)
        for (std::size_t l = 0; l < lanes; ++l) {
            const std::size_t i = query[l];
            if (i == end || !lane[l].step(ids + i * wanted.k, scores + i * wanted.k)) continue;
            work[i] = lane[l].work;
            query[l] = next;
            if (next < end)
                lane[l].begin(queries + next++ * settings.d);
            else
                --open;
        }
    for (auto &scratch : held) scratches.keep(std::move(scratch));
}

void Graph::search(const float *queries, std::size_t q, const Wanted &wanted, int64_t *ids, float *scores,
                   uint32_t *work, int threads, const std::atomic<bool> &stop) const {
    const bool euclid = settings.metric == Metric::EUCLID;
    const std::size_t share = q / (4 * static_cast<std::size_t>(std::max(threads, 1)));
    parallel_for(q, std::clamp(share, LEAST_GRAIN, MOST_GRAIN), threads, stop,
                 [&](std::size_t begin, std::size_t end, int) {
        std::shared_lock open(gate);
        auto run = [&]<class Space, class Whole>() {
            search_slice<Space, Whole>(queries, begin, end, wanted, ids, scores, work);
        };
        if (settings.width && !halves_tell(*this))
            euclid ? run.template operator()<Bytes<true>, Bytes<true>>()
                   : run.template operator()<Bytes<false>, Bytes<false>>();
        else if (settings.width)
            euclid ? run.template operator()<Halves<true>, Bytes<true>>()
                   : run.template operator()<Halves<false>, Bytes<false>>();
        else
            euclid ? run.template operator()<Floats<true>, Floats<true>>()
                   : run.template operator()<Floats<false>, Floats<false>>();
    });
}

}  // namespace firth
