/* A search service: loads a frozen bank and answers text embeddings with videos, over TCP or a local socket.
 *
 *     vtr_service BANK [--port N | --socket PATH] [--threads N] [--connections N]
 *
 * It listens on 127.0.0.1 only. SIGTERM or SIGINT end it. All numbers are little-endian.
 *
 *     request   u32 magic "VTR1", u32 texts, u32 k, u32 candidates (0: all videos meet the full model)
 *               float32 sentence [texts, D], float32 words [texts, L, D]    (no words where L is 0)
 *     answer    u32 status (a vtr_status), u32 bytes that follow
 *       0       for each text: u32 found, then for each of them i64 id, float32 score, u32 length and the path
 *       else    a message in UTF-8
 *
 * A request of 0 texts asks for sizes: the answer is u32 D, u32 L, u64 videos. After a header that makes no sense
 * the connection is closed, as nobody knows where the next request begins.
 */
#define _GNU_SOURCE

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>
#include <vtr/vtr.h>

enum { MAX_TEXTS = 64, MAX_K = 1000, MAX_CONNECTIONS = 1024, IDLE_SECONDS = 60 };
static const uint32_t MAGIC = 0x31525456; /* "VTR1" */
static const char NO_MEMORY[] = "the service has not enough memory";

static vtr_bank* bank;
static vtr_pool* pool;
static vtr_model_options model;

static atomic_int stopping;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t closed = PTHREAD_COND_INITIALIZER;
static int connections[MAX_CONNECTIONS], limit = 64, count; /* sockets that are being served */

/* ---- bytes in and out -------------------------------------------------------------------------------- */

static int receive(int socket, void* to, size_t bytes) {
    for (char* at = to; bytes > 0;) {
        const ssize_t got = recv(socket, at, bytes, 0);
        if (got < 0 && errno == EINTR) continue;
        if (got <= 0) return 0; /* closed, idle for too long, or broken */
        at += got, bytes -= (size_t)got;
    }
    return 1;
}

static int send_all(int socket, const void* from, size_t bytes) {
    for (const char* at = from; bytes > 0;) {
        const ssize_t sent = send(socket, at, bytes, MSG_NOSIGNAL);
        if (sent < 0 && errno == EINTR) continue;
        if (sent <= 0) return 0;
        at += sent, bytes -= (size_t)sent;
    }
    return 1;
}

static int reply(int socket, vtr_status status, const void* bytes, size_t size) {
    const uint32_t header[2] = {(uint32_t)status, (uint32_t)size};
    return send_all(socket, header, sizeof header) && send_all(socket, bytes, size);
}

static int reply_error(int socket, vtr_status status, const char* message) {
    return reply(socket, status, message, strlen(message));
}

/* ---- requests ---------------------------------------------------------------------------------------- */

static int reply_sizes(int socket) {
    const struct {
        uint32_t dim, words;
        uint64_t videos;
    } sizes = {(uint32_t)model.dim, (uint32_t)model.words, vtr_bank_count(bank)};
    return reply(socket, VTR_OK, &sizes, sizeof sizes);
}

static void write_hits(FILE* out, uint32_t found, const int64_t* ids, const float* scores) {
    fwrite(&found, sizeof found, 1, out);
    for (uint32_t i = 0; i < found; ++i) {
        const char* path = vtr_bank_path(bank, ids[i]);
        const uint32_t length = path ? (uint32_t)strlen(path) : 0;
        fwrite(&ids[i], sizeof ids[i], 1, out);
        fwrite(&scores[i], sizeof scores[i], 1, out);
        fwrite(&length, sizeof length, 1, out);
        if (path) fwrite(path, 1, length, out);
    }
}

static int search(int socket, uint32_t texts, uint32_t k, uint32_t candidates, const float* embeddings) {
    int64_t* ids = malloc(sizeof *ids * texts * k);
    float* scores = malloc(sizeof *scores * texts * k);
    size_t found[MAX_TEXTS], size = 0;
    char* answer = NULL;
    FILE* out = open_memstream(&answer, &size);
    vtr_query* query = NULL;
    const vtr_search_options options = {.size = sizeof options, .k = k, .candidates = candidates, .pool = pool};
    const float* words = model.words > 0 ? embeddings + (size_t)texts * (size_t)model.dim : NULL;

    vtr_status status = ids && scores && out ? VTR_OK : VTR_OUT_OF_MEMORY;
    const char* message = NO_MEMORY;
    if (status == VTR_OK) {
        status = vtr_query_create(vtr_bank_model(bank), texts, embeddings, words, pool, &query);
        if (status == VTR_OK) status = vtr_search(bank, query, &options, ids, scores, found);
        if (status != VTR_OK) message = vtr_last_error();
    }
    for (uint32_t text = 0; status == VTR_OK && text < texts; ++text)
        write_hits(out, (uint32_t)found[text], ids + (size_t)text * k, scores + (size_t)text * k);
    if (out && fclose(out) != 0 && status == VTR_OK) status = VTR_OUT_OF_MEMORY;
    const int open = status == VTR_OK ? reply(socket, VTR_OK, answer, size) : reply_error(socket, status, message);
    vtr_query_free(query);
    free(answer);
    free(scores);
    free(ids);
    return open;
}

/* One request; returns whether the connection can take another. */
static int serve_request(int socket) {
    uint32_t header[4];
    if (!receive(socket, header, sizeof header)) return 0;
    const uint32_t texts = header[1], k = header[2], candidates = header[3];
    if (header[0] != MAGIC || texts > MAX_TEXTS) {
        reply_error(socket, VTR_INVALID_ARGUMENT, "expected \"VTR1\" and at most 64 texts");
        return 0;
    }
    if (texts == 0) return reply_sizes(socket);
    const size_t bytes = sizeof(float) * texts * (size_t)model.dim * (size_t)(1 + model.words);
    float* embeddings = malloc(bytes);
    if (!embeddings) {
        reply_error(socket, VTR_OUT_OF_MEMORY, NO_MEMORY);
        return 0;
    }
    int open = receive(socket, embeddings, bytes);
    if (open && (k < 1 || k > MAX_K))
        open = reply_error(socket, VTR_INVALID_ARGUMENT, "k: expected 1 to 1000");
    else if (open)
        open = search(socket, texts, k, candidates, embeddings);
    free(embeddings);
    return open;
}

/* ---- connections ------------------------------------------------------------------------------------- */

static void* serve(void* argument) {
    const int socket = (int)(intptr_t)argument;
    char rest[4096];
    while (!stopping && serve_request(socket)) continue;
    shutdown(socket, SHUT_WR); /* then read on: closing with bytes unread would take the last answer back */
    while (!stopping && recv(socket, rest, sizeof rest, 0) > 0) continue;
    pthread_mutex_lock(&lock);
    for (int i = 0; i < count; ++i)
        if (connections[i] == socket) connections[i] = connections[--count];
    close(
        socket); /* with the lock held, so that the end of the service does not shut down another of its number */
    pthread_cond_signal(&closed);
    pthread_mutex_unlock(&lock);
    return NULL;
}

static void start(int socket, const pthread_attr_t* detached) {
    const struct timeval idle = {.tv_sec = IDLE_SECONDS};
    const int yes = 1;
    setsockopt(socket, SOL_SOCKET, SO_RCVTIMEO, &idle, sizeof idle);
    setsockopt(socket, SOL_SOCKET, SO_SNDTIMEO, &idle, sizeof idle);
    setsockopt(socket, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
    pthread_t thread;
    pthread_mutex_lock(&lock);
    int started = 0;
    if (count < limit) {
        connections[count++] = socket;
        started = pthread_create(&thread, detached, serve, (void*)(intptr_t)socket) == 0;
        if (!started) --count;
    }
    pthread_mutex_unlock(&lock);
    if (started) return;
    reply_error(socket, VTR_UNSUPPORTED, "too many connections: try again later");
    close(socket);
}

static void stop(int signal) {
    (void)signal;
    stopping = 1;
}

/* Accept connections until a signal comes, which arrives only inside ppoll: none is missed. */
static void accept_all(int listener) {
    pthread_attr_t detached;
    pthread_attr_init(&detached);
    pthread_attr_setdetachstate(&detached, PTHREAD_CREATE_DETACHED);
    sigset_t usual;
    pthread_sigmask(SIG_BLOCK, NULL, &usual);
    sigdelset(&usual, SIGTERM);
    sigdelset(&usual, SIGINT);
    while (!stopping) {
        struct pollfd waiting = {.fd = listener, .events = POLLIN};
        if (ppoll(&waiting, 1, NULL, &usual) <= 0) continue;
        const int socket = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
        if (socket >= 0)
            start(socket, &detached);
        else if (errno == EMFILE || errno == ENFILE)
            usleep(10000); /* until a connection closes */
    }
    pthread_attr_destroy(&detached);
}

static void close_all(void) {
    pthread_mutex_lock(&lock);
    for (int i = 0; i < count; ++i) shutdown(connections[i], SHUT_RD); /* what is being answered still is */
    while (count > 0) pthread_cond_wait(&closed, &lock);
    pthread_mutex_unlock(&lock);
}

/* Remove the socket of a service that was killed: nobody listens on it. */
static void remove_if_left(const struct sockaddr_un* local) {
    struct stat status;
    const int probe = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (probe < 0) return;
    if (stat(local->sun_path, &status) == 0 && S_ISSOCK(status.st_mode) &&
        connect(probe, (const struct sockaddr*)local, sizeof *local) != 0 && errno == ECONNREFUSED)
        unlink(local->sun_path);
    close(probe);
}

/* The whole number that a text is; -1 if it is none. */
static long number_of(const char* text) {
    char* end;
    errno = 0;
    const long number = strtol(text, &end, 10);
    return errno == 0 && end != text && *end == 0 ? number : -1;
}

static int listen_on(const char* path, int port) {
    struct sockaddr_un local = {.sun_family = AF_UNIX};
    struct sockaddr_in loopback = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    loopback.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof loopback;
    const int listener = socket(path ? AF_UNIX : AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), yes = 1;
    if (listener < 0) return -1;
    if (path) strncpy(local.sun_path, path, sizeof local.sun_path - 1); /* main has checked its length */
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
    const struct sockaddr* address = path ? (struct sockaddr*)&local : (struct sockaddr*)&loopback;
    if (path) remove_if_left(&local);
    if (bind(listener, address, path ? sizeof local : size) != 0 || listen(listener, SOMAXCONN) != 0) return -1;
    if (path)
        printf("listening on %s\n", path);
    else if (getsockname(listener, (struct sockaddr*)&loopback, &size) == 0)
        printf("listening on 127.0.0.1:%d\n", ntohs(loopback.sin_port));
    fflush(stdout);
    return listener;
}

static int die(const char* message) {
    fprintf(stderr, "vtr_service: %s\n", message);
    return 1;
}

int main(int argc, char** argv) {
    const char* path = NULL;
    long port = 7070, threads = 0;
    for (int i = 3; i < argc; i += 2) {
        const long number = number_of(argv[i]);
        if (strcmp(argv[i - 1], "--socket") == 0)
            path = argv[i];
        else if (strcmp(argv[i - 1], "--port") == 0)
            port = number;
        else if (strcmp(argv[i - 1], "--threads") == 0)
            threads = number;
        else if (strcmp(argv[i - 1], "--connections") == 0)
            limit = number > MAX_CONNECTIONS ? 0 : (int)number;
        else
            argc = 0;
    }
    if (argc < 2 || argc % 2 != 0 || (path && strlen(path) > 100) || port < 0 || port > 65535 || threads < 0 ||
        limit < 1 || limit > MAX_CONNECTIONS)
        return die("usage: vtr_service BANK [--port N | --socket PATH] [--threads N] [--connections N]");

    sigset_t ends;
    sigemptyset(&ends);
    sigaddset(&ends, SIGTERM);
    sigaddset(&ends, SIGINT);
    pthread_sigmask(SIG_BLOCK, &ends, NULL); /* before any thread is made, which inherits it */
    sigaction(SIGTERM, &(struct sigaction){.sa_handler = stop}, NULL);
    sigaction(SIGINT, &(struct sigaction){.sa_handler = stop}, NULL);

    model.size = sizeof model;
    if (vtr_pool_create((size_t)threads, &pool) != VTR_OK) return die(vtr_last_error());
    const vtr_load_options options = {.size = sizeof options, .pool = pool};
    if (vtr_bank_load(argv[1], &options, &bank) != VTR_OK) return die(vtr_last_error());
    if (vtr_model_describe(vtr_bank_model(bank), &model) != VTR_OK) return die(vtr_last_error());
    fprintf(stderr, "%zu videos, %s, %s\n", vtr_bank_count(bank), model.scoring, model.isa);

    const int listener = listen_on(path, (int)port);
    if (listener < 0) return die(strerror(errno));
    accept_all(listener);
    close(listener);
    if (path) unlink(path);
    close_all();
    vtr_bank_free(bank);
    vtr_pool_free(pool);
    return 0;
}
