// Memory that a thread works in: taken in pieces, given back all at once, kept for the next block.
#pragma once

#include <cstddef>
#include <memory>
#include <new>

namespace vtr {

inline constexpr size_t ALIGNMENT = 64;

struct AlignedDelete {
    void operator()(std::byte* memory) const { ::operator delete[](memory, std::align_val_t{ALIGNMENT}); }
};
using AlignedBytes = std::unique_ptr<std::byte[], AlignedDelete>;
inline AlignedBytes aligned_bytes(size_t bytes) {
    return AlignedBytes(new (std::align_val_t{ALIGNMENT}) std::byte[bytes]);
}

// Named slots of memory that grow to what was asked of them and stay: the same slot is the same memory.
class Scratch {
  public:
    static constexpr size_t SLOTS = 16;
    static constexpr size_t SEARCH = 8;  // slots from here on are search's, those before it the scorer's

    // At least `count` Ts, 64-byte aligned, with whatever was left in them. Throws std::bad_alloc.
    template <class T>
    T* slot(size_t number, size_t count) {
        Slot& slot = slots_[number];
        const size_t bytes = count * sizeof(T);
        if (slot.bytes < bytes) {
            slot.memory = nullptr;
            slot.bytes = 0;
            slot.memory = aligned_bytes(bytes);
            slot.bytes = bytes;
        }
        return reinterpret_cast<T*>(slot.memory.get());
    }

  private:
    struct Slot {
        AlignedBytes memory;
        size_t bytes = 0;
    };
    Slot slots_[SLOTS];
};

}  // namespace vtr
