#include "tidy.hpp"

#include <algorithm>
#include <cstring>
#include <new>
#include <utility>

namespace vtr {

namespace {

constexpr size_t MERGED_BYTES = size_t{16} << 20;  // chunks are not merged beyond this: searches gain no more

// Neighbouring parts that become one chunk.
struct Group {
    size_t first, parts;
    size_t live;   // rows
    bool movable;  // may be merged with others
};

bool sparse(const Part& part) { return 2 * part.live() < part.chunk->ids.size(); }

// Which parts to merge: the newer into the older, where the older is less than twice its size. Sizes that remain
// fall by half or more from neighbour to neighbour.
std::vector<Group> group(const std::vector<Part>& parts, size_t most) {
    std::vector<Group> groups;
    for (size_t i = 0; i < parts.size(); ++i) {
        groups.push_back({i, 1, parts[i].live(), parts[i].chunk->owned || sparse(parts[i])});
        while (groups.size() > 1) {
            Group& older = groups[groups.size() - 2];
            const Group& newer = groups.back();
            if (!older.movable || !newer.movable) break;
            if (older.live + newer.live > most || older.live >= 2 * newer.live) break;
            older.parts += newer.parts;
            older.live += newer.live;
            groups.pop_back();
        }
    }
    return groups;
}

// The live rows of `parts` in a chunk of their own.
std::shared_ptr<const Chunk> copy_live(std::span<const Part> parts, size_t live, const Scorer& scorer) {
    NewChunk copy(scorer, live);
    std::vector<int64_t> ids;
    ids.reserve(live);
    for (const Part& part : parts) {
        const size_t rows = part.chunk->ids.size();
        for (size_t begin = 0, end = 0; begin < rows; begin = end) {  // a run of live rows, or one dead row
            while (end < rows && part.alive(end)) ++end;
            const Block run = part.chunk->block(scorer, begin, end - begin);
            for (size_t column = 0; column < scorer.columns.size(); ++column) {
                const size_t row_bytes = scorer.columns[column].row_bytes;
                std::memcpy(copy.column(column) + ids.size() * row_bytes, run.columns[column],
                            run.count * row_bytes);
            }
            ids.insert(ids.end(), part.chunk->ids.begin() + begin, part.chunk->ids.begin() + end);
            if (end < rows) ++end;
        }
    }
    return std::move(copy).finish(std::move(ids));
}

}  // namespace

std::vector<Part> tidy(std::vector<Part> parts, const Scorer& scorer) {
    std::erase_if(parts, [](const Part& part) { return part.live() == 0; });
    try {
        const std::vector<Group> groups = group(parts, MERGED_BYTES / scorer.row_bytes());
        std::vector<Part> tidied;
        tidied.reserve(groups.size());
        for (const Group& group : groups) {
            const Part& first = parts[group.first];
            if (group.parts == 1 && !sparse(first))
                tidied.push_back(first);
            else
                tidied.push_back({copy_live({&first, group.parts}, group.live, scorer), nullptr});
        }
        return tidied;
    } catch (const std::bad_alloc&) {
        return parts;  // sound as they are, only larger: removing must work when memory is short
    }
}

}  // namespace vtr
