#include "cuda/slab.hpp"

#include <algorithm>

namespace vtr::cuda {
namespace {

constexpr size_t COLUMN_ALIGNMENT = 256;         // as cuMemAlloc gives it: kernels count on 16
constexpr size_t PIECE_BYTES = size_t{8} << 20;  // unpacked at a time

}  // namespace

Slab::Slab(SharedDevice device, const Scorer& scorer, const std::vector<DeviceColumn>& columns, size_t capacity)
    : capacity(capacity), scorer_(scorer), columns_(columns), ids_(new int64_t[capacity]) {
    for (const DeviceColumn& column : columns) {
        offsets_.push_back(bytes_);
        bytes_ += padded(capacity * column.row_bytes, COLUMN_ALIGNMENT);
    }
    memory_ = device_memory(device, bytes_);
}

void Slab::write(size_t first, const Chunk& chunk, size_t row, size_t count, const Stream& stream) {
    const Device& device = *stream.device();
    const Block block = chunk.block(scorer_, row, count);
    std::vector<std::byte> unpacked;
    for (size_t i = 0; i < columns_.size(); ++i) {
        const DeviceColumn& column = columns_[i];
        const size_t row_bytes = scorer_.columns[column.number].row_bytes;
        const size_t piece = column.unpack ? std::max<size_t>(1, PIECE_BYTES / column.row_bytes) : count;
        for (size_t done = 0; done < count; done += piece) {
            const size_t rows = std::min(piece, count - done), bytes = rows * column.row_bytes;
            const std::byte* from = block.columns[column.number] + done * row_bytes;
            if (column.unpack) {
                unpacked.resize(bytes);
                column.unpack(scorer_, from, rows, unpacked.data());
                from = unpacked.data();
            }
            device.check(device.driver().copy_to_device(this->column(i) + (first + done) * column.row_bytes, from,
                                                        bytes, stream.get()),
                         std::to_string(rows) + " rows cannot be copied to " + device.name());
            synchronize(stream);  // the memory that was read may be reused, and freed if the next one fails
        }
    }
    std::copy_n(chunk.ids.data() + row, count, ids_.get() + first);
}

size_t DeviceState::bytes() const {
    size_t sum = 0;
    for (const SlabView& view : slabs) sum += view.slab->bytes() + view.slab->capacity;
    return sum;
}

std::shared_ptr<const Live> make_live(const SharedDevice& device, size_t capacity,
                                      std::shared_ptr<const Dead> dead, const Stream& stream) {
    auto live = std::make_shared<Live>();
    live->bytes = device_memory(device, capacity);
    std::vector<uint8_t> bytes(capacity, 1);  // rows that are yet to be written are live from then on
    for (size_t row = 0; dead && row < capacity; ++row) bytes[row] = !dead->has(row);
    device->check(device->driver().copy_to_device(live->bytes.get(), bytes.data(), capacity, stream.get()),
                  "marks of removed videos cannot be copied to " + device->name());
    synchronize(stream);
    live->dead = std::move(dead);
    return live;
}

}  // namespace vtr::cuda
