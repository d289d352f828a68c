// A hierarchical navigable small world graph (Malkov and Yashunin, arXiv:1603.09320) over byte codes or float32 rows.
//
// Layout, for the bytes touched a hop: one block a node, [m0 links of level 0, uint32][upper half bytes of its code],
// so that a visit reads whole cache lines of one page. A search reads nothing else of a node that it passes; the lower
// half bytes, which only growth and scans read, lie apart, and so do upper levels, one node in m. Links end at the first
// value that is not a node; that one comparison is also the bounds check that makes a hostile file harmless.
//
// Threads: any number of searches beside one writer. A writer publishes links slot by slot (release stores, acquire
// loads, plain moves on x86) after what they point at is written; it stops the searches (Gate) only while columns
// grow or a freed slot is filled anew.
#pragma once

#include "bytes.hpp"
#include "simd.hpp"

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <memory>
#include <mutex>
#include <new>
#include <shared_mutex>
#include <thread>
#include <vector>

#if defined(__linux__)
#include <sys/mman.h>
#endif

namespace firth {

constexpr uint32_t NO_NODE = 0xFFFFFFFF;
constexpr uint32_t MOST_NODES = 0x7FFFFFFF;  // ids share a 64-bit pool entry with a distance and one flag
constexpr int MOST_LEVELS = 15;
constexpr std::size_t HUGE_PAGE = 2u << 20;  // bytes

enum State : uint8_t { ALIVE = 0, REMOVED = 1, FREE = 2 };

// One value, or one row of values, a node. Owns its memory, or borrows a read-only mapping until it is first changed.
template <class T> class Column {
  public:
    explicit Column(std::size_t width = 1) : width_(width) {}
    T *row(std::size_t i) { return data_ + i * width_; }
    const T *row(std::size_t i) const { return data_ + i * width_; }
    T &operator[](std::size_t i) { return data_[i * width_]; }
    const T &operator[](std::size_t i) const { return data_[i * width_]; }
    std::size_t width() const { return width_; }
    std::size_t capacity() const { return capacity_; }
    bool owned() const { return owned_ != nullptr; }
    void borrow(const T *data, std::size_t rows) { data_ = const_cast<T *>(data), capacity_ = rows, owned_.reset(); }

    // Room for `rows`; copies the first `used` and fills the rest with `fill`.
    void reserve(std::size_t rows, std::size_t used, T fill) {
        if (owned_ && rows <= capacity_) return;
        const std::size_t bytes = (std::max<std::size_t>(rows * width_ * sizeof(T), 1) + HUGE_PAGE - 1) / HUGE_PAGE;
        const bool large = rows * width_ * sizeof(T) >= HUGE_PAGE;
        const std::size_t size = large ? bytes * HUGE_PAGE : (rows * width_ * sizeof(T) / 64 + 1) * 64;
        T *fresh = static_cast<T *>(std::aligned_alloc(large ? HUGE_PAGE : 64, size));
        if (!fresh) throw std::bad_alloc();
#if defined(__linux__) && defined(MADV_HUGEPAGE)
        if (large) madvise(fresh, size, MADV_HUGEPAGE);
#endif
        if (used) std::copy(data_, data_ + used * width_, fresh);
        std::fill(fresh + used * width_, fresh + rows * width_, fill);
        owned_.reset(fresh), data_ = fresh, capacity_ = rows;
    }

  private:
    struct Free {
        void operator()(T *p) const { std::free(p); }
    };
    std::size_t width_, capacity_ = 0;
    T *data_ = nullptr;
    std::unique_ptr<T, Free> owned_;
};

// Many searches or one rebuild of the columns; a waiting writer holds new searches back.
class Gate {
  public:
    void lock_shared() {
        while (waiting_.load(std::memory_order_acquire)) std::this_thread::yield();
        mutex_.lock_shared();
    }
    void unlock_shared() { mutex_.unlock_shared(); }
    void lock() {
        waiting_.fetch_add(1);
        mutex_.lock();
        waiting_.fetch_sub(1);
    }
    void unlock() { mutex_.unlock(); }

  private:
    std::shared_mutex mutex_;
    std::atomic<int> waiting_{0};
};

// The best `capacity` entries seen, sorted; an entry is distance << 32 | node << 1 | expanded.
struct Pool {
    std::vector<uint64_t> entry;
    std::size_t size = 0, capacity = 0;

    void reset(std::size_t ef) {
        if (entry.size() < ef + 1) entry.resize(ef + 1);
        size = 0, capacity = ef;
    }
    // Worse than this is not kept.
    uint64_t limit() const { return size == capacity ? entry[size - 1] : ~uint64_t{0}; }
    // Where the entry went, or `capacity` when it is worse than all of a full pool.
    std::size_t insert(uint64_t value) {
        if (size == capacity && value >= entry[size - 1]) return capacity;
        uint64_t *at = place(value);
        if (size == capacity) --size;
        std::copy_backward(at, entry.data() + size, entry.data() + size + 1);
        *at = value, ++size;
        return static_cast<std::size_t>(at - entry.data());
    }
    // The first entry that is not less; halved without a branch, which would be guessed wrong every second time.
    uint64_t *place(uint64_t value) {
        uint64_t *base = entry.data();
        std::size_t left = size;
        for (; left > 1; left -= left / 2) base += (base[left / 2 - 1] < value) * (left / 2);
        return base + (left && *base < value);
    }
    static uint32_t node(uint64_t value) { return static_cast<uint32_t>(value) >> 1; }
    static uint64_t pack(uint32_t distance, uint32_t node) { return uint64_t{distance} << 32 | node << 1; }
};

// What one thread needs for one search; kept between searches.
struct Scratch {
    Pool pool;
    std::vector<uint64_t> visited;  // one bit a node
    std::vector<uint32_t> seen;     // the nodes whose bit is set
    std::vector<int8_t> bytes;      // a query, or a node in the part of a query
    std::vector<float> floats;
    std::vector<uint64_t> chosen, ranked;
    std::vector<uint32_t> todo;     // nodes to be compared
    std::vector<uint32_t> keys;     // of those
    std::vector<std::pair<double, uint32_t>> exact;
    std::vector<double> scores, order;

    // Not seen before; from now on it is.
    bool visit(uint32_t node) {
        const bool fresh = mark(node);
        if (fresh) seen.push_back(node);
        return fresh;
    }
    // The same without the note in `seen`, which the caller makes.
    bool mark(uint32_t node) {
        uint64_t &word = visited[node >> 6];
        const uint64_t old = word;
        word = old | uint64_t{1} << (node & 63);
        return !(old >> (node & 63) & 1);
    }
    void forget() {
        if (seen.size() * 16 > visited.size())
            std::fill(visited.begin(), visited.end(), 0);
        else
            for (uint32_t node : seen) visited[node >> 6] = 0;
        seen.clear();
    }
};

// Scratches that are not in use.
class Scratches {
  public:
    std::unique_ptr<Scratch> take(std::size_t nodes) const {
        std::unique_ptr<Scratch> scratch;
        {
            std::lock_guard lock(mutex_);
            if (!kept_.empty()) scratch = std::move(kept_.back()), kept_.pop_back();
        }
        if (!scratch) scratch = std::make_unique<Scratch>();
        if (scratch->visited.size() < nodes / 64 + 1) scratch->visited.assign(nodes / 64 + 1, 0);
        return scratch;
    }
    void keep(std::unique_ptr<Scratch> scratch) const {
        std::lock_guard lock(mutex_);
        kept_.push_back(std::move(scratch));
    }

  private:
    mutable std::mutex mutex_;
    mutable std::vector<std::unique_ptr<Scratch>> kept_;
};

enum class Metric : int { DOT = 0, EUCLID = 1 };  // cosine is DOT over unit rows

struct GraphSettings {
    uint32_t d = 0;      // dimensions of a row
    uint32_t width = 0;  // bytes of a code, 0 = walk over the float32 rows
    uint32_t m = 16;     // links a node on upper levels; level 0 has twice as many
    uint32_t ef_construction = 200;
    Metric metric = Metric::DOT;
    uint64_t seed = 0;
};

// Where a walk ends before all of its pool is expanded: at `times` the squared distance of the node in place `rank`. A
// query in a crowd then expands more nodes than one apart from all others, and a pool can be wide for the few queries
// that need it.
// Source: Al-Jazzazi et al. 2025, "Distance Adaptive Beam Search", arXiv:2505.15636. Where we differ: the first `least`
// of the pool are always expanded, so that a wide enough pool finds what lies behind a gap.
struct Reach {
    std::size_t rank = 1, least = 1;  // at least 1
    double times = 0;                 // 0: the whole pool
};

class Graph {
  public:
    explicit Graph(GraphSettings s)
        : settings(s), m0(2 * s.m), blocks(padded_width(m0 * 4 + s.width / 2)), low(s.width / 2), rows(s.d), upper(s.m),
          mean(s.d, 0), step(s.d, 1) {}

    const GraphSettings settings;
    const uint32_t m0;
    Column<uint8_t> blocks;  // [m0 links][upper plane of the code]
    Column<uint8_t> low;     // lower plane of the code; planes.hpp
    Column<uint32_t> norms;  // squared length: the int32 of a code, or the bits of a row's float32
    Column<float> rows;
    Column<int64_t> keys;
    Column<uint8_t> levels, state;
    Column<uint32_t> upper_at;  // first group of the node's upper lists, one group a level
    Column<uint32_t> upper;     // groups of m links
    std::vector<float> mean, step;  // of the code: value = mean + step * (code - 128)
    std::vector<uint32_t> free_slots;
    std::size_t upper_used = 0;
    std::atomic<uint32_t> entry{NO_NODE}, count{0}, alive{0};
    mutable Gate gate;

    uint32_t *links(uint32_t node) { return reinterpret_cast<uint32_t *>(blocks.row(node)); }
    const uint32_t *links(uint32_t node) const { return reinterpret_cast<const uint32_t *>(blocks.row(node)); }
    const uint8_t *high(uint32_t node) const { return blocks.row(node) + m0 * 4; }
    uint8_t *high(uint32_t node) { return blocks.row(node) + m0 * 4; }
    uint32_t *links(uint32_t node, int level) { return level ? upper.row(upper_at[node] + level - 1) : links(node); }
    const uint32_t *links(uint32_t node, int level) const { return const_cast<Graph *>(this)->links(node, level); }
    uint32_t most_links(int level) const { return level ? settings.m : m0; }
    uint32_t bound() const { return static_cast<uint32_t>(blocks.capacity()); }

    // Each of these is the one writer; slots of the rows added go to `slots`. Stopped early, a batch is in or out.
    void add(const uint8_t *codes, const float *vectors, const int64_t *names, std::size_t n, uint32_t *slots,
             int threads, const std::atomic<bool> &stop);
    void remove(const uint32_t *slots, std::size_t n);
    void repair(int threads, const std::atomic<bool> &stop);
    std::size_t connect();
    std::size_t unreachable() const;

    struct Wanted {
        std::size_t k, ef;
        const uint64_t *allow;   // one bit a node, or none
        std::size_t allow_bits;  // nodes that came after the bitmap are not allowed
        std::size_t allowed;
        bool exact;    // look at each allowed node, without a walk
        bool through;  // score allowed nodes only, and look behind those that are not
        Reach reach;
    };
    void search(const float *queries, std::size_t q, const Wanted &wanted, int64_t *ids, float *scores,
                uint32_t *work, int threads, const std::atomic<bool> &stop) const;
    template <class Space, class Whole>
    void search_slice(const float *queries, std::size_t begin, std::size_t end, const Wanted &wanted, int64_t *ids,
                      float *scores, uint32_t *work) const;

    void reserve(std::size_t nodes, std::size_t groups);
    State state_of(uint32_t node) const {
        return static_cast<State>(
            std::atomic_ref<uint8_t>(const_cast<uint8_t &>(state[node])).load(std::memory_order_acquire));
    }
    void set_state(uint32_t node, State value) {
        std::atomic_ref<uint8_t>(state[node]).store(value, std::memory_order_release);
    }
    Scratches scratches;
};

inline uint32_t load_link(const uint32_t *slot) {
    return std::atomic_ref<uint32_t>(*const_cast<uint32_t *>(slot)).load(std::memory_order_acquire);
}
inline void store_link(uint32_t *slot, uint32_t node) {
    std::atomic_ref<uint32_t>(*slot).store(node, std::memory_order_release);
}

}  // namespace firth
