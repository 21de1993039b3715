#include "bank.hpp"

#include <algorithm>
#include <new>
#include <string>
#include <utility>

#include "columns.hpp"
#include "error.hpp"
#include "tidy.hpp"

namespace vtr {

size_t State::bytes() const {
    size_t sum = 0;
    for (const Part& part : parts) sum += part.chunk->bytes + (part.dead ? part.dead->bytes() : 0);
    return sum;
}

Bank::Bank(std::shared_ptr<const Scorer> scorer)
    : scorer(std::move(scorer)), state_(std::make_shared<const State>()) {}

std::shared_ptr<Bank> Bank::clone() const {
    auto clone = std::make_shared<Bank>(scorer);
    clone->state_ = state();
    return clone;
}

std::shared_ptr<const State> Bank::state() const {
    const std::lock_guard lock(publishing_);
    return state_;
}

size_t Bank::ids(std::span<int64_t> out) const {
    const auto state = this->state();
    size_t written = 0;
    for (const Part& part : state->parts) {
        const auto& ids = part.chunk->ids;
        for (size_t row = 0; row < ids.size() && written < out.size(); ++row)
            if (part.alive(row)) out[written++] = ids[row];
    }
    return state->count;
}

void Bank::append(std::span<const int64_t> ids, std::span<const vtr_array> columns) {
    const std::vector<const vtr_array*> arrays = match_columns(*scorer, ids.size(), columns);
    const std::lock_guard lock(writing_);
    check_ids(ids);
    if (ids.empty()) return;
    NewChunk chunk(*scorer, ids.size());
    for (size_t column = 0; column < arrays.size(); ++column)
        scorer->pack(column, *arrays[column], chunk.column(column));
    add(std::move(chunk).finish({ids.begin(), ids.end()}));
}

void Bank::adopt(std::span<const int64_t> ids, std::span<const std::byte* const> columns,
                 std::shared_ptr<const void> owner) {
    if (columns.size() != scorer->columns.size())
        throw Error(VTR_INVALID_ARGUMENT, "expected " + std::to_string(scorer->columns.size()) + " columns, got " +
                                              std::to_string(columns.size()));
    const std::lock_guard lock(writing_);
    check_ids(ids);
    if (ids.empty()) return;
    auto chunk = std::make_shared<Chunk>();
    chunk->ids.assign(ids.begin(), ids.end());
    for (size_t column = 0; column < columns.size(); ++column) {
        if (reinterpret_cast<uintptr_t>(columns[column]) % ALIGNMENT != 0)
            throw Error(VTR_INVALID_ARGUMENT, "column '" + scorer->columns[column].name +
                                                  "' is not at a multiple of 64 bytes: align it");
        chunk->columns[column] = columns[column];
    }
    chunk->bytes = ids.size() * (scorer->row_bytes() + sizeof(int64_t));
    chunk->memory = std::move(owner);
    add(std::move(chunk));
}

size_t Bank::remove(std::span<const int64_t> ids) {
    std::vector<int64_t> sorted(ids.begin(), ids.end());
    std::sort(sorted.begin(), sorted.end());
    const std::lock_guard lock(writing_);
    const auto before = state();
    std::vector<Part> parts = before->parts;
    size_t removed = 0;
    auto id = sorted.cbegin();
    for (Part& part : parts) {
        const auto& rows = part.chunk->ids;
        std::shared_ptr<Dead> dead;  // the part's marks and those of this call, made at the first of them
        size_t row = 0;
        for (id = std::lower_bound(id, sorted.cend(), rows.front()); id != sorted.cend() && *id <= rows.back();
             ++id) {
            row = std::lower_bound(rows.begin() + row, rows.end(), *id) - rows.begin();
            if (rows[row] != *id || !part.alive(row) || (dead && dead->has(row))) continue;
            if (!dead) dead = part.dead ? std::make_shared<Dead>(*part.dead) : std::make_shared<Dead>(rows.size());
            dead->add(row);
            ++removed;
        }
        if (!dead) continue;
        dead->number();
        part.dead = std::move(dead);
    }
    if (removed > 0) publish(std::move(parts), before->highest);
    return removed;
}

void Bank::check_ids(std::span<const int64_t> ids) const {
    std::optional<int64_t> last = state()->highest;
    for (size_t row = 0; row < ids.size(); last = ids[row++]) {
        if (!last || ids[row] > *last) continue;
        throw Error(VTR_INVALID_ARGUMENT, "id " + std::to_string(ids[row]) + " of row " + std::to_string(row) +
                                              " comes after id " + std::to_string(*last) +
                                              ": ids must ascend, and above all that the bank ever had");
    }
}

void Bank::add(std::shared_ptr<const Chunk> chunk) {
    std::vector<Part> parts = state()->parts;
    const int64_t highest = chunk->ids.back();
    parts.push_back({std::move(chunk), nullptr});
    publish(std::move(parts), highest);
}

void Bank::publish(std::vector<Part> parts, std::optional<int64_t> highest) {
    auto state = std::make_shared<State>();
    state->parts = tidy(std::move(parts), *scorer);
    for (const Part& part : state->parts) state->count += part.live();
    state->highest = highest;
    std::shared_ptr<const State> old = std::move(state);
    const std::lock_guard lock(publishing_);
    std::swap(old, state_);  // `old` is freed after the lock: it was declared before
}

}  // namespace vtr
