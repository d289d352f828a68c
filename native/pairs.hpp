// All pairs of two sets of byte codes: the squared distances of some rows to every row of a set.
//
// Codes are unsigned bytes about 128 (bytes.hpp); one side is turned to signed bytes about 0, so a pair costs one
// integer product and |x|² + |y|² - 2xy is exact: every CPU level returns the same numbers.
#pragma once

#include "bytes.hpp"

#include <algorithm>
#include <cstring>
#include <vector>

namespace firth {

constexpr std::size_t PAIR_ROWS = 8;  // rows whose sums stay in registers together

class CodeSet {
  public:
    std::size_t size() const { return n_; }
    std::size_t stride() const { return padded_; }  // of a row of distances
    const int8_t *row(std::size_t i) const { return signed_.data() + i * width_; }
    uint32_t norm(std::size_t i) const { return norms_[i]; }

    // code(i): the i-th code; norm(i): its squared length.
    template <class Code, class Norm> void fill(std::size_t n, std::size_t width, Code &&code, Norm &&norm) {
        n_ = n, width_ = width, padded_ = (n + GROUP - 1) / GROUP * GROUP;
        signed_.resize(n * width), norms_.resize(padded_), sums_.resize(n), packed_.resize(padded_ * width);
        for (std::size_t i = 0; i < n; ++i) {
            const uint8_t *from = code(i);
            int8_t *to = signed_.data() + i * width;
            int32_t sum = 0;
            for (std::size_t j = 0; j < width; ++j) to[j] = static_cast<int8_t>(from[j] ^ 0x80);
            for (std::size_t j = 0; j < width; ++j) sum += to[j];
            norms_[i] = norm(i), sums_[i] = 256u * static_cast<uint32_t>(sum);
            pack(i, from);
        }
    }

    // Squared distances of `rows` (at most PAIR_ROWS consecutive rows of `of`, from `first`) to each row of this set:
    // out[r * stride() + i].
    void distances(const CodeSet &of, std::size_t first, std::size_t rows, uint32_t *out) const {
        products(of, first, rows, reinterpret_cast<int32_t *>(out));
        for (std::size_t r = 0; r < rows; ++r) {
            const uint32_t own = of.norms_[first + r] + of.sums_[first + r];
            uint32_t *at = out + r * padded_;
            for (std::size_t i = 0; i < padded_; ++i) at[i] = own + norms_[i] - 2u * at[i];
        }
    }

  private:
#if defined(__AVX512VNNI__)
    static constexpr std::size_t GROUP = 16, GROUPS = 3;  // a register of columns; registers of columns a tile

    // Sixteen codes lie as [width / 4][16][4 bytes]: one register holds four bytes of each.
    void pack(std::size_t i, const uint8_t *from) {
        uint8_t *to = packed_.data() + i / GROUP * GROUP * width_ + i % GROUP * 4;
        for (std::size_t j = 0; j < width_; j += 4) std::memcpy(to + j * GROUP, from + j, 4);
    }
    template <std::size_t COLUMNS>
    void tile(const int8_t *const rows[PAIR_ROWS], std::size_t group, std::size_t count, int32_t *out) const {
        __m512i sum[PAIR_ROWS][COLUMNS];
        for (auto &row : sum)
            for (auto &part : row) part = _mm512_setzero_si512();
        const uint8_t *codes = packed_.data() + group * GROUP * width_;
        for (std::size_t j = 0; j < width_; j += 4) {
            __m512i code[COLUMNS];
            for (std::size_t c = 0; c < COLUMNS; ++c)
                code[c] = _mm512_loadu_si512(codes + c * GROUP * width_ + j * GROUP);
            for (std::size_t r = 0; r < PAIR_ROWS; ++r) {
                int32_t four;
                std::memcpy(&four, rows[r] + j, 4);
                for (std::size_t c = 0; c < COLUMNS; ++c)
                    sum[r][c] = _mm512_dpbusd_epi32(sum[r][c], code[c], _mm512_set1_epi32(four));
            }
        }
        for (std::size_t r = 0; r < count; ++r)
            for (std::size_t c = 0; c < COLUMNS; ++c)
                _mm512_storeu_si512(out + r * padded_ + (group + c) * GROUP, sum[r][c]);
    }
    void products(const CodeSet &of, std::size_t first, std::size_t count, int32_t *out) const {
        const int8_t *rows[PAIR_ROWS];
        for (std::size_t r = 0; r < PAIR_ROWS; ++r) rows[r] = of.row(first + std::min(r, count - 1));
        std::size_t group = 0;
        for (; group + GROUPS <= padded_ / GROUP; group += GROUPS) tile<GROUPS>(rows, group, count, out);
        for (; group < padded_ / GROUP; ++group) tile<1>(rows, group, count, out);
    }
#else
    static constexpr std::size_t GROUP = 4;

    void pack(std::size_t i, const uint8_t *from) { std::memcpy(packed_.data() + i * width_, from, width_); }
    void products(const CodeSet &of, std::size_t first, std::size_t count, int32_t *out) const {
        for (std::size_t i = 0; i < padded_; i += GROUP) {
            const uint8_t *codes[GROUP];
            for (std::size_t c = 0; c < GROUP; ++c) codes[c] = packed_.data() + (i + c) * width_;
            for (std::size_t r = 0; r < count; ++r) dot_bytes4(codes, of.row(first + r), width_, out + r * padded_ + i);
        }
    }
#endif

    std::size_t n_ = 0, width_ = 0, padded_ = 0;
    std::vector<int8_t> signed_;
    std::vector<uint8_t> packed_;
    std::vector<uint32_t> norms_, sums_;
};

}  // namespace firth
