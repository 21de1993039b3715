// Writing frozen banks.
#include <cstring>
#include <functional>

#include "crc32.hpp"
#include "durable_file.hpp"
#include "error.hpp"
#include "frozen.hpp"

namespace vtr {
namespace {

using namespace frozen;

// The file as it is written from front to back, with the checksums of the tensor that is being written.
class Output {
  public:
    explicit Output(const char* path) : file_(path) {}

    void begin(const TensorEntry& entry) {
        constexpr char zeros[ALIGNMENT] = {};
        plain(zeros, entry.begin - position_);
        sums_.clear();
        sum_ = 0, in_block_ = 0;
    }

    void write(const void* bytes, size_t count) {
        for (auto* rest = static_cast<const char*>(bytes); count > 0;) {
            const size_t part = std::min(count, BLOCK - in_block_);
            sum_ = crc32(rest, part, sum_);
            plain(rest, part);
            rest += part, count -= part;
            if ((in_block_ += part) == BLOCK) end_block();
        }
    }

    std::vector<uint32_t> end() {
        if (in_block_ > 0) end_block();
        return std::move(sums_);
    }

    void plain(const void* bytes, size_t count) {
        file_.write(bytes, count);
        position_ += count;
    }

    void commit() { file_.commit(); }

  private:
    void end_block() {
        sums_.push_back(sum_);
        sum_ = 0, in_block_ = 0;
    }

    DurableFile file_;
    size_t position_ = 0, in_block_ = 0;
    uint32_t sum_ = 0;
    std::vector<uint32_t> sums_;
};

struct Content {
    TensorEntry entry;
    std::function<void(Output&)> write;
};

// Calls use(chunk, first, count) for every run of rows that were not removed.
template <class Use>
void for_runs(const State& state, Use use) {
    for (const Part& part : state.parts) {
        const size_t rows = part.chunk->ids.size();
        for (size_t first = 0; first < rows;) {
            size_t last = first;
            while (last < rows && part.alive(last)) ++last;
            if (last > first) use(*part.chunk, first, last - first);
            first = last + 1;
        }
    }
}

const char* path_or_nothing(const char* path) { return path ? path : ""; }

void add_head(const Model& model, std::vector<Content>& contents) {
    for (const vtr_array& array : model.head()) {
        TensorEntry entry{
            .name = HEAD + array.name, .dtype = "F32", .shape = {array.shape, array.shape + array.ndim}};
        const size_t bytes = tensor_bytes(entry);
        contents.push_back({std::move(entry), [&array, bytes](Output& out) { out.write(array.data, bytes); }});
    }
}

void add_paths(size_t count, const char* const* paths, std::vector<Content>& contents) {
    size_t bytes = 0;
    for (size_t row = 0; row < count; ++row) bytes += std::strlen(path_or_nothing(paths[row])) + 1;
    contents.push_back({{.name = OFFSETS, .dtype = "I64", .shape = {static_cast<int64_t>(count) + 1}},
                        [count, paths](Output& out) {
                            int64_t offset = 0;
                            out.write(&offset, sizeof offset);
                            for (size_t row = 0; row < count; ++row) {
                                offset += static_cast<int64_t>(std::strlen(path_or_nothing(paths[row]))) + 1;
                                out.write(&offset, sizeof offset);
                            }
                        }});
    contents.push_back(
        {{.name = PATHS, .dtype = "U8", .shape = {static_cast<int64_t>(bytes)}}, [count, paths](Output& out) {
             for (size_t row = 0; row < count; ++row) {
                 const char* path = path_or_nothing(paths[row]);
                 out.write(path, std::strlen(path) + 1);
             }
         }});
}

std::vector<Content> contents_of(const Model& model, const State& state, const char* const* paths) {
    std::vector<Content> contents;
    contents.push_back(
        {{.name = IDS, .dtype = "I64", .shape = {static_cast<int64_t>(state.count)}}, [&state](Output& out) {
             for_runs(state, [&out](const Chunk& chunk, size_t first, size_t count) {
                 out.write(chunk.ids.data() + first, count * sizeof(int64_t));
             });
         }});
    add_head(model, contents);
    for (size_t number = 0; number < model.scorer->columns.size(); ++number) {
        const Column& column = model.scorer->columns[number];
        contents.push_back({column_entry(column, state.count), [&state, &column, number](Output& out) {
                                for_runs(state, [&](const Chunk& chunk, size_t first, size_t count) {
                                    out.write(chunk.columns[number] + first * column.row_bytes,
                                              count * column.row_bytes);
                                });
                            }});
    }
    if (paths) add_paths(state.count, paths, contents);
    return contents;
}

}  // namespace

void save_frozen(const Model& model, const State& state, const char* path, const char* const* paths) {
    const std::vector<Content> contents = contents_of(model, state, paths);
    std::vector<TensorEntry> plan;
    for (const Content& content : contents) plan.push_back(content.entry);
    for (const Content& content : contents) plan.push_back(sums_entry(content.entry));
    plan.push_back(header_sum_entry());
    const std::string header = make_header(metadata(model.describe()), plan);

    Output out(path);
    out.plain(header.data(), header.size());
    std::vector<std::vector<uint32_t>> sums;
    auto entry = plan.cbegin();
    for (const Content& content : contents) {
        out.begin(*entry++);
        content.write(out);
        sums.push_back(out.end());
    }
    sums.push_back({crc32(header.data(), header.size())});
    for (const std::vector<uint32_t>& numbers : sums) {
        out.begin(*entry++);
        out.plain(numbers.data(), numbers.size() * sizeof numbers[0]);
    }
    out.commit();
}

}  // namespace vtr
