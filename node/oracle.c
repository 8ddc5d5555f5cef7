/* The oracle of revisions, the node that asks it, and the floor of a range. See oracle.h. */
#include "node/oracle.h"

#include "raftgroup/base/alloc.h"
#include "raftgroup/base/assert.h"

#include <assert.h>

static_assert(NODE_ORACLE_ASK_MAX <= NODE_ORACLE_WINDOW / 2, "half a window must hold any ask");
static_assert(FL_PENDING_REQUESTS_MAX <= NODE_ORACLE_WAITERS_MAX, "every request may wait");

/* ---- oracle ---- */

/* One asking node. Its grants that await a confirm are kept as pairs, oldest first; when there are
 * more than fit, the newest pair stands for several: it confirms later than it could, never too
 * early. */
struct node_oracle_peer {
    struct fl_list ask_link;     /* in parked or reading */
    struct fl_list confirm_link; /* in unconfirmed or due */
    uint64_t node;
    uint32_t boot;
    bool witness;   /* the parked ask bears witness */
    uint32_t want;  /* revisions wanted by the parked ask */
    uint64_t asked; /* highest seq that arrived in `boot` */
    size_t pair_count;
    struct {
        uint64_t seq;
        uint64_t grant;
    } pairs[NODE_ORACLE_ROUNDS_MAX];
};

void node_oracle_init(struct node_oracle *oracle)
{
    *oracle = (struct node_oracle){.next_ctx = 1};
    fl_list_init(&oracle->parked);
    fl_list_init(&oracle->reading);
    fl_list_init(&oracle->unconfirmed);
    fl_list_init(&oracle->due);
}

void node_oracle_close(struct node_oracle *oracle)
{
    for (size_t i = 0; i < oracle->peer_count; i++) {
        free(oracle->peers[i]);
    }
    free(oracle->peers);
    node_oracle_init(oracle);
}

void node_oracle_lead(struct node_oracle *oracle,
                      uint64_t term,
                      uint64_t last_revision,
                      uint64_t mark,
                      uint64_t compact)
{
    fl_assert(term > oracle->term);
    node_oracle_step_down(oracle);
    oracle->leading = true;
    oracle->term = term;
    oracle->mark = mark;
    oracle->current = mark > last_revision ? mark : last_revision;
    oracle->start = oracle->current;
    oracle->compact = compact;
}

void node_oracle_step_down(struct node_oracle *oracle)
{
    oracle->leading = false;
    oracle->paused = false;
    oracle->mark_proposed = 0;
    oracle->grants = 0;
    oracle->rounds_begun = 0;
    oracle->confirmed = 0;
    memset(oracle->rounds, 0, sizeof(oracle->rounds));
    for (size_t i = 0; i < oracle->peer_count; i++) {
        fl_list_remove(&oracle->peers[i]->ask_link);
        fl_list_remove(&oracle->peers[i]->confirm_link);
        oracle->peers[i]->pair_count = 0;
    }
}

void node_oracle_pause(struct node_oracle *oracle, bool paused)
{
    oracle->paused = paused;
}

bool node_oracle_settled(const struct node_oracle *oracle)
{
    return fl_list_empty(&oracle->unconfirmed) && fl_list_empty(&oracle->due);
}

void node_oracle_compacted(struct node_oracle *oracle, uint64_t revision)
{
    if (revision > oracle->compact) {
        oracle->compact = revision;
    }
}

/* Clients are few, and each asks at most once per round trip: a scan is quick enough. */
static struct node_oracle_peer *peer_find_or_add(struct node_oracle *oracle, uint64_t node)
{
    struct node_oracle_peer *peer;

    for (size_t i = 0; i < oracle->peer_count; i++) {
        if (oracle->peers[i]->node == node) {
            return oracle->peers[i];
        }
    }
    if (oracle->peer_count == (size_t)NODE_ORACLE_CLIENTS_MAX) {
        return NULL;
    }
    peer = fl_xcalloc(1, sizeof(*peer));
    peer->node = node;
    fl_list_init(&peer->ask_link);
    fl_list_init(&peer->confirm_link);
    fl_grow(&oracle->peers, &oracle->peer_capacity, oracle->peer_count + 1, sizeof(void *));
    oracle->peers[oracle->peer_count++] = peer;
    return peer;
}

enum fl_status
node_oracle_asked(struct node_oracle *oracle, uint64_t from, const struct node_oracle_message *ask)
{
    struct node_oracle_peer *peer;

    fl_assert(ask->type == NODE_ORACLE_ASK && ask->count <= NODE_ORACLE_ASK_MAX);
    /* Somebody leads in a newer term: whatever is handed out here could not be confirmed. */
    if (!oracle->leading || ask->term > oracle->term) {
        return FL_NOT_LEADER;
    }
    peer = peer_find_or_add(oracle, from);
    if (peer == NULL) {
        return FL_TOO_MANY;
    }
    if (ask->boot < peer->boot || (ask->boot == peer->boot && ask->seq <= peer->asked)) {
        return FL_STALE; /* OR-3 */
    }
    if (ask->boot > peer->boot) {
        peer->pair_count = 0; /* nobody there waits for these confirms any more */
        fl_list_remove(&peer->confirm_link);
    }
    peer->boot = ask->boot;
    peer->asked = ask->seq;
    peer->want = ask->count;
    peer->witness = ask->witness && ask->term == oracle->term;
    fl_list_remove(&peer->ask_link);
    fl_list_push_back(ask->count != 0 ? &oracle->parked : &oracle->reading, &peer->ask_link);
    return FL_OK;
}

/* A grant that a round must confirm, and who is to be told. */
static void await_round(struct node_oracle *oracle, struct node_oracle_peer *peer)
{
    oracle->grants++;
    if (peer->pair_count < NODE_ORACLE_ROUNDS_MAX) {
        peer->pair_count++;
    }
    peer->pairs[peer->pair_count - 1].seq = peer->asked;
    peer->pairs[peer->pair_count - 1].grant = oracle->grants;
    if (peer->pair_count == 1) {
        fl_list_remove(&peer->confirm_link);
        fl_list_push_back(&oracle->unconfirmed, &peer->confirm_link);
    }
}

static void grant_next(struct node_oracle *oracle,
                       struct node_oracle_peer *peer,
                       uint32_t count,
                       bool quorum,
                       struct node_oracle_message *message)
{
    fl_list_remove(&peer->ask_link);
    *message = (struct node_oracle_message){
        .type = NODE_ORACLE_GRANT,
        .boot = peer->boot,
        .seq = peer->asked,
        .term = oracle->term,
        .count = count,
        .current = oracle->current,
        .start = oracle->start,
        .compact = oracle->compact,
        .witness = quorum && peer->witness,
    };
    oracle->current += count;
    fl_assert(count == 0 || oracle->current <= oracle->mark); /* OR-1 */
    if (!message->witness) {                                  /* OR-13 */
        await_round(oracle, peer);
    }
}

/* The next peer whose ask can be answered now, and with how many revisions. */
static struct node_oracle_peer *grant_candidate(const struct node_oracle *oracle, uint32_t *count)
{
    struct node_oracle_peer *peer;
    uint64_t room = oracle->mark > oracle->current ? oracle->mark - oracle->current : 0;

    *count = 0;
    if (oracle->paused) {
        return NULL;
    }
    if (!fl_list_empty(&oracle->reading)) {
        return fl_container_of(oracle->reading.next, struct node_oracle_peer, ask_link);
    }
    if (room == 0 || fl_list_empty(&oracle->parked)) {
        return NULL;
    }
    peer = fl_container_of(oracle->parked.next, struct node_oracle_peer, ask_link);
    *count = peer->want < room ? peer->want : (uint32_t)room;
    return peer;
}

/* Tells a peer in `due` up to which seq it is confirmed (OR-4). */
static void confirm_next(struct node_oracle *oracle,
                         struct node_oracle_peer *peer,
                         struct node_oracle_message *message)
{
    size_t done = 0;

    while (done < peer->pair_count && peer->pairs[done].grant <= oracle->confirmed) {
        done++;
    }
    fl_assert(done != 0);
    *message = (struct node_oracle_message){
        .type = NODE_ORACLE_CONFIRM,
        .boot = peer->boot,
        .seq = peer->pairs[done - 1].seq,
        .term = oracle->term,
    };
    peer->pair_count -= done;
    memmove(peer->pairs, peer->pairs + done, peer->pair_count * sizeof(peer->pairs[0]));
    fl_list_remove(&peer->confirm_link);
    if (peer->pair_count != 0) {
        fl_list_push_back(&oracle->unconfirmed, &peer->confirm_link);
    }
}

/* The next peer to be told of a confirm. */
static struct node_oracle_peer *confirm_candidate(const struct node_oracle *oracle)
{
    return fl_list_empty(&oracle->due)
               ? NULL
               : fl_container_of(oracle->due.next, struct node_oracle_peer, confirm_link);
}

bool node_oracle_next(const struct node_oracle *oracle, uint64_t *to)
{
    struct node_oracle_peer *peer;
    uint32_t count;

    if (!oracle->leading) {
        return false;
    }
    peer = grant_candidate(oracle, &count);
    if (peer == NULL) {
        peer = confirm_candidate(oracle);
    }
    if (peer == NULL) {
        return false;
    }
    *to = peer->node;
    return true;
}

void node_oracle_take(struct node_oracle *oracle, bool quorum, struct node_oracle_message *message)
{
    struct node_oracle_peer *peer;
    uint32_t count;

    fl_assert(oracle->leading);
    peer = grant_candidate(oracle, &count);
    if (peer != NULL) {
        grant_next(oracle, peer, count, quorum, message);
        return;
    }
    peer = confirm_candidate(oracle);
    fl_assert(peer != NULL);
    confirm_next(oracle, peer, message);
}

bool node_oracle_want_mark(struct node_oracle *oracle, uint64_t *mark)
{
    uint64_t half = oracle->current + NODE_ORACLE_WINDOW / 2;
    uint64_t whole = oracle->current + NODE_ORACLE_WINDOW;
    uint64_t target = whole < NODE_REVISION_MAX ? whole : NODE_REVISION_MAX;

    if (!oracle->leading || oracle->mark_proposed != 0 || oracle->mark >= half ||
        oracle->mark >= target) {
        return false;
    }
    oracle->mark_proposed = target;
    *mark = target;
    return true;
}

void node_oracle_marked(struct node_oracle *oracle, uint64_t mark)
{
    if (mark > oracle->mark) {
        oracle->mark = mark;
    }
    if (oracle->mark >= oracle->mark_proposed) {
        oracle->mark_proposed = 0;
    }
}

void node_oracle_mark_lost(struct node_oracle *oracle)
{
    oracle->mark_proposed = 0;
}

bool node_oracle_want_round(struct node_oracle *oracle, uint64_t *ctx)
{
    struct node_oracle_round *round = &oracle->rounds[oracle->next_ctx % NODE_ORACLE_ROUNDS_MAX];

    if (!oracle->leading || oracle->rounds_begun == oracle->grants || round->ctx != 0) {
        return false;
    }
    *ctx = oracle->next_ctx++;
    *round = (struct node_oracle_round){.ctx = *ctx, .grant = oracle->grants};
    oracle->rounds_begun = oracle->grants;
    return true;
}

/* Moves the peers that have something confirmed to the list of those to be told. */
static void confirm_up_to(struct node_oracle *oracle, uint64_t grant)
{
    if (grant <= oracle->confirmed) {
        return;
    }
    oracle->confirmed = grant;
    FL_LIST_FOREACH_SAFE (link, &oracle->unconfirmed) {
        struct node_oracle_peer *peer =
            fl_container_of(link, struct node_oracle_peer, confirm_link);

        if (peer->pairs[0].grant <= grant) {
            fl_list_remove(&peer->confirm_link);
            fl_list_push_back(&oracle->due, &peer->confirm_link);
        }
    }
}

void node_oracle_round_done(struct node_oracle *oracle, uint64_t ctx, bool ok)
{
    struct node_oracle_round *ended = &oracle->rounds[ctx % NODE_ORACLE_ROUNDS_MAX];

    if (ctx == 0 || ended->ctx != ctx) {
        return;
    }
    if (ok) {
        confirm_up_to(oracle, ended->grant);
    }
    *ended = (struct node_oracle_round){0};
    oracle->rounds_begun = oracle->confirmed;
    for (size_t i = 0; i < NODE_ORACLE_ROUNDS_MAX; i++) {
        if (oracle->rounds[i].grant > oracle->rounds_begun) {
            oracle->rounds_begun = oracle->rounds[i].grant;
        } else if (oracle->rounds[i].grant <= oracle->confirmed) {
            oracle->rounds[i] = (struct node_oracle_round){0}; /* a later one covered it */
        }
    }
}

/* ---- client ---- */

void node_oracle_client_init(struct node_oracle_client *client, uint32_t boot)
{
    *client = (struct node_oracle_client){.boot = boot, .next_seq = 1};
    fl_list_init(&client->waiting);
    fl_list_init(&client->asked);
    fl_list_init(&client->granted_new);
    fl_list_init(&client->unconfirmed);
    fl_list_init(&client->done);
    fl_list_init(&client->lost);
}

static struct node_oracle_waiter *waiter_of(struct fl_list *link)
{
    return fl_container_of(link, struct node_oracle_waiter, link);
}

static void list_move_front(struct fl_list *to, struct fl_list *from)
{
    fl_list_move_all(from, to);
    fl_list_move_all(to, from);
}

/* What was asked for is to be asked for again, before what came later. */
static void ask_give_up(struct node_oracle_client *client)
{
    client->flying = 0;
    list_move_front(&client->waiting, &client->asked);
}

/* Node `from` is not who should be asked; a pause keeps two who disagree from spinning. */
static void ask_rejected(struct node_oracle_client *client, uint64_t now, uint64_t from)
{
    ask_give_up(client);
    client->retry_at = now + NODE_ORACLE_RETRY_MS;
    if (client->oracle == from) {
        client->oracle = 0;
    }
}

/* A newer oracle: no confirm of the old one can be relied on any more. */
static void term_adopt(struct node_oracle_client *client, uint64_t term)
{
    struct fl_list again;

    fl_list_init(&again);
    FL_LIST_FOREACH_SAFE (link, &client->unconfirmed) {
        fl_list_remove(link);
        fl_list_push_back(waiter_of(link)->kind == NODE_ORACLE_READ ? &again : &client->lost, link);
    }
    /* Not reported, so certainly not proposed. */
    fl_list_move_all(&again, &client->granted_new);
    list_move_front(&client->waiting, &again);
    client->term = term;
    client->confirmed = 0;
    client->probe = false;
}

void node_oracle_client_set_oracle(struct node_oracle_client *client,
                                   uint64_t oracle,
                                   uint64_t term)
{
    fl_assert(oracle != 0);
    if (term > client->term) {
        ask_give_up(client);
        term_adopt(client, term);
        client->oracle = oracle;
        client->retry_at = 0;
    } else if (client->oracle == 0 && (term == client->term || term == 0)) {
        client->oracle = oracle;
    }
}

bool node_oracle_client_lacks_oracle(const struct node_oracle_client *client)
{
    return client->oracle == 0 && (!fl_list_empty(&client->waiting) || client->probe);
}

void node_oracle_client_peer_lost(struct node_oracle_client *client, uint64_t peer)
{
    if (client->flying != 0 && client->asked_of == peer) {
        ask_give_up(client);
    }
    if (client->oracle == peer) {
        client->oracle = 0;
    }
}

void node_oracle_client_seen(struct node_oracle_client *client, uint64_t revision)
{
    if (revision > client->seen) {
        client->seen = revision;
    }
}

enum fl_status node_oracle_client_submit(struct node_oracle_client *client,
                                         struct node_oracle_waiter *waiter)
{
    if (client->count == NODE_ORACLE_WAITERS_MAX) {
        return FL_TOO_MANY;
    }
    client->count++;
    waiter->revision = 0;
    fl_list_push_back(&client->waiting, &waiter->link);
    return FL_OK;
}

void node_oracle_client_cancel(struct node_oracle_client *client, struct node_oracle_waiter *waiter)
{
    fl_assert(!fl_list_empty(&waiter->link) && client->count != 0);
    fl_list_remove(&waiter->link);
    client->count--;
}

bool node_oracle_client_ask(struct node_oracle_client *client,
                            uint64_t now,
                            uint64_t witness,
                            uint64_t *to,
                            struct node_oracle_message *ask)
{
    uint32_t writes = 0;

    if (client->flying != 0 || client->oracle == 0 || now < client->retry_at ||
        (fl_list_empty(&client->waiting) && !client->probe)) {
        return false;
    }
    client->flying = client->next_seq++;
    client->retry_at = 0;
    while (!fl_list_empty(&client->waiting) && writes < NODE_ORACLE_ASK_MAX) {
        struct node_oracle_waiter *waiter = waiter_of(client->waiting.next);

        writes += waiter->kind == NODE_ORACLE_WRITE;
        waiter->seq = client->flying;
        fl_list_remove(&waiter->link);
        fl_list_push_back(&client->asked, &waiter->link);
    }
    client->asked_of = client->oracle;
    client->asked_at = now;
    client->asked_count = writes;
    client->asked_seen = client->seen;
    client->asked_witness = witness != 0 && witness == client->term;
    client->probe = false;
    *to = client->oracle;
    *ask = (struct node_oracle_message){
        .type = NODE_ORACLE_ASK,
        .boot = client->boot,
        .seq = client->flying,
        .term = client->term,
        .count = writes,
        .witness = client->asked_witness,
    };
    return true;
}

/* Keeps `unconfirmed` in order of seq although grants may be reported after a later answer. */
static void unconfirmed_add(struct node_oracle_client *client, struct node_oracle_waiter *waiter)
{
    struct fl_list *after = client->unconfirmed.prev;

    while (after != &client->unconfirmed && waiter_of(after)->seq > waiter->seq) {
        after = after->prev;
    }
    fl_list_push_back(after->next, &waiter->link);
}

/* Deals the revisions out in order of arrival; who gets none waits on, in front. */
static void grant_deal(struct node_oracle_client *client, const struct node_oracle_message *grant)
{
    uint32_t given = 0;

    FL_LIST_FOREACH_SAFE (link, &client->asked) {
        struct node_oracle_waiter *waiter = waiter_of(link);
        bool write = waiter->kind == NODE_ORACLE_WRITE;

        if (write && given == grant->count) {
            continue;
        }
        fl_list_remove(link);
        waiter->compact = grant->compact;
        waiter->start = grant->start;
        if (write) {
            waiter->revision = grant->current + ++given;
            fl_list_push_back(&client->granted_new, link);
        } else {
            waiter->revision = grant->current;
            unconfirmed_add(client, waiter);
        }
    }
    ask_give_up(client);
}

/* No newer oracle led when anything up to `seq` was asked for. */
static void confirm_up_to_seq(struct node_oracle_client *client, uint64_t now, uint64_t seq)
{
    client->confirmed = seq;
    client->progress_at = now;
    FL_LIST_FOREACH_SAFE (link, &client->unconfirmed) {
        if (waiter_of(link)->seq > seq) {
            break; /* they are in order of seq */
        }
        fl_list_remove(link);
        fl_list_push_back(&client->done, link);
    }
}

static enum fl_status grant_arrived(struct node_oracle_client *client,
                                    uint64_t now,
                                    uint64_t from,
                                    const struct node_oracle_message *grant)
{
    if (grant->count > client->asked_count ||
        (grant->witness && (!client->asked_witness || grant->term != client->term))) {
        ask_rejected(client, now, from);
        return FL_BAD_MESSAGE;
    }
    /* OR-6: an oracle that was deposed without knowing. */
    if (grant->term < client->term || grant->current < client->asked_seen) {
        ask_rejected(client, now, from);
        return FL_STALE;
    }
    if (grant->term > client->term) {
        term_adopt(client, grant->term);
        client->oracle = from;
    }
    client->progress_at = now;
    node_oracle_client_seen(client, grant->current + grant->count);
    grant_deal(client, grant);
    if (grant->witness) {
        confirm_up_to_seq(client, now, grant->seq); /* OR-13 */
    }
    return FL_OK;
}

static enum fl_status confirm_arrived(struct node_oracle_client *client,
                                      uint64_t now,
                                      const struct node_oracle_message *confirm)
{
    if (confirm->seq >= client->next_seq) {
        return FL_BAD_MESSAGE;
    }
    /* OR-5: only the term that granted can confirm; `unconfirmed` holds grants of `term` alone. */
    if (confirm->term != client->term || confirm->seq <= client->confirmed) {
        return FL_STALE;
    }
    confirm_up_to_seq(client, now, confirm->seq);
    return FL_OK;
}

enum fl_status node_oracle_client_answered(struct node_oracle_client *client,
                                           uint64_t now,
                                           uint64_t from,
                                           const struct node_oracle_message *message)
{
    bool expected = message->seq == client->flying && from == client->asked_of;

    if (message->type == NODE_ORACLE_ASK) {
        return FL_BAD_MESSAGE;
    }
    if (message->boot != client->boot) {
        return FL_STALE;
    }
    if (message->type == NODE_ORACLE_CONFIRM) {
        return confirm_arrived(client, now, message);
    }
    if (!expected) {
        return FL_STALE; /* given up: what it grants stays unused */
    }
    if (message->type == NODE_ORACLE_GRANT) {
        return grant_arrived(client, now, from, message);
    }
    ask_rejected(client, now, from);
    if (message->leader != 0) {
        node_oracle_client_set_oracle(client, message->leader, message->term);
    }
    return FL_OK;
}

enum node_oracle_event node_oracle_client_next(struct node_oracle_client *client,
                                               struct node_oracle_waiter **waiter)
{
    *waiter = NULL;
    if (!fl_list_empty(&client->granted_new)) {
        *waiter = waiter_of(client->granted_new.next);
        fl_list_remove(&(*waiter)->link);
        if ((*waiter)->seq <= client->confirmed) {
            fl_list_push_back(&client->done, &(*waiter)->link);
        } else {
            unconfirmed_add(client, *waiter);
        }
        return NODE_ORACLE_GRANTED;
    }
    if (!fl_list_empty(&client->done)) {
        *waiter = waiter_of(client->done.next);
        node_oracle_client_cancel(client, *waiter);
        return NODE_ORACLE_CONFIRMED;
    }
    if (!fl_list_empty(&client->lost)) {
        *waiter = waiter_of(client->lost.next);
        node_oracle_client_cancel(client, *waiter);
        return NODE_ORACLE_UNCONFIRMABLE;
    }
    return NODE_ORACLE_NOTHING;
}

uint64_t node_oracle_client_deadline(const struct node_oracle_client *client)
{
    if (client->flying != 0) {
        return client->asked_at + NODE_ORACLE_TIMEOUT_MS;
    }
    if (!fl_list_empty(&client->waiting) || client->probe) {
        return client->oracle != 0 ? client->retry_at : UINT64_MAX;
    }
    if (!fl_list_empty(&client->unconfirmed)) {
        return client->progress_at + NODE_ORACLE_TIMEOUT_MS;
    }
    return UINT64_MAX;
}

void node_oracle_client_tick(struct node_oracle_client *client, uint64_t now)
{
    if (client->flying != 0 && now >= client->asked_at + NODE_ORACLE_TIMEOUT_MS) {
        ask_give_up(client);
        client->oracle = 0; /* perhaps another leads by now; the caller knows whom to try */
    }
    if (client->flying == 0 && !fl_list_empty(&client->unconfirmed) &&
        now >= client->progress_at + NODE_ORACLE_TIMEOUT_MS) {
        client->probe = true;
        client->progress_at = now;
    }
}

/* ---- floor ---- */

void node_floor_init(struct node_floor *floor)
{
    *floor = (struct node_floor){0};
}

void node_floor_close(struct node_floor *floor)
{
    free(floor->entries);
    node_floor_init(floor);
}

void node_floor_lead(struct node_floor *floor, uint64_t last_revision, uint64_t read_revision)
{
    node_floor_step_down(floor);
    node_floor_raise(floor, last_revision);
    node_floor_raise(floor, read_revision);
}

void node_floor_step_down(struct node_floor *floor)
{
    floor->first = 0;
    floor->end = 0;
}

void node_floor_raise(struct node_floor *floor, uint64_t revision)
{
    if (revision > floor->floor) {
        floor->floor = revision;
    }
}

enum fl_status node_floor_admit(const struct node_floor *floor, uint64_t revision)
{
    return revision > floor->floor ? FL_OK : FL_STALE;
}

void node_floor_proposed(struct node_floor *floor, uint64_t revision, uint64_t index)
{
    struct node_floor_entry *entries = floor->entries;

    fl_assert(node_floor_admit(floor, revision) == FL_OK); /* OR-12 */
    fl_assert(floor->first == floor->end || index > entries[floor->end - 1].index);
    if (floor->end == floor->capacity && floor->first >= floor->end / 2) {
        /* Half of it is applied: the rest moves to the front, which pays for itself. */
        floor->end -= floor->first;
        if (floor->end != 0) {
            memmove(entries, entries + floor->first, floor->end * sizeof(entries[0]));
        }
        floor->first = 0;
    }
    fl_grow(&floor->entries, &floor->capacity, floor->end + 1, sizeof(entries[0]));
    floor->entries[floor->end++] = (struct node_floor_entry){revision, index};
    floor->floor = revision;
}

void node_floor_applied(struct node_floor *floor, uint64_t index)
{
    while (floor->first != floor->end && floor->entries[floor->first].index <= index) {
        floor->first++;
    }
}

uint64_t node_floor_wait_index(const struct node_floor *floor, uint64_t revision)
{
    size_t lo = floor->first;
    size_t hi = floor->end;

    while (lo < hi) { /* the first above `revision` */
        size_t mid = lo + (hi - lo) / 2;

        if (floor->entries[mid].revision <= revision) {
            lo = mid + 1;
        } else {
            hi = mid;
        }
    }
    return lo != floor->first ? floor->entries[lo - 1].index : 0;
}
