// Replaces operator new of an executable by one that fails when it is told to. For one source file each.
#pragma once

#include <cstdlib>
#include <new>

namespace {
thread_local long until_failure = -1;  // allocations of this thread that still succeed; negative: all

void* allocate(size_t bytes, size_t alignment) {
    if (until_failure == 0) throw std::bad_alloc();
    if (until_failure > 0) --until_failure;
    if (void* memory = std::aligned_alloc(alignment, (bytes + alignment - 1) / alignment * alignment))
        return memory;
    throw std::bad_alloc();
}
}  // namespace

// Out of line: GCC takes free() inside an inlined delete for a mistake.
[[gnu::noinline]] void* operator new(size_t bytes) { return allocate(bytes, 16); }
[[gnu::noinline]] void* operator new(size_t bytes, std::align_val_t alignment) {
    return allocate(bytes, size_t(alignment));
}
[[gnu::noinline]] void operator delete(void* memory) noexcept { std::free(memory); }
[[gnu::noinline]] void operator delete(void* memory, size_t) noexcept { std::free(memory); }
[[gnu::noinline]] void operator delete(void* memory, std::align_val_t) noexcept { std::free(memory); }
[[gnu::noinline]] void operator delete(void* memory, size_t, std::align_val_t) noexcept { std::free(memory); }
