// Frozen banks: what is written comes back, files are replaced whole or not at all, damage of any kind is found.
#include "frozen.hpp"

#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstring>
#include <filesystem>
#include <fstream>

#include "check.hpp"
#include "small_bank.hpp"

namespace fs = std::filesystem;
using namespace vtr;
using namespace vtr::test;

namespace {

class Folder {
  public:
    Folder() {
        std::string name = fs::temp_directory_path() / "vtr-frozen-XXXXXX";
        if (!mkdtemp(name.data())) throw std::runtime_error("no temporary folder");
        path = name;
    }
    ~Folder() { fs::remove_all(path); }
    std::string operator/(const char* name) const { return path / name; }
    size_t files() const { return std::distance(fs::directory_iterator(path), fs::directory_iterator()); }

    fs::path path;
};

std::string contents(const std::string& path) {
    std::ifstream file(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(file), {}};
}

void write(const std::string& path, const std::string& bytes) {
    std::ofstream(path, std::ios::binary).write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
}

// Three appends and two removals: chunks, rows that are gone at either end of runs.
std::shared_ptr<Bank> make_bank(const Model& model, const std::string& scoring, size_t rows) {
    auto bank = std::make_shared<Bank>(model.scorer);
    for (unsigned part = 0; part < 3; ++part)
        bank->append(ascending(rows, 100 * part, 2), arrays(small_columns(scoring, rows, part)));
    if (rows > 2) bank->remove(std::vector<int64_t>{0, 6, 8, 102, 200 + 2 * static_cast<int64_t>(rows) - 2});
    return bank;
}

std::vector<int64_t> ids_of(const Bank& bank) {
    std::vector<int64_t> ids(bank.count());
    bank.ids(ids);
    return ids;
}

void round_trip() {
    const Folder folder;
    const std::string file = folder / "bank", again = folder / "again";
    Pool pool(2);
    for (const char* scoring : {"holistic", "xclip", "tcmgc"})
        for (const vtr_dtype storage : {VTR_F16, VTR_BF16})
            for (const size_t rows : {0, 1, 13}) {
                const auto model = small_model(scoring, storage);
                const auto bank = make_bank(*model, scoring, rows);
                const std::vector<int64_t> ids = ids_of(*bank);
                std::vector<std::string> names;
                for (const int64_t id : ids) names.push_back("clips/\u00e9 " + std::to_string(id) + ".mp4");
                std::vector<const char*> paths;
                paths.reserve(1);  // not null, even if there are none
                for (const std::string& name : names) paths.push_back(name.c_str());
                if (paths.size() > 3) paths[1] = nullptr, paths[2] = "";
                save_frozen(*model, *bank->state(), file.c_str(), paths.data());

                const std::vector<float> expected = scores(*bank);
                for (const bool trust : {false, true})
                    for (Pool* threads : {static_cast<Pool*>(nullptr), &pool}) {
                        const FrozenBank frozen = load_frozen(file.c_str(), {.pool = threads, .trust = trust});
                        CHECK(ids_of(*frozen.bank) == ids);
                        CHECK(scores(*frozen.bank) == expected);
                        CHECK(frozen.model->describe().storage == storage);
                        for (size_t i = 0; i < ids.size(); ++i) {
                            const char* path = frozen.paths->find(ids[i]);
                            if (paths[i] && *paths[i])
                                CHECK(path && names[i] == path);
                            else
                                CHECK(path == nullptr);
                        }
                        CHECK(frozen.paths->find(-1) == nullptr && frozen.paths->find(1) == nullptr &&
                              frozen.paths->find(1 << 20) == nullptr);
                        save_frozen(*frozen.model, *frozen.bank->state(), again.c_str(), paths.data());
                        CHECK(contents(again) == contents(file));
                    }
            }
    CHECK(folder.files() == 2);
}

void changes_after_loading() {
    const Folder folder;
    const std::string file = folder / "bank";
    for (const char* scoring : {"holistic", "xclip", "tcmgc"}) {
        const auto model = small_model(scoring);
        const auto bank = make_bank(*model, scoring, 13);
        save_frozen(*model, *bank->state(), file.c_str(), nullptr);
        const FrozenBank frozen = load_frozen(file.c_str(), {});
        CHECK(frozen.paths == nullptr);
        fs::remove(file);  // the mapping holds what it needs
        for (Bank* each : {bank.get(), frozen.bank.get()}) {
            each->append(ascending(5, 1000), arrays(small_columns(scoring, 5, 9)));
            CHECK(each->remove(std::vector<int64_t>{2, 104, 1003}) == 3);
        }
        CHECK(ids_of(*frozen.bank) == ids_of(*bank));
        CHECK(scores(*frozen.bank) == scores(*bank));
        save_frozen(*frozen.model, *frozen.bank->state(), file.c_str(), nullptr);
        CHECK(scores(*load_frozen(file.c_str(), {}).bank) == scores(*bank));
        CHECK_THROWS(VTR_INVALID_ARGUMENT,
                     frozen.bank->append(ascending(1, 7), arrays(small_columns(scoring, 1, 1))));
    }
}

// Columns of several checksums, the last of a block that is not full.
void large_columns() {
    const Folder folder;
    const std::string file = folder / "bank";
    const auto model = small_model("holistic");
    const auto bank = make_bank(*model, "holistic", 13);
    bank->append(ascending(70'000, 1000), arrays(small_columns("holistic", 70'000, 4)));
    bank->remove(ascending(300, 1000, 7));
    save_frozen(*model, *bank->state(), file.c_str(), nullptr);
    Pool pool(3);
    CHECK(scores(*load_frozen(file.c_str(), {.pool = &pool}).bank) == scores(*bank));

    const std::string sound = contents(file);
    const SafetensorsHeader header = read_header(std::as_bytes(std::span(sound)));
    const TensorEntry& video = *header.find("column.video");
    CHECK(video.bytes > 2 * frozen::BLOCK);
    for (const size_t at : {size_t{0}, frozen::BLOCK - 1, frozen::BLOCK, 2 * frozen::BLOCK, video.bytes - 1}) {
        std::string damaged = sound;
        damaged[video.begin + at] ^= 1;
        write(file, damaged);
        CHECK_THROWS(VTR_CORRUPT, load_frozen(file.c_str(), {.pool = &pool}));
        CHECK(load_frozen(file.c_str(), {.pool = &pool, .trust = true}).bank->count() == bank->count());
    }
}

// A small file, as bytes.
std::string small_file(const Folder& folder, const char* scoring) {
    const auto model = small_model(scoring);
    const auto bank = make_bank(*model, scoring, 4);
    const std::vector<const char*> paths(bank->count(), "a/b.mp4");
    const std::string file = folder / "small";
    save_frozen(*model, *bank->state(), file.c_str(), paths.data());
    return contents(file);
}

// Loads bytes as a file would be, on a 64-byte boundary.
FrozenBank load(const std::string& bytes, bool trust = false) {
    const std::shared_ptr<std::byte> memory(aligned_bytes(bytes.size()).release(), AlignedDelete());
    std::memcpy(memory.get(), bytes.data(), bytes.size());
    return load_frozen({memory.get(), bytes.size()}, memory, {.trust = trust});
}

// No byte may change unnoticed; where the checksums are not looked at, it must at least not crash.
void every_byte() {
    const Folder folder;
    std::string bytes = small_file(folder, "holistic");
    CHECK(load(bytes).bank->count() > 0);
    for (size_t i = 0; i < bytes.size(); ++i) {
        const char was = bytes[i];
        bytes[i] = static_cast<char>(was ^ 1 << i % 8);
        try {
            load(bytes);
            CHECK(!"a changed byte was not noticed");
        } catch (const Error& error) {
            CHECK(error.status == VTR_CORRUPT || error.status == VTR_UNSUPPORTED);
        }
        try {
            scores(*load(bytes, true).bank);
        } catch (const Error& error) {
            CHECK(error.status == VTR_CORRUPT || error.status == VTR_UNSUPPORTED);
        }
        bytes[i] = was;
    }
}

void every_length() {
    const Folder folder;
    const std::string bytes = small_file(folder, "holistic");
    for (const bool trust : {false, true}) {
        for (size_t length = 0; length < bytes.size(); ++length)
            CHECK_THROWS(VTR_CORRUPT, load(bytes.substr(0, length), trust));
        CHECK_THROWS(VTR_CORRUPT, load(bytes + '\0', trust));
        CHECK_THROWS(VTR_CORRUPT, load(bytes + std::string(64, '\0'), trust));
    }
}

void failed_saves() {
    const Folder folder;
    const std::string file = folder / "bank";
    const auto model = small_model("xclip");
    const auto bank = make_bank(*model, "xclip", 13), larger = make_bank(*model, "xclip", 40);
    const auto save = [&](const Bank& each, const std::string& path) {
        save_frozen(*model, *each.state(), path.c_str(), nullptr);
    };
    save(*bank, file);
    const std::string before = contents(file);

    signal(SIGXFSZ, SIG_IGN);  // a disk that is full half-way: EFBIG instead of ENOSPC
    rlimit limit;
    getrlimit(RLIMIT_FSIZE, &limit);
    const rlimit small{before.size() / 2, limit.rlim_max};
    setrlimit(RLIMIT_FSIZE, &small);
    CHECK_THROWS(VTR_IO, save(*larger, file));
    CHECK_THROWS(VTR_IO, save(*larger, folder / "other"));
    setrlimit(RLIMIT_FSIZE, &limit);
    CHECK(contents(file) == before && folder.files() == 1);

    mkdir((folder / "folder").c_str(), 0755);
    CHECK_THROWS(VTR_IO, save(*bank, folder / "folder"));
    CHECK_THROWS(VTR_IO, save(*bank, folder / "none/bank"));
    CHECK_THROWS(VTR_IO, save(*bank, folder / std::string(300, 'x').c_str()));
    CHECK_THROWS(VTR_IO, save(*bank, ""));
    CHECK(contents(file) == before && folder.files() == 2);
    save(*larger, file);
    CHECK(load_frozen(file.c_str(), {}).bank->count() == larger->count());
}

void files_that_are_none() {
    const Folder folder;
    const std::string file = folder / "bank";
    CHECK_THROWS(VTR_IO, load_frozen(file.c_str(), {}));
    CHECK_THROWS(VTR_IO, load_frozen(folder.path.c_str(), {}));
    CHECK_THROWS(VTR_IO, load_frozen("/dev/null", {}));
    mkfifo(file.c_str(), 0600);
    CHECK_THROWS(VTR_IO, load_frozen(file.c_str(), {}));
    fs::remove(file);
    write(file, "");
    CHECK_THROWS(VTR_CORRUPT, load_frozen(file.c_str(), {}));
    write(file, "not a bank at all");
    try {
        load_frozen(file.c_str(), {});
        CHECK(!"loaded");
    } catch (const Error& error) {
        CHECK(std::string(error.what()).starts_with(file + ": "));
    }
}

}  // namespace

int main() {
    round_trip();
    changes_after_loading();
    large_columns();
    every_byte();
    every_length();
    failed_saves();
    files_that_are_none();
    CHECK_DONE();
}
