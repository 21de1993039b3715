// A file mapped into memory, by POSIX.
#include "mapped_file.hpp"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "descriptor.hpp"

namespace vtr {

MappedFile::MappedFile(const char* path) {
    // Without O_NONBLOCK, opening a pipe would wait for a writer.
    const Descriptor file(open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK));
    if (file.number < 0) throw_errno(path, "cannot be opened");
    struct stat found;
    if (fstat(file.number, &found) != 0) throw_errno(path, "cannot be examined");
    if (!S_ISREG(found.st_mode)) throw Error(VTR_IO, std::string(path) + ": expected a plain file");
    const auto size = static_cast<size_t>(found.st_size);
    if (size == 0) return;
    void* memory = mmap(nullptr, size, PROT_READ, MAP_PRIVATE, file.number, 0);
    if (memory == MAP_FAILED) throw_errno(path, "cannot be mapped into memory");
    bytes_ = {static_cast<const std::byte*>(memory), size};
}

MappedFile::~MappedFile() {
    if (!bytes_.empty()) munmap(const_cast<std::byte*>(bytes_.data()), bytes_.size());
}

}  // namespace vtr
