// The stand-in's calls about streams and graphs.
#include <utility>

#include "world.hpp"

using namespace fake_cuda;

extern "C" {

Result cuStreamCreate(StreamHandle* stream, unsigned flags) {
    return call("cuStreamCreate", Needs::sound, [&](World& w) {
        if (flags != STREAM_NON_BLOCKING) return misuse("a stream that waits for the default stream");
        w.streams.insert(*stream = new StreamTag);
        return SUCCESS;
    });
}

Result cuStreamDestroy_v2(StreamHandle stream) {
    const std::lock_guard lock(world().mutex);
    if (stream->capture) misuse("a stream destroyed while it is captured");
    if (world().lost == SUCCESS && !stream->pending.empty()) misuse("a stream destroyed before its work is done");
    return give_back("cuStreamDestroy_v2", world().streams, stream);
}

Result cuStreamSynchronize(StreamHandle stream) {
    return call("cuStreamSynchronize", Needs::sound, [&](World& w) {
        if (stream->capture) {
            stream->capture->invalid = true;
            return misuse("a wait while capturing", CAPTURE_UNSUPPORTED);
        }
        run(w, stream->pending);
        return w.lost;
    });
}

Result cuCtxSynchronize() {
    return call("cuCtxSynchronize", Needs::sound, [&](World& w) {
        for (const StreamHandle stream : w.streams) run(w, stream->pending);
        return w.lost;
    });
}

Result cuStreamBeginCapture_v2(StreamHandle stream, CaptureMode mode) {
    return call("cuStreamBeginCapture_v2", Needs::sound, [&](World& w) {
        if (stream->capture || mode != CAPTURE_THREAD_LOCAL) return misuse("a capture that cannot begin");
        w.graphs.insert(stream->capture = new GraphTag);
        stream->captured_by = std::this_thread::get_id();
        return SUCCESS;
    });
}

Result cuStreamEndCapture(StreamHandle stream, GraphHandle* graph) {
    const std::lock_guard lock(world().mutex);
    *graph = nullptr;
    const Result result = call("cuStreamEndCapture", Needs::sound, [&](World& w) {
        if (!stream->capture || stream->captured_by != std::this_thread::get_id())
            return misuse("the end of a capture that did not begin");
        if (stream->capture->invalid) return CAPTURE_INVALIDATED;
        *graph = std::exchange(stream->capture, nullptr);
        return w.lost;
    });
    if (stream->capture) {  // it ends in any case
        world().graphs.erase(stream->capture);
        delete std::exchange(stream->capture, nullptr);
    }
    return result;
}

Result cuGraphInstantiateWithFlags(GraphExecHandle* exec, GraphHandle graph, unsigned long long) {
    return call("cuGraphInstantiateWithFlags", Needs::sound, [&](World& w) {
        w.execs.insert(*exec = new GraphExecTag{graph->nodes});
        return SUCCESS;
    });
}

Result cuGraphLaunch(GraphExecHandle exec, StreamHandle stream) {
    return call("cuGraphLaunch", Needs::sound, [&](World& w) {
        if (!w.execs.contains(exec)) return misuse("a graph that is gone", INVALID_HANDLE);
        if (!w.streams.contains(stream)) return misuse("a graph on no stream", INVALID_HANDLE);
        stream->pending.insert(stream->pending.end(), exec->nodes.begin(), exec->nodes.end());
        return SUCCESS;
    });
}

Result cuGraphDestroy(GraphHandle graph) { return give_back("cuGraphDestroy", world().graphs, graph); }

Result cuGraphExecDestroy(GraphExecHandle exec) { return give_back("cuGraphExecDestroy", world().execs, exec); }

}  // extern "C"
