// A file mapped into memory, read only.
#pragma once

#include <cstddef>
#include <span>

namespace vtr {

class MappedFile {
  public:
    // Throws Error(VTR_IO): the file cannot be opened, is not a plain file or cannot be mapped.
    explicit MappedFile(const char* path);
    ~MappedFile();
    MappedFile(const MappedFile&) = delete;

    // On a page's boundary. Reading what was cut off the file since is a bus error: nobody may shorten it.
    std::span<const std::byte> bytes() const { return bytes_; }

  private:
    std::span<const std::byte> bytes_;
};

}  // namespace vtr
