// The stand-in's calls about memory and copies.
#include <cstdint>
#include <cstdlib>

#include "world.hpp"

using namespace fake_cuda;

namespace {

size_t free_bytes(const World& w) {  // 0 where a test took memory away that is in use
    const size_t used = device_bytes();
    return used < w.machine.memory ? w.machine.memory - used : 0;
}

}  // namespace

extern "C" {

Result cuMemGetInfo_v2(size_t* free, size_t* total) {
    return call("cuMemGetInfo_v2", Needs::sound, [&](World& w) {
        *total = w.machine.memory;
        *free = free_bytes(w);
        return SUCCESS;
    });
}

Result cuMemAlloc_v2(Address* address, size_t bytes) {
    return unsafe_call("cuMemAlloc_v2", [&](World& w) {
        if (bytes == 0) return misuse("an allocation of no bytes");
        if (bytes > free_bytes(w)) return OUT_OF_MEMORY;
        void* memory = std::aligned_alloc(256, (bytes + 255) / 256 * 256);
        std::memset(memory, 0xfe, bytes);  // NaN in every type: nothing that is not written is to be used
        *address = reinterpret_cast<Address>(memory) + NOT_OF_THE_HOST;
        w.memory[*address] = bytes;
        return SUCCESS;
    });
}

Result cuMemFree_v2(Address address) {
    return unsafe_give_back("cuMemFree_v2", [&](World& w) {
        if (!w.memory.contains(address)) return misuse("device memory freed that is not there");
        for (StreamTag* stream : w.streams) run(w, stream->pending);  // as the driver waits for the device
        w.memory.erase(address);
        std::free(reinterpret_cast<void*>(address - NOT_OF_THE_HOST));
        return w.lost;
    });
}

Result cuMemHostAlloc(void** memory, size_t bytes, unsigned) {
    return unsafe_call("cuMemHostAlloc", [&](World& w) {
        if (bytes == 0) return misuse("an allocation of no bytes");
        *memory = std::malloc(bytes);
        std::memset(*memory, 0xfe, bytes);
        w.pinned[static_cast<std::byte*>(*memory)] = bytes;
        return SUCCESS;
    });
}

Result cuMemFreeHost(void* memory) {
    return unsafe_give_back("cuMemFreeHost", [&](World& w) {
        for (StreamTag* stream : w.streams) run(w, stream->pending);
        if (w.pinned.erase(static_cast<std::byte*>(memory)) == 0)
            return misuse("host memory freed that is not there");
        std::free(memory);
        return SUCCESS;
    });
}

Result cuMemcpyHtoDAsync_v2(Address to, const void* from, size_t bytes, StreamHandle stream) {
    return call("cuMemcpyHtoDAsync_v2", Needs::sound, [&](World& w) {
        if (!there(w, to, bytes)) return misuse("a copy to memory that is not there");
        if (is_pinned(w, from, bytes)) return put(w, stream, [=] { std::memcpy(memory(to, bytes), from, bytes); });
        if (stream->capture) return misuse("a capture of memory that is not page-locked", CAPTURE_UNSUPPORTED);
        const auto* first = static_cast<const std::byte*>(from);
        std::vector<std::byte> staged(first, first + bytes);
        return put(w, stream, [=] { std::memcpy(memory(to, bytes), staged.data(), bytes); });
    });
}

Result cuMemcpyDtoHAsync_v2(void* to, Address from, size_t bytes, StreamHandle stream) {
    return call("cuMemcpyDtoHAsync_v2", Needs::sound, [&](World& w) {
        if (!there(w, from, bytes)) return misuse("a copy from memory that is not there");
        if (!is_pinned(w, to, bytes)) return misuse("a copy to memory that is not page-locked");
        return put(w, stream, [=] { std::memcpy(to, memory(from, bytes), bytes); });
    });
}

Result cuMemsetD8Async(Address to, unsigned char value, size_t bytes, StreamHandle stream) {
    return call("cuMemsetD8Async", Needs::sound,
                [&](World& w) { return put(w, stream, [=] { std::memset(memory(to, bytes), value, bytes); }); });
}

}  // extern "C"
