// Random numbers for training loops.
#pragma once

#include <cstdint>

namespace firth {

// Numbers from a seed: splitmix64 (Steele, Lea, Flood 2014), one multiplication chain a draw, simple enough for a twin.
class Random {
  public:
    explicit Random(uint64_t state) : state(state) {}
    uint64_t next() {
        uint64_t z = state += 0x9e3779b97f4a7c15;
        z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
        z = (z ^ z >> 27) * 0x94d049bb133111eb;
        return z ^ z >> 31;
    }
    uint32_t below(uint64_t n) { return static_cast<uint32_t>((next() >> 32) * n >> 32); }

  private:
    uint64_t state;
};

}  // namespace firth
