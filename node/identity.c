/* Opening the data directory, and judging those who claim to be other nodes. */
#include "node/identity_internal.h"

#include "node/why.h"
#include "raftgroup/base/alloc.h"
#include "raftgroup/base/assert.h"
#include "raftgroup/base/limits.h"
#include "raftgroup/base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <inttypes.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

/* --- ids -------------------------------------------------------------------------------------- */

/* One round of splitmix64's finaliser: a bijection that spreads every input bit over the word. */
static uint64_t mix(uint64_t z)
{
    z += UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

/* Hashes a text, length first, word by word. The ids come from the operator's own configuration, so
 * the hash needs to keep different texts apart, not to resist somebody who forges them: peers prove
 * who they are by certificate and store uuid. */
static uint64_t absorb(uint64_t h, struct fl_bytes text)
{
    h = mix(h ^ text.len);
    while (text.len != 0) {
        uint8_t word[8] = {0};
        size_t n = text.len < sizeof(word) ? text.len : sizeof(word);

        memcpy(word, text.data, n);
        h = mix(h ^ fl_get_u64le(word));
        text.data += n;
        text.len -= n;
    }
    return h;
}

static uint64_t never_zero(uint64_t id)
{
    return id != 0 ? id : 1;
}

uint64_t node_identity_node_id(const char *peer_urls, const char *token)
{
    uint64_t h = absorb(0x6e6f6465 /* "node" */, fl_bytes_of_string(peer_urls));

    return never_zero(absorb(h, fl_bytes_of_string(token)));
}

static int compare_seeds(const void *left, const void *right)
{
    const struct node_identity_seed *a = left;
    const struct node_identity_seed *b = right;

    return (a->node_id > b->node_id) - (a->node_id < b->node_id);
}

uint64_t
node_identity_cluster_id(const struct node_identity_seed *seeds, size_t count, const char *token)
{
    struct node_identity_seed *sorted = fl_xmemdup(seeds, count * sizeof(*seeds));
    uint64_t h = mix(0x636c7573 /* "clus" */ ^ count);

    for (size_t i = 0; i < count; i++) {
        sorted[i].node_id = node_identity_node_id(seeds[i].peer_urls, token);
    }
    qsort(sorted, count, sizeof(*sorted), compare_seeds);
    for (size_t i = 0; i < count; i++) {
        h = absorb(mix(h ^ sorted[i].node_id), fl_bytes_of_string(sorted[i].name));
        h = absorb(h, fl_bytes_of_string(sorted[i].peer_urls));
    }
    free(sorted);
    return never_zero(absorb(h, fl_bytes_of_string(token)));
}

/* --- directory -------------------------------------------------------------------------------- */

static char *join_path(const char *directory, const char *name)
{
    struct fl_writer path;

    fl_writer_init(&path);
    fl_write_raw(&path, fl_bytes_of_string(directory));
    fl_write_u8(&path, '/');
    fl_write_raw(&path, fl_bytes_of_string(name));
    fl_write_u8(&path, '\0');
    return (char *)path.data; /* the writer's memory is the caller's now */
}

/* Makes `path` and what is missing above it. */
static bool make_directories(const char *path)
{
    char *copy = fl_xstrdup(path);
    bool ok = true;

    for (char *slash = strchr(copy + 1, '/'); slash != NULL && ok; slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        ok = mkdir(copy, 0700) == 0 || errno == EEXIST;
        *slash = '/';
    }
    ok = ok && (mkdir(copy, 0700) == 0 || errno == EEXIST);
    free(copy);
    return ok;
}

static enum fl_status open_directory(struct node_identity *identity, char *why, size_t why_bytes)
{
    struct stat st;

    if (identity->directory[0] == '\0' || !make_directories(identity->directory)) {
        goto refuse;
    }
    identity->directory_fd = open(identity->directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (identity->directory_fd < 0 || fstat(identity->directory_fd, &st) != 0) {
        goto refuse;
    }
    /* Entries and keys of users are in there; nobody else may read them. */
    if ((st.st_mode & 077) != 0) {
        if (fchmod(identity->directory_fd, 0700) != 0) {
            goto refuse;
        }
        fl_log(FL_LOG_WARN, "data_dir_mode", "path=\"%s\" mode=0700", identity->directory);
    }
    return FL_OK;
refuse:
    return node_why(
        FL_IO,
        why,
        why_bytes,
        "cannot use the data directory %s (%s): give this user a directory it may write",
        identity->directory,
        strerror(errno));
}

/* Takes the lock, or tells who has it. */
static enum fl_status lock_directory(struct node_identity *identity, char *why, size_t why_bytes)
{
    char pid[24] = "";
    int len;

    identity->lock_fd =
        openat(identity->directory_fd, "LOCK", O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (identity->lock_fd < 0) {
        return node_why(FL_IO,
                        why,
                        why_bytes,
                        "cannot create %s/LOCK (%s): give this user a directory it may write",
                        identity->directory,
                        strerror(errno));
    }
    if (flock(identity->lock_fd, LOCK_EX | LOCK_NB) != 0) {
        ssize_t n = pread(identity->lock_fd, pid, sizeof(pid) - 1, 0);

        pid[n > 0 ? n : 0] = '\0';
        pid[strspn(pid, "0123456789")] = '\0';
        return node_why(
            FL_LOCKED,
            why,
            why_bytes,
            "the data directory %s is in use by process %s: stop that process, or start "
            "with another --data-dir",
            identity->directory,
            pid[0] != '\0' ? pid : "unknown");
    }
    len = snprintf(pid, sizeof(pid), "%ld\n", (long)getpid());
    if (ftruncate(identity->lock_fd, 0) != 0 ||
        pwrite(identity->lock_fd, pid, (size_t)len, 0) != len) {
        fl_log(FL_LOG_WARN, "lock_pid_failed", "error=\"%s\"", strerror(errno));
    }
    return FL_OK;
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *at)
{
    (void)st;
    (void)type;
    return at->level == 0 ? 0 : remove(path);
}

/* Makes the folders; whatever a crash left in DIR/snap is no snapshot. */
static enum fl_status make_folders(struct node_identity *identity, char *why, size_t why_bytes)
{
    const char *const paths[] = {identity->log_path, identity->data_path, identity->snap_path};

    for (size_t i = 0; i < sizeof(paths) / sizeof(paths[0]); i++) {
        if (mkdir(paths[i], 0700) != 0 && errno != EEXIST) {
            return node_why(FL_IO,
                            why,
                            why_bytes,
                            "cannot create %s (%s): give this user a directory it may write",
                            paths[i],
                            strerror(errno));
        }
    }
    if (nftw(identity->snap_path, remove_one, 8, FTW_DEPTH | FTW_PHYS) != 0) {
        return node_why(FL_IO,
                        why,
                        why_bytes,
                        "cannot empty %s (%s): remove what is in it",
                        identity->snap_path,
                        strerror(errno));
    }
    return FL_OK;
}

static void draw(void *bytes, size_t len)
{
    if (getrandom(bytes, len, 0) != (ssize_t)len) {
        fl_fatal("the system gives no random numbers: %s", strerror(errno));
    }
}

/* --- first start ------------------------------------------------------------------------------ */

static bool has_database(const struct node_identity *identity)
{
    char *log = join_path(identity->log_path, "CURRENT");
    char *data = join_path(identity->data_path, "CURRENT");
    bool has = access(log, F_OK) == 0 || access(data, F_OK) == 0;

    free(log);
    free(data);
    return has;
}

static enum fl_status
check_seeds(const struct node_identity_options *options, char *why, size_t why_bytes)
{
    bool found = options->join_cluster_id != 0;

    for (size_t i = 0; i < options->seed_count; i++) {
        found = found || strcmp(options->seeds[i].name, options->name) == 0;
        for (size_t k = 0; k < i; k++) {
            if (strcmp(options->seeds[i].name, options->seeds[k].name) == 0 ||
                strcmp(options->seeds[i].peer_urls, options->seeds[k].peer_urls) == 0) {
                return node_why(
                    FL_INVALID,
                    why,
                    why_bytes,
                    "the initial cluster gives '%s=%s' and '%s=%s': every node needs its "
                    "own name and its own peer URL",
                    options->seeds[k].name,
                    options->seeds[k].peer_urls,
                    options->seeds[i].name,
                    options->seeds[i].peer_urls);
            }
        }
    }
    return found ? FL_OK
                 : node_why(
                       FL_INVALID,
                       why,
                       why_bytes,
                       "the initial cluster does not hold '%s': add '%s=URL' to it, or start with "
                       "the name it gives this node",
                       options->name,
                       options->name);
}

static void copy_seeds(struct node__identity_row *row, const struct node_identity_options *options)
{
    row->seeds = fl_xcalloc(options->seed_count, sizeof(*row->seeds));
    row->seed_count = options->seed_count;
    for (size_t i = 0; i < options->seed_count; i++) {
        row->seeds[i] = (struct node_identity_seed){
            .name = fl_xstrdup(options->seeds[i].name),
            .peer_urls = fl_xstrdup(options->seeds[i].peer_urls),
            .node_id = node_identity_node_id(options->seeds[i].peer_urls, options->token),
        };
    }
    qsort(row->seeds, row->seed_count, sizeof(*row->seeds), compare_seeds);
}

static enum fl_status make_identity(struct node_identity *identity,
                                    const struct node_identity_options *options,
                                    char *why,
                                    size_t why_bytes)
{
    struct node__identity_row *row = &identity->shared.row;

    if (has_database(identity)) {
        return node_why(
            FL_REFUSED,
            why,
            why_bytes,
            "%s holds data but its STORE file is gone, so nobody knows whose: restore the "
            "file, or remove this node from the cluster and start with an empty directory",
            identity->directory);
    }
    FL_TRY(check_seeds(options, why, why_bytes));
    identity->is_new = true;
    row->joined = options->join_cluster_id != 0;
    row->name = fl_xstrdup(options->name);
    copy_seeds(row, options);
    row->cluster_id = options->join_cluster_id;
    row->node_id = options->join_node_id;
    if (!row->joined) {
        row->cluster_id =
            node_identity_cluster_id(options->seeds, options->seed_count, options->token);
        for (size_t i = 0; i < row->seed_count; i++) {
            if (strcmp(row->seeds[i].name, options->name) == 0) {
                row->node_id = row->seeds[i].node_id;
            }
        }
    }
    fl_assert(row->node_id != 0);
    draw(row->uuid, sizeof(row->uuid));
    return FL_OK;
}

/* --- later starts ----------------------------------------------------------------------------- */

/* What the operator asks for now against what the directory is. */
static enum fl_status compare_identity(const struct node_identity *identity,
                                       const struct node_identity_options *options,
                                       char *why,
                                       size_t why_bytes)
{
    const struct node__identity_row *row = &identity->shared.row;
    uint64_t cluster_id = options->join_cluster_id;

    if (cluster_id == 0 && options->seed_count != 0 && !row->joined) {
        cluster_id = node_identity_cluster_id(options->seeds, options->seed_count, options->token);
    }
    if (cluster_id != 0 && cluster_id != row->cluster_id) {
        return node_why(FL_FOREIGN_CLUSTER,
                        why,
                        why_bytes,
                        "%s belongs to cluster %" PRIx64
                        ", but the initial cluster and token given "
                        "now are those of cluster %" PRIx64
                        ": start with those of the first start, or "
                        "with another --data-dir",
                        identity->directory,
                        row->cluster_id,
                        cluster_id);
    }
    if (strcmp(row->name, options->name) != 0) {
        return node_why(
            FL_REFUSED,
            why,
            why_bytes,
            "%s belongs to node '%s', not to '%s': start with --name %s, or with another "
            "--data-dir",
            identity->directory,
            row->name,
            options->name,
            row->name);
    }
    if (options->join_node_id != 0 && options->join_node_id != row->node_id) {
        return node_why(FL_REFUSED,
                        why,
                        why_bytes,
                        "%s belongs to node %" PRIx64 ", not to node %" PRIx64
                        ": start with another --data-dir",
                        identity->directory,
                        row->node_id,
                        options->join_node_id);
    }
    return FL_OK;
}

static enum fl_status read_or_make(struct node_identity *identity,
                                   const struct node_identity_options *options,
                                   char *why,
                                   size_t why_bytes)
{
    enum fl_status status = node__identity_load(identity->directory_fd, &identity->shared.row);

    if (status == FL_OK) {
        return compare_identity(identity, options, why, why_bytes);
    }
    if (status == FL_NOT_FOUND) {
        return make_identity(identity, options, why, why_bytes);
    }
    if (status == FL_NEWER_FORMAT) {
        return node_why(status,
                        why,
                        why_bytes,
                        "%s was written by a newer version of flotilla: start that version",
                        identity->directory);
    }
    if (status == FL_CORRUPT) {
        return node_why(
            status,
            why,
            why_bytes,
            "%s/STORE is damaged (its checksum does not match): restore the file, or remove "
            "this node from the cluster and start with an empty directory",
            identity->directory);
    }
    return node_why(status,
                    why,
                    why_bytes,
                    "cannot read %s/STORE (%s): give this user the right to read it",
                    identity->directory,
                    strerror(errno));
}

static void count_start(struct node__identity_row *row)
{
    row->boot++;
    memmove(&row->starts[1], &row->starts[0], (NODE_STARTS_MAX - 1) * sizeof(row->starts[0]));
    draw(&row->starts[0], sizeof(row->starts[0]));
    row->starts[0] |= 1; /* 0 means none */
}

static enum fl_status open_identity(struct node_identity *identity,
                                    const struct node_identity_options *options,
                                    char *why,
                                    size_t why_bytes)
{
    FL_TRY(open_directory(identity, why, why_bytes));
    FL_TRY(lock_directory(identity, why, why_bytes));
    FL_TRY(read_or_make(identity, options, why, why_bytes));
    FL_TRY(make_folders(identity, why, why_bytes));
    count_start(&identity->shared.row);
    if (node__identity_save(identity->directory_fd, &identity->shared.row) != FL_OK) {
        return node_why(FL_IO,
                        why,
                        why_bytes,
                        "cannot write %s/STORE: %s",
                        identity->directory,
                        strerror(errno));
    }
    return FL_OK;
}

enum fl_status node_identity_open(struct node_identity **out,
                                  const struct node_identity_options *options,
                                  char *why,
                                  size_t why_bytes)
{
    struct node_identity *identity = fl_xcalloc(1, sizeof(*identity));
    enum fl_status status;

    *out = NULL;
    identity->directory_fd = -1;
    identity->lock_fd = -1;
    identity->directory = fl_xstrdup(options->data_dir);
    identity->log_path = join_path(options->data_dir, "log");
    identity->data_path = join_path(options->data_dir, "data");
    identity->snap_path = join_path(options->data_dir, "snap");
    (void)pthread_mutex_init(&identity->shared.lock, NULL);
    status = open_identity(identity, options, why, why_bytes);
    if (status != FL_OK) {
        node_identity_close(identity);
        return status;
    }
    *out = identity;
    return FL_OK;
}

void node_identity_close(struct node_identity *identity)
{
    if (identity == NULL) {
        return;
    }
    if (identity->lock_fd >= 0) {
        (void)close(identity->lock_fd);
    }
    if (identity->directory_fd >= 0) {
        (void)close(identity->directory_fd);
    }
    node__identity_row_close(&identity->shared.row);
    (void)pthread_mutex_destroy(&identity->shared.lock);
    free(identity->directory);
    free(identity->log_path);
    free(identity->data_path);
    free(identity->snap_path);
    free(identity);
}

/* --- getters ---------------------------------------------------------------------------------- */

uint64_t node_identity_cluster(const struct node_identity *identity)
{
    return identity->shared.row.cluster_id;
}

uint64_t node_identity_node(const struct node_identity *identity)
{
    return identity->shared.row.node_id;
}

const uint8_t *node_identity_uuid(const struct node_identity *identity)
{
    return identity->shared.row.uuid;
}

const char *node_identity_name(const struct node_identity *identity)
{
    return identity->shared.row.name;
}

uint32_t node_identity_boot(const struct node_identity *identity)
{
    return identity->shared.row.boot;
}

const uint64_t *node_identity_starts(const struct node_identity *identity)
{
    return identity->shared.row.starts;
}

bool node_identity_is_new(const struct node_identity *identity)
{
    return identity->is_new;
}

bool node_identity_has_joined(const struct node_identity *identity)
{
    return identity->shared.row.joined;
}

const struct node_identity_seed *node_identity_seeds(const struct node_identity *identity,
                                                     size_t *count)
{
    *count = identity->shared.row.seed_count;
    return identity->shared.row.seeds;
}

const char *node_identity_log_path(const struct node_identity *identity)
{
    return identity->log_path;
}

const char *node_identity_data_path(const struct node_identity *identity)
{
    return identity->data_path;
}

const char *node_identity_snap_path(const struct node_identity *identity)
{
    return identity->snap_path;
}

/* --- peers ------------------------------------------------------------------------------------ */

static struct node__identity_peer *find_peer(struct node__identity_row *row, uint64_t node_id)
{
    for (size_t i = 0; i < row->peer_count; i++) {
        if (row->peers[i].node_id == node_id) {
            return &row->peers[i];
        }
    }
    return NULL;
}

/* Refusals that need no memory of the peer. */
static enum fl_status check_claim(const struct node__identity_row *row,
                                  const struct node_hello *hello,
                                  const char *from,
                                  char *why,
                                  size_t why_bytes)
{
    if (hello->cluster_id != row->cluster_id) {
        return node_why(FL_FOREIGN_CLUSTER,
                        why,
                        why_bytes,
                        "node '%s' at %s belongs to cluster %" PRIx64 ", this is cluster %" PRIx64
                        ": check the initial cluster and token of both",
                        hello->name,
                        from,
                        hello->cluster_id,
                        row->cluster_id);
    }
    if (hello->node_id == row->node_id) {
        bool copied = memcmp(hello->uuid, row->uuid, NODE_UUID_BYTES) == 0;

        return node_why(
            FL_REFUSED,
            why,
            why_bytes,
            copied ? "node '%s' at %s runs on a copy of this node's data directory: stop it "
                     "and let it join with an empty one"
                   : "node '%s' at %s claims the id of this node: give it its own name and "
                     "peer URL",
            hello->name,
            from);
    }
    if (hello->node_id == 0 || hello->boot == 0) {
        return node_why(FL_REFUSED,
                        why,
                        why_bytes,
                        "node '%s' at %s has no id: let it join the cluster first",
                        hello->name,
                        from);
    }
    return FL_OK;
}

/* Refusals by what is known of the peer. */
static enum fl_status check_history(const struct node__identity_peer *peer,
                                    const struct node_hello *hello,
                                    const char *from,
                                    uint32_t live_boot,
                                    char *why,
                                    size_t why_bytes)
{
    if (memcmp(peer->uuid, hello->uuid, NODE_UUID_BYTES) != 0) {
        return node_why(
            FL_REFUSED,
            why,
            why_bytes,
            "node '%s' at %s comes with a new disk under its old id %" PRIx64
            ": what it promised is lost, so remove it from the cluster and add it as a new "
            "node",
            hello->name,
            from,
            hello->node_id);
    }
    if (live_boot != 0 && live_boot != hello->boot) {
        return node_why(FL_REFUSED,
                        why,
                        why_bytes,
                        "node '%s' is already running (start %" PRIu32 ", %s is start %" PRIu32
                        "): copied data directory? stop one of the two",
                        hello->name,
                        live_boot,
                        from,
                        hello->boot);
    }
    if (hello->boot < peer->boot) {
        return node_why(FL_STALE,
                        why,
                        why_bytes,
                        "node '%s' at %s runs on an old copy of its data directory (start %" PRIu32
                        ", start %" PRIu32
                        " was seen): remove it from the cluster and add it as a new "
                        "node",
                        hello->name,
                        from,
                        hello->boot,
                        peer->boot);
    }
    /* Every start of the directory that was seen is among those this one remembers, or long ago. */
    if (peer->start != 0 && hello->boot - peer->boot < NODE_STARTS_MAX &&
        hello->starts[hello->boot - peer->boot] != peer->start) {
        return node_why(FL_STALE,
                        why,
                        why_bytes,
                        "node '%s' at %s runs on a copy of its data directory that is not the one "
                        "whose start %" PRIu32
                        " was seen: start that one, or remove this node from the cluster and add "
                        "it as a new node",
                        hello->name,
                        from,
                        peer->boot);
    }
    return FL_OK;
}

/* Makes what was learnt durable; undoes it in memory when that fails. */
static enum fl_status remember_peer(struct node_identity *identity,
                                    struct node__identity_peer *peer,
                                    const struct node_hello *hello,
                                    char *why,
                                    size_t why_bytes)
{
    struct node__identity_row *row = &identity->shared.row;
    struct node__identity_peer before = {.boot = 0};

    if (peer == NULL) {
        if (row->peer_count == FL_NODES_MAX) {
            return node_why(FL_TOO_MANY,
                            why,
                            why_bytes,
                            "node '%s' is one more than the %d nodes a cluster may have",
                            hello->name,
                            FL_NODES_MAX);
        }
        fl_grow(&row->peers, &row->peer_capacity, row->peer_count + 1, sizeof(*row->peers));
        peer = &row->peers[row->peer_count++];
        peer->node_id = hello->node_id;
        memcpy(peer->uuid, hello->uuid, NODE_UUID_BYTES);
    } else {
        before = *peer;
    }
    peer->boot = hello->boot;
    peer->start = hello->starts[0];
    if (node__identity_save(identity->directory_fd, row) == FL_OK) {
        return FL_OK;
    }
    *peer = before;
    row->peer_count -= before.boot == 0 ? 1 : 0;
    return node_why(
        FL_IO, why, why_bytes, "cannot write %s/STORE: %s", identity->directory, strerror(errno));
}

enum fl_status node_identity_check_peer(struct node_identity *identity,
                                        const struct node_hello *hello,
                                        const char *from,
                                        uint32_t live_boot,
                                        char *why,
                                        size_t why_bytes)
{
    struct node__identity_row *row = &identity->shared.row;
    struct node__identity_peer *peer;
    enum fl_status status;

    FL_TRY(check_claim(row, hello, from, why, why_bytes));
    pthread_mutex_lock(&identity->shared.lock);
    peer = find_peer(row, hello->node_id);
    if (peer != NULL) {
        FL_TRY_OUT(check_history(peer, hello, from, live_boot, why, why_bytes));
    }
    status = peer == NULL || hello->boot > peer->boot
                 ? remember_peer(identity, peer, hello, why, why_bytes)
                 : FL_OK;
out:
    pthread_mutex_unlock(&identity->shared.lock);
    return status;
}

enum fl_status node_identity_forget_peer(struct node_identity *identity, uint64_t node_id)
{
    struct node__identity_row *row = &identity->shared.row;
    struct node__identity_peer *peer;
    enum fl_status status = FL_OK;

    pthread_mutex_lock(&identity->shared.lock);
    peer = find_peer(row, node_id);
    if (peer != NULL) {
        *peer = row->peers[--row->peer_count];
        status = node__identity_save(identity->directory_fd, row);
    }
    pthread_mutex_unlock(&identity->shared.lock);
    return status;
}
