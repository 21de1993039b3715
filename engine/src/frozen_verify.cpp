// Checking every byte of a frozen bank: checksums, numbers that are not finite, padding.
#include <algorithm>

#include "crc32.hpp"
#include "error.hpp"
#include "frozen.hpp"

namespace vtr::frozen {
namespace {

constexpr const char* REMEDY = ": the file is damaged; restore it from a copy, or freeze the index again";

// Numbers of a block are infinite or NaN where all bits of the exponent are set.
template <class Bits>
bool finite(const std::byte* bytes, size_t count, Bits exponent) {
    const auto* numbers = reinterpret_cast<const Bits*>(bytes);  // tensors are aligned, and so are their blocks
    Bits bad = 0;  // as wide as the numbers, so that the loop needs no conversion
    for (size_t i = 0; i < count / sizeof(Bits); ++i)
        bad = static_cast<Bits>(bad | ((numbers[i] & exponent) == exponent));
    return !bad;
}

bool finite(const std::string& dtype, const std::byte* bytes, size_t count) {
    if (dtype == "F16") return finite<uint16_t>(bytes, count, 0x7C00);
    if (dtype == "BF16") return finite<uint16_t>(bytes, count, 0x7F80);
    if (dtype == "F32") return finite<uint32_t>(bytes, count, 0x7F800000);
    return true;
}

struct Block {
    const TensorEntry* tensor;
    size_t number;
    uint32_t sum;

    size_t begin() const { return tensor->begin + number * BLOCK; }
    size_t bytes() const { return std::min(BLOCK, tensor->bytes - number * BLOCK); }
    std::string where() const {
        return "tensor " + tensor->name + ", bytes " + std::to_string(begin()) + " to " +
               std::to_string(begin() + bytes()) + " of the file";
    }
};

constexpr size_t PIECE = size_t{1} << 15;  // stays in the first-level cache from one look to the other

void check_block(std::span<const std::byte> file, const Block& block) {
    uint32_t sum = 0;
    bool sound = true;
    for (size_t done = 0; done < block.bytes(); done += PIECE) {
        const std::byte* bytes = file.data() + block.begin() + done;
        const size_t count = std::min(PIECE, block.bytes() - done);
        sum = crc32(bytes, count, sum);
        sound = finite(block.tensor->dtype, bytes, count) && sound;
    }
    if (sum != block.sum)
        throw Error(VTR_CORRUPT, block.where() + ": expected checksum " + std::to_string(block.sum) + ", got " +
                                     std::to_string(sum) + REMEDY);
    if (!sound) throw Error(VTR_CORRUPT, block.where() + ": holds NaN or infinity; freeze the index again");
}

// The checksums that the file holds of a tensor, or of its header. Throws Error unless there are as many as
// needed.
std::vector<uint32_t> stored_sums(std::span<const std::byte> file, const SafetensorsHeader& header,
                                  const TensorEntry& expected) {
    const TensorEntry* entry = header.find(expected.name);
    if (!entry || entry->dtype != expected.dtype || entry->shape != expected.shape)
        throw Error(VTR_CORRUPT,
                    "expected checksums " + expected.name + " U32 " + std::to_string(expected.shape[0]) + REMEDY);
    const auto* sums = reinterpret_cast<const uint32_t*>(file.data() + entry->begin);
    return {sums, sums + entry->bytes / sizeof(uint32_t)};
}

}  // namespace

void verify(std::span<const std::byte> file, const SafetensorsHeader& header, Pool* pool) {
    const uint32_t expected = stored_sums(file, header, header_sum_entry())[0];
    if (crc32(file.data(), header.size) != expected)
        throw Error(VTR_CORRUPT, std::string("its header does not fit its checksum") + REMEDY);
    std::vector<Block> blocks;
    size_t unmet = 0;  // checksums that nothing has asked for
    for (const TensorEntry& tensor : header.tensors) {
        if (tensor.name.starts_with(SUMS)) {
            ++unmet;
            continue;
        }
        if (SafetensorsHeader::is_padding(tensor.name)) {
            const auto padding = file.subspan(tensor.begin, tensor.bytes);
            if (!std::ranges::all_of(padding, [](std::byte byte) { return byte == std::byte{0}; }))
                throw Error(VTR_CORRUPT, "the padding " + tensor.name + " is not zero" + REMEDY);
            continue;
        }
        const std::vector<uint32_t> sums = stored_sums(file, header, sums_entry(tensor));
        for (size_t number = 0; number < sums.size(); ++number) blocks.push_back({&tensor, number, sums[number]});
        --unmet;
    }
    if (unmet != 1) throw Error(VTR_CORRUPT, "it has checksums of tensors that it has not");  // 1: the header's
    run(pool, blocks.size(), [&](size_t task, size_t, Scratch&) { check_block(file, blocks[task]); });
}

}  // namespace vtr::frozen
