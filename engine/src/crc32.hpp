// CRC-32 as zlib and PNG compute it (polynomial 0x04C11DB7, reflected).
#pragma once

#include <cstddef>
#include <cstdint>

namespace vtr {

// The checksum of bytes that follow others whose checksum is `before`; 0 where there are none.
uint32_t crc32(const void* bytes, size_t count, uint32_t before = 0);

// The same without special instructions, for tests and other processors.
uint32_t crc32_portable(const void* bytes, size_t count, uint32_t before = 0);

}  // namespace vtr
