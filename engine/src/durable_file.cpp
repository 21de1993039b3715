// Durable files: temporary name, fsync, rename, fsync of the folder.
#include "durable_file.hpp"

#include <fcntl.h>
#include <sys/random.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <utility>

#include "descriptor.hpp"

namespace vtr {
namespace {

constexpr size_t BUFFER = size_t{1} << 16;
constexpr size_t MOST = size_t{1} << 30;  // in one call; Linux takes no more than 2 GB

std::string folder_of(const std::string& path) {
    const size_t slash = path.rfind('/');
    return slash == path.npos ? "." : path.substr(0, slash + 1);
}

// A name that no other writer chooses, and short, so that it fits where `path` does.
std::string temporary_name(const std::string& path, const std::string& folder) {
    uint64_t number = 0;
    if (getrandom(&number, sizeof number, 0) != sizeof number) throw_errno(path.c_str(), "cannot be written");
    char name[40];
    std::snprintf(name, sizeof name, "/.vtr-%016llx.tmp", static_cast<unsigned long long>(number));
    return folder + name;
}

}  // namespace

DurableFile::DurableFile(const char* path)
    : path_(path), folder_(folder_of(path_)), temporary_(temporary_name(path_, folder_)) {
    buffer_.reserve(BUFFER);
    file_ = open(temporary_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    if (file_ < 0) throw_errno(path, "cannot be written: no file can be made in its folder");
}

DurableFile::~DurableFile() {
    if (file_ >= 0) close(file_);
    if (!temporary_.empty()) unlink(temporary_.c_str());
}

void DurableFile::write(const void* bytes, size_t count) {
    if (buffer_.size() + count > BUFFER) {
        write_through(buffer_.data(), buffer_.size());
        buffer_.clear();
    }
    if (count > BUFFER)
        write_through(bytes, count);
    else
        buffer_.insert(buffer_.end(), static_cast<const char*>(bytes), static_cast<const char*>(bytes) + count);
}

void DurableFile::write_through(const void* bytes, size_t count) {
    for (auto* rest = static_cast<const char*>(bytes); count > 0;) {
        const ssize_t written = ::write(file_, rest, std::min(count, MOST));
        if (written < 0 && errno == EINTR) continue;
        if (written < 0) throw_errno(path_.c_str(), "cannot be written");
        rest += written, count -= static_cast<size_t>(written);
    }
}

void DurableFile::commit() {
    write_through(buffer_.data(), buffer_.size());
    buffer_.clear();
    if (fsync(file_) != 0) throw_errno(path_.c_str(), "cannot be made durable");
    if (close(std::exchange(file_, -1)) != 0) throw_errno(path_.c_str(), "cannot be written");
    const Descriptor folder(open(folder_.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (folder.number < 0) throw_errno(folder_.c_str(), "cannot be opened to make a file in it durable");
    if (rename(temporary_.c_str(), path_.c_str()) != 0) throw_errno(path_.c_str(), "cannot be replaced");
    temporary_.clear();
    if (fsync(folder.number) != 0 && errno != EINVAL)  // file systems without such a thing say EINVAL
        throw_errno(path_.c_str(), "is written, but its name may not survive a power failure");
}

}  // namespace vtr
