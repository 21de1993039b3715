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
    std::vector<uint8_t> wanted;  // where not all live rows are: as the kernel reads it
    size_t live_at = 0;           // offset of `wanted` in what is copied in
    size_t keys = 0;              // of a text
    size_t keys_at = 0;           // of its first among the search's
};

std::vector<Part> parts_of(const DeviceState& state, const std::optional<std::span<const int64_t>>& only) {
    std::vector<Part> parts;
    for (const SlabView& view : state.slabs) {
        Part part{&view, view.live->bytes.get(), {}};
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
          parts_(parts_of(state, only)),
          values_(kernels.values()) {
        values_.set("texts", static_cast<int64_t>(texts.texts));
        chosen_there_ = k <= kernels.most && (kernels.choose->entry().takes("live") || all_live());
        if (!chosen_there_ && !kernels.score) refuse();
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

    [[noreturn]] void refuse() const {
        const size_t most = kernels_.most;
        if (k_ > most)
            throw Error(VTR_UNSUPPORTED, "k: these kernels find at most " + std::to_string(most) + ", got " +
                                             std::to_string(k_) + ": search without a GPU");
        throw Error(VTR_UNSUPPORTED, "kernel '" + kernels_.choose->entry().name +
                                         "' cannot leave out videos: export the bundle again with this vtr");
    }

    bool all_live() const {
        return !listed_ && std::all_of(parts_.begin(), parts_.end(),
                                       [](const Part& part) { return part.view->count() == part.view->rows; });
    }

    // What is copied in comes first, then the scores of a slab, then the hits of all.
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
        if (chosen_there_) {
            size_t keys = 0;
            for (Part& part : parts_) {
                values_.set("count", static_cast<int64_t>(part.view->rows));
                part.keys = static_cast<size_t>(kernels_.choose->blocks_of("count", values_)) * kernels_.most;
                part.keys_at = keys;
                keys += texts_.texts * part.keys;
            }
            out_bytes_ = keys * sizeof(int64_t);
            keys_at_ = take(end, out_bytes_);
        }
        if (parts_.empty()) return;
        workspace_.reserve(end, in_bytes_, out_bytes_);
        for (size_t i = 0; i < array_at_.size(); ++i) values_.set(texts_.arrays[i].name, address(array_at_[i]));
        values_.set("scores", address(scores_at_));
        values_.set("logits", address(scores_at_));
        for (Part& part : parts_)
            if (listed_ && chosen_there_) part.live = address(part.live_at);
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
        values_.set("keys", address(keys_at_ + part.keys_at * sizeof(int64_t)));
    }

    void enqueue() {
        copy_in();
        for (const Part& part : parts_) {
            set_rows(part);
            if (!kernels_.fused) kernels_.score->launch(workspace_.stream, values_);
            kernels_.choose->launch(workspace_.stream, values_);
        }
        copy_out(address(keys_at_), out_bytes_);
    }

    std::vector<Ranking> merge() const {
        const auto* keys = reinterpret_cast<const int64_t*>(workspace_.out());
        std::vector<Ranking> rankings;
        for (size_t text = 0; text < texts_.texts; ++text) {
            TopK best(k_);
            for (const Part& part : parts_)
                for (size_t i = 0; i < part.keys; ++i)
                    if (const int64_t key = keys[part.keys_at + text * part.keys + i]; key != NOTHING)
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
            kernels_.score->launch(workspace_.stream, values_);
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
    bool chosen_there_;  // the best, by a kernel
    std::vector<Part> parts_;
    Values values_;
    std::vector<size_t> array_at_;  // offsets in the workspace's memory
    size_t scores_at_ = 0, keys_at_ = 0, in_bytes_ = 0, out_bytes_ = 0;
};

size_t most_of(const std::optional<Kernel>& choose) {
    if (!choose) return 0;
    const auto& constants = choose->entry().constants;
    const auto found = constants.find("K");
    if (found == constants.end() || found->second < 1 || found->second > 1 << 16)
        throw Error(VTR_CORRUPT,
                    "kernel '" + choose->entry().name + "' does not say its constant 'K': export again");
    return static_cast<size_t>(found->second);
}

std::optional<Kernel> load(const SharedDevice& device, const KernelsFile& file, const std::string& name) {
    if (!file.kernels.contains(name)) return std::nullopt;
    return std::optional<Kernel>(std::in_place, device, file, name);
}

// What chooses the best: a kernel that scores too, or one of scores.
std::string choosing(const KernelsFile& file, const Scorer& scorer) {
    const std::string fused = scorer.options.scoring + "_topk";
    return file.kernels.contains(fused) ? fused : "topk_scores";
}

KernelSpec spec_of(const Options& options) {
    return {options.scoring,
            options.storage == Storage::bf16 ? "bf16" : "fp16",
            static_cast<int64_t>(options.frames),
            static_cast<int64_t>(options.words),
            static_cast<int64_t>(options.dim),
            static_cast<int64_t>(options.keep)};
}

// Throws Error unless the kernels are for the scorer's model and can search.
const KernelsFile& checked(const KernelsFile& file, const Scorer& scorer) {
    file.require(spec_of(scorer.options));
    const std::string& scoring = scorer.options.scoring;
    if (!file.kernels.contains(scoring + "_topk")) file.at(scoring + "_score");
    return file;
}

}  // namespace

SearchKernels::SearchKernels(const SharedDevice& device, const Scorer& scorer, const KernelsFile& file)
    : score(load(device, checked(file, scorer), scorer.options.scoring + "_score")),
      choose(load(device, file, choosing(file, scorer))),
      fused(choose && choose->entry().name != "topk_scores"),
      most(most_of(choose)) {
    const Stream stream = make_stream(device);
    const PlainParameters parameters = scorer.plain_parameters();
    for (const PlainArray& array : parameters.arrays) {
        std::vector<std::byte> bytes(array.numbers.size() * storage_bytes(array.storage));
        store(array.numbers, array.storage, array.name, bytes.data());
        const DeviceMemory& memory = parameters_.emplace_back(device_memory(device, bytes.size()));
        device->check(device->driver().copy_to_device(memory.get(), bytes.data(), bytes.size(), stream.get()),
                      "parameter '" + array.name + "' cannot be copied to " + device->name());
        synchronize(stream);
        values_.set(array.name, memory.get());
    }
    for (const auto& [name, number] : parameters.scalars) values_.set(name, number);
    for (const char* name : {"global_scratch", "profile_scratch"}) values_.set(name, Address{0});
}

std::vector<Ranking> search_device(const SearchKernels& kernels, const std::vector<DeviceColumn>& columns,
                                   Workspace& workspace, const std::shared_ptr<const DeviceState>& state,
                                   const DeviceTexts& texts, size_t k,
                                   const std::optional<std::span<const int64_t>>& only) {
    if (k == 0) return std::vector<Ranking>(texts.texts);  // nothing to search among
    return Search(kernels, columns, workspace, *state, texts, k, only).run(state);
}

}  // namespace vtr::cuda
