// The best few of many scores.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

namespace vtr {

struct Hit {
    float score;
    int64_t id;
};

// The order of answers: higher scores first, then smaller ids. Scores are never NaN.
inline bool better(const Hit& a, const Hit& b) { return a.score > b.score || (a.score == b.score && a.id < b.id); }

// The k best hits of those offered, whatever the order in which they come. NaN is passed over.
//
// Hits gather until there are twice as many as needed, then the worse half goes. That takes a constant number of
// steps for each that was let in, where a heap takes a logarithm of k.
class TopK {
  public:
    explicit TopK(size_t k) : k_(k) {}

    void offer(Hit hit) {
        if (full_ ? !better(hit, worst_) : hit.score != hit.score || k_ == 0) return;
        hits_.push_back(hit);
        if (hits_.size() >= k_ + std::max<size_t>(k_, 16)) drop();
    }

    // scores[i] belongs to ids[i]. Most of them are not good enough: passes without branches find out where to
    // look.
    void offer(const float* scores, const int64_t* ids, size_t count) {
        constexpr size_t GROUP = 32;
        size_t i = 0;
        for (; i + GROUP <= count; i += GROUP)
            if (!full_ || any_reaches(scores + i, GROUP)) offer_each(scores + i, ids + i, GROUP);
        offer_each(scores + i, ids + i, count - i);
    }

    const std::vector<Hit>& hits() const { return hits_; }  // the k best are among these

    std::vector<Hit> sorted() && {  // best first
        if (hits_.size() > k_) drop();
        std::sort(hits_.begin(), hits_.end(), better);
        return std::move(hits_);
    }

  private:
    bool any_reaches(const float* scores, size_t count) const {
        int32_t any = 0;
        for (size_t i = 0; i < count; ++i) any |= scores[i] >= worst_.score;
        return any;
    }

    void offer_each(const float* scores, const int64_t* ids, size_t count) {
        for (size_t i = 0; i < count; ++i) offer(Hit{scores[i], ids[i]});
    }

    void drop() {  // all but the k best; there are more
        std::nth_element(hits_.begin(), hits_.begin() + (k_ - 1), hits_.end(), better);
        hits_.resize(k_);
        worst_ = hits_.back();
        full_ = true;
    }

    size_t k_;
    std::vector<Hit> hits_;
    bool full_ = false;  // then worst_ is one that k others are no worse than
    Hit worst_{};
};

}  // namespace vtr
