#include "cuda/device_search.hpp"

#include <algorithm>
#include <bit>
#include <cstring>

#include "cuda/stage.hpp"
#include "error.hpp"

namespace vtr::cuda {
namespace {

constexpr size_t PART_ALIGNMENT = 256;  // of arrays in a workspace
constexpr size_t STRIDE = 64;           // the scores of every text begin at a multiple of so many

// Keys of a slab, of all texts, that are cheaper to copy and merge here than to merge on the device first. By
// counting: a round of merging is one more launch, some 3 microseconds whatever the number of texts; a key is 8
// bytes on a bus of some 25 GB/s and a comparison here, some 1 to 2 nanoseconds. A million videos of TC-MGC with
// k = 10 leave 20,000 keys a text: 160 KB, which for one text hides behind the scoring, but 10 MB and 1.3 million
// comparisons for 64.
constexpr size_t FEW_KEYS = 4096;

size_t take(size_t& end, size_t bytes) {  // the offset of so many bytes more
    const size_t offset = end;
    end += padded(bytes, PART_ALIGNMENT);
    return offset;
}

constexpr int64_t NOTHING = INT64_MIN;  // a key of no row

float score_of(int64_t key) {
    const auto bits = static_cast<int32_t>(key >> 32);
    return std::bit_cast<float>(bits ^ ((bits >> 31) & 0x7FFF'FFFF));
}

// A slab's part in one search.
struct Part {
    const SlabView* view;
    Address live;
    std::vector<uint8_t> wanted = {};  // where not all live rows are: as the kernel reads it
    size_t live_at = 0;                // offset of `wanted` in what is copied in
    std::vector<size_t> keys = {};     // of a text: as chosen, and after each round of merging
    size_t keys_at = 0;                // of the last round's first among those that are copied out
};

std::vector<Part> parts_of(const DeviceState& state, const std::optional<std::span<const int64_t>>& only) {
    std::vector<Part> parts;
    for (const SlabView& view : state.slabs) {
        Part part{&view, view.live->bytes.get()};
        if (only) {
            const std::span<const int64_t> ids = view.ids();
            bool any = false;
            part.wanted.assign(ids.size(), 0);
            auto wanted = std::lower_bound(only->begin(), only->end(), ids.front());
            for (auto row = ids.begin(); wanted != only->end() && *wanted <= ids.back(); ++wanted) {
                row = std::lower_bound(row, ids.end(), *wanted);
                if (*row != *wanted || !view.alive(row - ids.begin())) continue;
                part.wanted[row - ids.begin()] = 1;
                any = true;
            }
            if (!any) continue;
        }
        parts.push_back(std::move(part));
    }
    return parts;
}

class Search {
  public:
    Search(const SearchKernels& kernels, const std::vector<DeviceColumn>& columns, Workspace& workspace,
           const DeviceState& state, const DeviceTexts& texts, size_t k,
           const std::optional<std::span<const int64_t>>& only)
        : kernels_(kernels),
          columns_(columns),
          workspace_(workspace),
          texts_(texts),
          k_(k),
          listed_(only.has_value()),
          chosen_there_(k <= kernels.most),
          parts_(parts_of(state, only)),
          values_(kernels.values()) {
        values_.set("texts", static_cast<int64_t>(texts.texts));
        lay_out();
    }

    std::vector<Ranking> run(const std::shared_ptr<const DeviceState>& state) {
        if (parts_.empty()) return std::vector<Ranking>(texts_.texts);
        if (!chosen_there_) return rank_here();
        stage();
        if (listed_) {
            enqueue();
        } else if (workspace_.remembers(state, texts_.texts)) {
            if (!workspace_.graph) {
                Capture capture(workspace_.stream);
                enqueue();
                workspace_.graph = std::move(capture).finish();
            }
            device().check(device().driver().graph_launch(workspace_.graph.get(), workspace_.stream.get()),
                           "a graph cannot be launched");
        } else {
            enqueue();
            workspace_.remember(state, texts_.texts);
        }
        synchronize(workspace_.stream);
        return merge();
    }

  private:
    const Device& device() const { return *workspace_.stream.device(); }

    // What is copied in comes first, then the scores of a slab and its keys between rounds, then the keys of all.
    void lay_out() {
        size_t end = 0, rows = 0;
        for (const PlainArray& array : texts_.arrays)
            array_at_.push_back(take(end, per_text(array) * texts_.texts * storage_bytes(array.storage)));
        for (Part& part : parts_) {
            if (listed_ && chosen_there_) part.live_at = take(end, part.wanted.size());
            rows = std::max(rows, part.view->rows);
        }
        in_bytes_ = end;
        if (!chosen_there_ || !kernels_.fused)
            scores_at_ = take(end, texts_.texts * padded(rows, STRIDE) * sizeof(float));
        out_bytes_ = rows * sizeof(float);
        if (chosen_there_) lay_out_keys(end);
        if (parts_.empty()) return;
        workspace_.reserve(end, in_bytes_, out_bytes_);
        for (size_t i = 0; i < array_at_.size(); ++i) values_.set(texts_.arrays[i].name, address(array_at_[i]));
        values_.set("scores", address(scores_at_));
        values_.set("logits", address(scores_at_));
        for (Part& part : parts_)
            if (listed_ && chosen_there_) part.live = address(part.live_at);
    }

    void lay_out_keys(size_t& end) {
        size_t keys = 0, between[2] = {0, 0};  // rounds read one and write the other
        for (Part& part : parts_) {
            part.keys = rounds_of(part.view->rows);
            for (size_t round = 0; round + 1 < part.keys.size(); ++round)
                between[round % 2] = std::max(between[round % 2], texts_.texts * part.keys[round]);
            part.keys_at = keys;  // a multiple of 16 bytes, which kernels count on
            keys = padded(keys + texts_.texts * part.keys.back(), PART_ALIGNMENT / sizeof(int64_t));
        }
        for (size_t i = 0; i < 2; ++i) between_at_[i] = take(end, between[i] * sizeof(int64_t));
        out_bytes_ = keys * sizeof(int64_t);
        keys_at_ = take(end, out_bytes_);
    }

    // Keys of a text that a slab of so many rows leaves, after choosing and after each round of merging.
    std::vector<size_t> rounds_of(size_t rows) {
        const auto left = [&](const Kernel& kernel, size_t count) {
            values_.set("count", static_cast<int64_t>(count));
            return static_cast<size_t>(kernel.blocks_of("count", values_)) * kernels_.most;
        };
        std::vector<size_t> keys = {left(*kernels_.choose, rows)};
        while (kernels_.merge && texts_.texts * keys.back() > FEW_KEYS) {
            const size_t next = left(*kernels_.merge, keys.back());
            if (next >= keys.back()) break;
            keys.push_back(next);
        }
        return keys;
    }

    Address address(size_t offset) const { return workspace_.memory() + offset; }
    size_t per_text(const PlainArray& array) const { return array.numbers.size() / texts_.all; }

    void stage() {
        for (size_t i = 0; i < array_at_.size(); ++i) {
            const PlainArray& array = texts_.arrays[i];
            const size_t count = per_text(array);
            store(std::span(array.numbers).subspan(texts_.first * count, texts_.texts * count), array.storage,
                  array.name, workspace_.in() + array_at_[i]);
        }
        for (const Part& part : parts_)
            if (listed_ && chosen_there_)
                std::memcpy(workspace_.in() + part.live_at, part.wanted.data(), part.wanted.size());
    }

    void copy_in() {
        device().check(device().driver().copy_to_device(workspace_.memory(), workspace_.in(), in_bytes_,
                                                        workspace_.stream.get()),
                       "texts cannot be copied to " + device().name());
    }

    void copy_out(Address from, size_t bytes) {
        device().check(device().driver().copy_to_host(workspace_.out(), from, bytes, workspace_.stream.get()),
                       "scores cannot be copied from " + device().name());
    }

    void set_rows(const Part& part) {
        const auto rows = static_cast<int64_t>(part.view->rows);
        for (size_t i = 0; i < columns_.size(); ++i) {
            const Address column = part.view->slab->column(i);
            values_.set(columns_[i].name, column);
            if (columns_[i].name == "video") values_.set("vectors", column);
        }
        values_.set("count", rows);
        values_.set("stride", static_cast<int64_t>(padded(part.view->rows, STRIDE)));
        values_.set("first", int64_t{0});
        values_.set("live", part.live);
    }

    Address keys_of(const Part& part, size_t round) const {
        if (round + 1 < part.keys.size()) return address(between_at_[round % 2]);
        return address(keys_at_ + part.keys_at * sizeof(int64_t));
    }

    void enqueue() {
        copy_in();
        for (const Part& part : parts_) {
            set_rows(part);
            values_.set("keys", keys_of(part, 0));
            if (!kernels_.fused) kernels_.score.launch(workspace_.stream, values_);
            kernels_.choose->launch(workspace_.stream, values_);
            for (size_t round = 1; round < part.keys.size(); ++round) {
                values_.set("keys", keys_of(part, round - 1));
                values_.set("out", keys_of(part, round));
                values_.set("count", static_cast<int64_t>(part.keys[round - 1]));
                kernels_.merge->launch(workspace_.stream, values_);
            }
        }
        copy_out(address(keys_at_), out_bytes_);
    }

    std::vector<Ranking> merge() const {
        const auto* keys = reinterpret_cast<const int64_t*>(workspace_.out());
        std::vector<Ranking> rankings;
        for (size_t text = 0; text < texts_.texts; ++text) {
            TopK best(k_);
            for (const Part& part : parts_)
                for (size_t i = 0, count = part.keys.back(); i < count; ++i)
                    if (const int64_t key = keys[part.keys_at + text * count + i]; key != NOTHING)
                        best.offer({score_of(key), part.view->slab->ids()[row_of(key, part)]});
            rankings.push_back(std::move(best).sorted());
        }
        return rankings;
    }

    size_t row_of(int64_t key, const Part& part) const {
        const uint32_t row = 0xFFFF'FFFFu - static_cast<uint32_t>(key);
        if (row < part.view->rows) return row;
        throw Error(VTR_DEVICE, "kernel '" + kernels_.choose->entry().name + "' answered with row " +
                                    std::to_string(row) + " of " + std::to_string(part.view->rows) +
                                    ": export the bundle again");
    }

    // All scores are copied, a slab and a text at a time.
    std::vector<Ranking> rank_here() {
        std::vector<TopK> best(texts_.texts, TopK(k_));
        const auto* scores = reinterpret_cast<const float*>(workspace_.out());
        stage();
        copy_in();
        for (const Part& part : parts_) {
            const SlabView& view = *part.view;
            const bool whole = part.wanted.empty() && view.count() == view.rows;
            set_rows(part);
            kernels_.score.launch(workspace_.stream, values_);
            for (size_t text = 0; text < texts_.texts; ++text) {
                copy_out(address(scores_at_ + text * padded(view.rows, STRIDE) * sizeof(float)),
                         view.rows * sizeof(float));
                synchronize(workspace_.stream);
                if (whole) {
                    best[text].offer(scores, view.slab->ids(), view.rows);
                    continue;
                }
                for (size_t row = 0; row < view.rows; ++row)
                    if (part.wanted.empty() ? view.alive(row) : part.wanted[row] != 0)
                        best[text].offer({scores[row], view.slab->ids()[row]});
            }
        }
        std::vector<Ranking> rankings;
        for (TopK& of_text : best) rankings.push_back(std::move(of_text).sorted());
        return rankings;
    }

    const SearchKernels& kernels_;
    const std::vector<DeviceColumn>& columns_;
    Workspace& workspace_;
    const DeviceTexts texts_;
    const size_t k_;
    const bool listed_;
    const bool chosen_there_;  // the best, by a kernel
    std::vector<Part> parts_;
    Values values_;
    std::vector<size_t> array_at_;  // offsets in the workspace's memory
    size_t scores_at_ = 0, between_at_[2] = {0, 0}, keys_at_ = 0, in_bytes_ = 0, out_bytes_ = 0;
};

}  // namespace

std::vector<Ranking> search_device(const SearchKernels& kernels, const std::vector<DeviceColumn>& columns,
                                   Workspace& workspace, const std::shared_ptr<const DeviceState>& state,
                                   const DeviceTexts& texts, size_t k,
                                   const std::optional<std::span<const int64_t>>& only) {
    if (k == 0) return std::vector<Ranking>(texts.texts);  // nothing to search among
    return Search(kernels, columns, workspace, *state, texts, k, only).run(state);
}

}  // namespace vtr::cuda
