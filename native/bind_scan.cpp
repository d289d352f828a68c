// The scans over codes for Python.
#include "bindings.hpp"
#include "scan.hpp"

#include <nanobind/stl/optional.h>

#include <optional>
#include <stdexcept>

namespace firth {
namespace {

using Allow = std::optional<In1<uint8_t>>;

constexpr std::size_t MOST_SUB_CODES = 65'536;  // whose sum of products with bytes fits 32 bits
constexpr std::size_t SHORT_WORK = 20'000'000;  // look-ups that take a few milliseconds: no second thread

// Ctrl-C is looked for meanwhile where the work is long.
template <class Work> void run(const Work &work, std::size_t look_ups, int threads) {
    if (threads > 1 || look_ups > SHORT_WORK) return interruptible(work);
    const std::atomic<bool> never{false};
    nb::gil_scoped_release released;
    work(never);
}

ScanWanted checked(std::size_t q, std::size_t n, std::size_t k, const Allow &allow, const Out2<int64_t> &ids,
                   const Out2<float> &scores) {
    if (ids.shape(0) != q || scores.shape(0) != q || ids.shape(1) != k || scores.shape(1) != k || k == 0 ||
        n > 0x7FFFFFFF || (allow && allow->shape(0) != n))
        throw std::invalid_argument("scan: results or the allowed rows have another shape");
    return {q, n, k, allow ? allow->data() : nullptr};
}

void nibbles(In2<uint8_t> packed, std::size_t n, In2<float> tables, Allow allow, Out2<int64_t> ids, Out2<float> scores,
             int threads) {
    const std::size_t q = tables.shape(0), m = tables.shape(1) / 16;
    if (m == 0 || m % 4 || tables.shape(1) % 16 || packed.shape(1) != m * 16 || packed.shape(0) * SCAN_BLOCK < n)
        throw std::invalid_argument("scan_nibbles: tables and codes do not fit");
    const ScanWanted wanted = checked(q, n, ids.shape(1), allow, ids, scores);
    const auto work = [&](const std::atomic<bool> &stop) {
        scan_nibbles(wanted, packed.data(), m, tables.data(), ids.data(), scores.data(), threads, stop);
    };
    run(work, q * n * m / 16, threads);
}

void weighted(In2<uint8_t> packed, std::size_t n, std::size_t bytes, std::size_t nibbles, std::size_t crumbs,
              In2<float> weights, In1<double> bases, Allow allow, Out2<int64_t> ids, Out2<float> scores, int threads) {
    const std::size_t q = weights.shape(0), m = weights.shape(1);
    const ScanSections given{bytes, nibbles, crumbs};
    if (bytes > MOST_SUB_CODES || nibbles > MOST_SUB_CODES || crumbs > MOST_SUB_CODES || m > MOST_SUB_CODES || m == 0 ||
        m != bytes + 2 * nibbles + 4 * crumbs || packed.shape(1) != block_width(given) ||
        packed.shape(0) * WEIGHTED_BLOCK < n || bases.shape(0) != q)
        throw std::invalid_argument("scan_weighted: weights and codes do not fit");
    const ScanWanted wanted = checked(q, n, ids.shape(1), allow, ids, scores);
    const auto work = [&](const std::atomic<bool> &stop) {
        scan_weighted(wanted, packed.data(), given, weights.data(), bases.data(), ids.data(), scores.data(), threads,
                      stop);
    };
    run(work, q * n * m / 16, threads);
}

void tables(In2<uint8_t> codes, In2<float> tables, Allow allow, Out2<int64_t> ids, Out2<float> scores, int threads) {
    const std::size_t q = tables.shape(0), n = codes.shape(0), m = codes.shape(1);
    if (m == 0 || tables.shape(1) != m * 256) throw std::invalid_argument("scan_tables: tables and codes do not fit");
    const ScanWanted wanted = checked(q, n, ids.shape(1), allow, ids, scores);
    const auto work = [&](const std::atomic<bool> &stop) {
        scan_tables(wanted, codes.data(), m, tables.data(), ids.data(), scores.data(), threads, stop);
    };
    run(work, q * n * m, threads);
}

}  // namespace

void bind_scan(nb::module_ &m) {
    m.def("scan_nibbles", &nibbles, nb::arg("packed"), nb::arg("n"), nb::arg("tables"), nb::arg("allow").none(),
          nb::arg("ids"), nb::arg("scores"), nb::arg("threads"));
    m.def("scan_weighted", &weighted, nb::arg("packed"), nb::arg("n"), nb::arg("bytes"), nb::arg("nibbles"),
          nb::arg("crumbs"), nb::arg("weights"), nb::arg("bases"), nb::arg("allow").none(), nb::arg("ids"),
          nb::arg("scores"), nb::arg("threads"));
    m.def("scan_tables", &tables, nb::arg("codes"), nb::arg("tables"), nb::arg("allow").none(), nb::arg("ids"),
          nb::arg("scores"), nb::arg("threads"));
}

}  // namespace firth
