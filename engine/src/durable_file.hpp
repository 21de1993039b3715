// A file that appears under its name whole and durable, or not at all.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

namespace vtr {

// Written under a temporary name in the same folder. Unless it was committed, it is deleted when it goes, and what
// had the name before is as it was. All functions throw Error(VTR_IO).
class DurableFile {
  public:
    explicit DurableFile(const char* path);
    ~DurableFile();
    DurableFile(const DurableFile&) = delete;

    void write(const void* bytes, size_t count);

    // Flush to the disk, rename, and flush the folder.
    void commit();

  private:
    void write_through(const void* bytes, size_t count);

    const std::string path_, folder_;
    std::string temporary_;  // empty once it is gone
    int file_ = -1;
    std::vector<char> buffer_;  // small writes, gathered
};

}  // namespace vtr
