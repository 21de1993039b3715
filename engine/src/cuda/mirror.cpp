#include "cuda/mirror.hpp"

#include <algorithm>

#include "error.hpp"

namespace vtr::cuda {
namespace {

constexpr size_t FEW_SLABS = 16;  // more cost time, a launch of every kernel each

int64_t id_of(const Finder::Place& place) { return place.part->chunk->ids[place.row]; }

std::vector<Finder::Place> newer(const State& target, std::optional<int64_t> than) {
    std::vector<Finder::Place> places;
    for (const Part& part : target.parts) {
        const auto& ids = part.chunk->ids;
        const auto first = than ? std::upper_bound(ids.begin(), ids.end(), *than) : ids.begin();
        for (size_t row = first - ids.begin(); row < ids.size(); ++row)
            if (part.alive(row)) places.push_back({&part, row});
    }
    return places;
}

}  // namespace

Mirror::Mirror(SharedDevice device, const Scorer& scorer, SlabSizes sizes)
    : device_(std::move(device)),
      scorer_(scorer),
      columns_(device_columns(scorer)),
      sizes_(sizes),
      stream_(make_stream(device_)) {}

std::shared_ptr<const DeviceState> Mirror::update(const DeviceState& before, const State& target) {
    bool moves = false;
    const auto made = [&](bool compact) {
        auto after = std::make_shared<DeviceState>();
        Places moved;
        keep(before, target, compact, *after, moved);
        moves = !moved.empty();
        std::sort(moved.begin(), moved.end(), [](const auto& a, const auto& b) { return id_of(a) < id_of(b); });
        add(moved, true, *after);
        add(newer(target, before.highest), false, *after);
        after->highest = std::max(before.highest, target.highest);
        for (const SlabView& view : after->slabs) after->count += view.count();
        return after;
    };
    try {
        return made(true);
    } catch (const Error& error) {
        if (error.status != VTR_OUT_OF_MEMORY || !moves) throw;
    }
    return made(false);  // rows that stay take no memory: removing must work when it is short
}

void Mirror::keep(const DeviceState& before, const State& target, bool compact, DeviceState& after,
                  Places& moved) {
    const bool merge = compact && crowded(before);
    for (const SlabView& view : before.slabs) {
        const std::span<const int64_t> ids = view.ids();
        auto dead = std::make_shared<Dead>(view.slab->capacity);
        Places live;
        Finder finder(target);
        for (size_t row = 0; row < ids.size(); ++row)
            if (const auto place = view.alive(row) ? finder.find(ids[row]) : std::nullopt)
                live.push_back(*place);
            else
                dead->add(row);
        dead->number();
        if (live.empty()) continue;
        if ((compact && 2 * live.size() < ids.size()) || (merge && 2 * live.size() < sizes_.most)) {
            moved.insert(moved.end(), live.begin(), live.end());
            continue;
        }
        SlabView kept = view;
        if (live.size() < view.count())
            kept.live = make_live(device_, view.slab->capacity, std::move(dead), stream_);
        after.slabs.push_back(std::move(kept));
    }
}

bool Mirror::crowded(const DeviceState& state) const {
    return state.slabs.size() > FEW_SLABS + 2 * state.count / sizes_.most;
}

// Ids ascend within a slab: the last slab takes rows only if they come after its own.
void Mirror::add(const Places& places, bool exact, DeviceState& after) {
    size_t there = 0;
    for (const SlabView& view : after.slabs) there += view.rows;
    for (size_t begin = 0, end = 0; begin < places.size(); begin = end) {
        SlabView* last = after.slabs.empty() ? nullptr : &after.slabs.back();
        if (!last || last->rows == last->slab->capacity || last->ids().back() > id_of(places[begin])) {
            const size_t wanted = places.size() - begin, most = sizes_.most;
            const size_t capacity = std::min(most, exact ? wanted : std::max({wanted, there, sizes_.least}));
            auto slab = std::make_shared<Slab>(device_, scorer_, columns_, capacity);
            auto live = make_live(device_, capacity, nullptr, stream_);
            last = &after.slabs.emplace_back(SlabView{std::move(slab), std::move(live), 0});
        }
        const auto& [part, row] = places[begin];
        const size_t room = last->slab->capacity - last->rows;
        while (end < places.size() && end - begin < room && places[end].part == part &&
               places[end].row == row + (end - begin))
            ++end;
        last->slab->write(last->rows, *part->chunk, row, end - begin, stream_);
        last->rows += end - begin;
        there += end - begin;
    }
}

}  // namespace vtr::cuda
