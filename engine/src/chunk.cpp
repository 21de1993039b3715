#include "chunk.hpp"

#include <bit>
#include <cstdint>
#include <new>
#include <utility>

#if defined(__linux__)
#include <sys/mman.h>
#endif

namespace vtr {

namespace {

constexpr size_t HUGE_PAGE = size_t{2} << 20;
constexpr size_t LARGE = size_t{32} << 20;  // from here on allocators take whole pages from the system

// Memory that a bank reads from end to end: on huge pages where they are to be had, for fewer misses of the TLB.
std::shared_ptr<std::byte> chunk_memory(size_t bytes) {
    const std::align_val_t alignment{bytes < LARGE ? ALIGNMENT : HUGE_PAGE};
    auto* memory = static_cast<std::byte*>(::operator new[](bytes, alignment));
#if defined(MADV_HUGEPAGE)
    if (bytes >= LARGE) madvise(memory, bytes, MADV_HUGEPAGE);  // advice: refusal costs speed alone
#endif
    return {memory, [alignment](std::byte* gone) { ::operator delete[](gone, alignment); }};
}

}  // namespace

Block Chunk::block(const Scorer& scorer, size_t first, size_t count) const {
    Block block{count, {}};
    for (size_t column = 0; column < scorer.columns.size(); ++column)
        block.columns[column] = columns[column] + first * scorer.columns[column].row_bytes;
    return block;
}

NewChunk::NewChunk(const Scorer& scorer, size_t rows) {
    const size_t row_bytes = scorer.row_bytes() + scorer.columns.size();  // no less than a row takes
    if (rows > (PTRDIFF_MAX - MAX_COLUMNS * ALIGNMENT) / row_bytes) throw std::bad_alloc();
    for (const Column& column : scorer.columns) bytes_ += padded(rows * column.row_bytes, ALIGNMENT);
    memory_ = chunk_memory(bytes_);
    size_t offset = 0;
    for (size_t column = 0; column < scorer.columns.size(); ++column) {
        columns_[column] = memory_.get() + offset;
        offset += padded(rows * scorer.columns[column].row_bytes, ALIGNMENT);
    }
}

std::shared_ptr<const Chunk> NewChunk::finish(std::vector<int64_t> ids) && {
    auto chunk = std::make_shared<Chunk>();
    chunk->bytes = bytes_ + ids.capacity() * sizeof(int64_t);
    chunk->ids = std::move(ids);
    for (size_t column = 0; column < MAX_COLUMNS; ++column) chunk->columns[column] = columns_[column];
    chunk->owned = true;
    chunk->memory = std::move(memory_);
    return chunk;
}

void Dead::number() {
    count = 0;
    for (size_t word = 0; word < words_.size(); ++word) {
        if (word % STEP == 0) before_[word / STEP] = count;
        count += std::popcount(words_[word]);
    }
}

size_t Dead::before(size_t row) const {
    size_t word = row / 64 / STEP * STEP;
    size_t sum = before_[word / STEP];
    for (; word < row / 64; ++word) sum += std::popcount(words_[word]);
    return sum + std::popcount(words_[word] & ((uint64_t{1} << (row % 64)) - 1));
}

}  // namespace vtr
