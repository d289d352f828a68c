// Where the judged documents stand in a TREC run file: one pass over its bytes, nothing sorted, no Python objects.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>

namespace firth {

enum class RunFault : int { none = 0, columns = 1, number = 2, infinite = 3, twice = 4 };

// What was asked: q queries and h (query, document) pairs, as joined names with the end of each.
struct RunJudged {
    const char *queries;
    const int64_t *query_ends;
    std::size_t q;
    const char *documents;
    const int64_t *document_ends;
    const int64_t *pair_query;  // (h,) number of the query of each judged document, ascending
    std::size_t h;
};

struct RunResult {
    RunFault fault = RunFault::none;
    std::size_t offset = 0;  // a byte of the faulty line
};

// text: "query Q0 document rank score tag" lines; blank ones are skipped. rank (h,): from 1, 0 where not ranked.
// ranked (q,): documents ranked for each query.
RunResult run_ranks(const char *text, std::size_t bytes, const RunJudged &judged, int64_t *rank, int64_t *ranked,
                    const std::atomic<bool> &stop);

}  // namespace firth
