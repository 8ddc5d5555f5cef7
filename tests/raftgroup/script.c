/* The driver language: see script.h. */
#include "tests/raftgroup/script.h"

#include "raftgroup/base/alloc.h"
#include "tests/raftgroup/shape.h"

#include <ctype.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { WORDS_MAX = 32 };

struct words {
    char buffer[512];
    char *at[WORDS_MAX];
    unsigned n;
    const char *bracket; /* from '[' on in the original line, or NULL */
};

static enum script_result malformed(struct script *s, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

static enum script_result malformed(struct script *s, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    (void)vsnprintf(s->why, sizeof(s->why), format, args);
    va_end(args);
    return SCRIPT_MALFORMED;
}

/* False: longer than any command is. */
static bool split(struct words *w, const char *line)
{
    char *save = NULL;

    w->n = 0;
    if (strlen(line) >= sizeof(w->buffer)) {
        return false;
    }
    w->bracket = strchr(line, '[');
    (void)snprintf(w->buffer, sizeof(w->buffer), "%s", line);
    if (w->bracket != NULL) {
        w->buffer[w->bracket - line] = '\0';
    }
    for (char *p = strtok_r(w->buffer, " \n", &save); p != NULL && w->n < WORDS_MAX;
         p = strtok_r(NULL, " \n", &save)) {
        w->at[w->n++] = p;
    }
    return w->n < WORDS_MAX;
}

static unsigned number(const struct words *w, unsigned i)
{
    return i < w->n ? (unsigned)strtoul(w->at[i], NULL, 10) : 0;
}

/* Value of key=value, or NULL. */
static const char *value(const struct words *w, const char *key)
{
    size_t len = strlen(key);

    for (unsigned i = 0; i < w->n; i++) {
        if (strncmp(w->at[i], key, len) == 0 && w->at[i][len] == '=') {
            return w->at[i] + len + 1;
        }
    }
    return NULL;
}

static bool is_true(const struct words *w, const char *key)
{
    const char *v = value(w, key);

    return v != NULL && strcmp(v, "true") == 0;
}

static bool add_members(struct raft_conf *conf, const char *list, uint8_t op)
{
    const char *p = list;

    while (p != NULL && *p != '\0' && *p != ')') {
        char *end;
        struct raft_changes change = {.transition = RAFT_CONF_SIMPLE, .n = 1};

        if (*p == '(' || *p == ',') {
            p++;
            continue;
        }
        change.op[0] = (struct raft_change){.op = op, .id = strtoull(p, &end, 10)};
        if (raft_conf_change(conf, &change) != FL_OK) {
            return false;
        }
        p = end;
    }
    return true;
}

/* What the keys of add-nodes may say; others are ignored. */
static const char *wrong_setting(const struct words *w)
{
    static const char boolean[] = "(true|false)";
    static const char amount[] = "(%n|inf)";
    static const struct {
        const char *key;
        const char *shape;
    } settings[] = {
        {"voters", "(%n|\\((%n(,%n)*)?\\))"},
        {"learners", "(%n|\\((%n(,%n)*)?\\))"},
        {"index", "[0-9]{1,5}"},
        {"prevote", boolean},
        {"checkquorum", boolean},
        {"async-storage-writes", boolean},
        {"step-down-on-removal", boolean},
        {"strict-conf", boolean},
        {"election", "[2-9]|[1-9][0-9]"},
        {"read-only", "(safe|lease-based)"},
        {"inflight", "[1-9][0-9]{0,5}"},
        {"inflight-bytes", amount},
        {"max-size-per-msg", amount},
        {"max-uncommitted-size", amount},
    };

    for (size_t i = 0; i < sizeof(settings) / sizeof(settings[0]); i++) {
        const char *v = value(w, settings[i].key);

        if (v != NULL && !shape_fits(settings[i].shape, v)) {
            return settings[i].key;
        }
    }
    return NULL;
}

static uint32_t limit(const struct words *w, const char *key, uint32_t otherwise)
{
    const char *v = value(w, key);

    return v == NULL || strcmp(v, "inf") == 0 ? otherwise : (uint32_t)strtoul(v, NULL, 10);
}

static void node_config(const struct script *s, const struct words *w, struct raft_config *config)
{
    const char *read_only = value(w, "read-only");

    sim_config(config);
    config->parity |= s->parity;
    config->pre_vote = is_true(w, "prevote");
    config->check_quorum = is_true(w, "checkquorum");
    config->step_down_on_removal = is_true(w, "step-down-on-removal");
    config->strict_conf = is_true(w, "strict-conf");
    config->election_ticks = limit(w, "election", config->election_ticks);
    config->lease_reads = read_only != NULL && strcmp(read_only, "lease-based") == 0;
    config->max_inflight = limit(w, "inflight", 256);
    config->max_inflight_bytes = limit(w, "inflight-bytes", 0);
    config->max_msg_bytes = limit(w, "max-size-per-msg", 1U << 20);
    config->max_uncommitted_bytes = limit(w, "max-uncommitted-size", 0);
    if (config->lease_reads && (config->parity & RAFT_PARITY_LEASE_ROLE) == 0) {
        config->boot_quarantine_ticks = config->election_ticks;
        config->check_quorum = true;
    }
}

static enum script_result add_nodes(struct script *s, const struct words *w)
{
    struct raft_config config;
    struct raft_conf conf = {.n = 0};
    const char *wrong = wrong_setting(w);

    if (wrong != NULL) {
        return malformed(s, "%s=%s", wrong, value(w, wrong));
    }
    if (s->cluster->nnodes + number(w, 1) > SIM_NODES_MAX) {
        return malformed(s, "more than %d nodes", SIM_NODES_MAX);
    }
    if (!add_members(&conf, value(w, "voters"), 'v') ||
        !add_members(&conf, value(w, "learners"), 'l')) {
        return malformed(s, "no configuration: these voters and learners");
    }
    node_config(s, w, &config);
    s->async = is_true(w, "async-storage-writes");
    for (unsigned i = 0; i < number(w, 1); i++) {
        (void)sim_add_node(s->cluster, &config, limit(w, "index", 0), &conf);
    }
    return SCRIPT_DONE;
}

static struct sim_node *node(const struct script *s, const struct words *w, unsigned i)
{
    unsigned id = number(w, i);

    return id >= 1 && id <= s->cluster->nnodes ? &s->cluster->node[id] : NULL;
}

static enum script_result propose_change(struct sim_node *n, const struct words *w)
{
    const char *transition = value(w, "transition");
    char text[SIM_TEXT_MAX];
    char ops[SIM_TEXT_MAX - 8];
    const char *kind = "C2.0";
    size_t len;

    if (is_true(w, "v1")) {
        kind = "C1";
    } else if (transition != NULL && strcmp(transition, "implicit") == 0) {
        kind = "C2.1";
    } else if (transition != NULL && strcmp(transition, "explicit") == 0) {
        kind = "C2.2";
    }
    (void)snprintf(ops, sizeof(ops), "%s", w->bracket != NULL ? w->bracket : "[]");
    len = strcspn(ops, "\n");
    ops[len] = '\0';
    for (char *p = ops; *p != '\0'; p++) {
        if (*p == ' ') {
            *p = ',';
        }
    }
    (void)snprintf(text, sizeof(text), "%s%s", kind, ops);
    return sim_propose(n, text) == FL_OK ? SCRIPT_DONE : SCRIPT_DROPPED;
}

/* ---- message-level commands ---- */

/* Position of the k-th packet on a link, or -1. */
static long on_link(const struct sim_cluster *c, unsigned from, unsigned to, unsigned k)
{
    long position = 0;

    for (const struct sim_packet *p = c->packets; p != NULL; p = p->next, position++) {
        if (p->m.from == from && p->m.to == to && k-- == 0) {
            return position;
        }
    }
    return -1;
}

static enum script_result on_packet(struct script *s, const struct words *w)
{
    struct sim_cluster *c = s->cluster;
    long at = on_link(c, number(w, 1), number(w, 2), number(w, 3));
    struct sim_packet *p;

    if (at < 0) {
        return SCRIPT_IDLE;
    }
    p = sim_unlink(c, (size_t)at);
    if (strcmp(w->at[0], "drop") == 0) {
        sim_packet_free(p);
    } else if (strcmp(w->at[0], "deliver") == 0) {
        sim_deliver(c, p);
    } else {
        sim_deliver(c, sim_packet_copy(p));
        p->next = c->packets;
        c->tail = c->packets == NULL ? &p->next : c->tail;
        c->packets = p;
        c->npackets++;
    }
    return SCRIPT_DONE;
}

static enum script_result drop_link(struct script *s, const struct words *w)
{
    long at = on_link(s->cluster, number(w, 1), number(w, 2), 0);

    if (at < 0) {
        return SCRIPT_IDLE;
    }
    for (; at >= 0; at = on_link(s->cluster, number(w, 1), number(w, 2), 0)) {
        sim_packet_free(sim_unlink(s->cluster, (size_t)at));
    }
    return SCRIPT_DONE;
}

static bool is_dropped_for(const char *list, raft_id id)
{
    const char *p = list;

    while (p != NULL && *p != '\0') {
        char *end;

        p += *p == '(' || *p == ',' || *p == ')';
        if (strtoull(p, &end, 10) == id && end != p) {
            return true;
        }
        p = end != p ? end : p + (*p != '\0');
    }
    return false;
}

static unsigned type_of(const char *name)
{
    static const struct {
        const char *name;
        unsigned type;
    } names[] = {{"MsgApp", RAFT_M_APP},
                 {"MsgAppResp", RAFT_M_APPR},
                 {"MsgHeartbeat", RAFT_M_HB},
                 {"MsgHeartbeatResp", RAFT_M_HBR},
                 {"MsgVote", RAFT_M_VOTE},
                 {"MsgVoteResp", RAFT_M_VOTER},
                 {"MsgPreVote", RAFT_M_PREVOTE},
                 {"MsgPreVoteResp", RAFT_M_PREVOTER},
                 {"MsgSnap", RAFT_M_SNAP},
                 {"MsgTimeoutNow", RAFT_M_TIMEOUTNOW},
                 {"MsgProp", SIM_M_PROP}};

    for (size_t i = 0; name != NULL && i < sizeof(names) / sizeof(names[0]); i++) {
        if (strcmp(name, names[i].name) == 0) {
            return names[i].type;
        }
    }
    return 0;
}

static enum script_result deliver_to(struct script *s, const struct words *w)
{
    struct sim_cluster *c = s->cluster;
    const char *drop = value(w, "drop");
    unsigned type = type_of(value(w, "type"));
    size_t left = c->npackets;
    size_t at = 0;
    enum script_result result = SCRIPT_IDLE;

    while (left-- > 0) {
        struct sim_packet *p = c->packets;
        bool mine = false;

        for (size_t i = 0; i < at; i++) {
            p = p->next;
        }
        for (unsigned i = 1; i < w->n; i++) {
            mine = mine || (strchr(w->at[i], '=') == NULL && number(w, i) == p->m.to);
        }
        if (is_dropped_for(drop, p->m.to) && (type == 0 || p->m.type == type)) {
            sim_packet_free(sim_unlink(c, at));
            result = SCRIPT_DONE;
        } else if (mine && (type == 0 || p->m.type == type)) {
            sim_deliver(c, sim_unlink(c, at));
            result = SCRIPT_DONE;
        } else {
            at++;
        }
    }
    return result;
}

static enum script_result process(struct script *s, const struct words *w)
{
    enum script_result result = SCRIPT_IDLE;

    for (unsigned i = 1; i < w->n; i++) {
        struct sim_node *n = node(s, w, i);
        bool did = false;

        if (n == NULL) {
            continue;
        }
        if (strcmp(w->at[0], "process-append-thread") == 0) {
            did = sim_persist_one(n);
        } else if (strcmp(w->at[0], "process-apply-thread") == 0) {
            did = sim_apply(n);
        } else {
            did = sim_take_ready(n);
            while (!s->async && sim_persist_one(n)) {
            }
            did = (!s->async && sim_apply(n)) || did;
        }
        result = did ? SCRIPT_DONE : result;
    }
    return result;
}

static enum script_result stabilize_some(struct script *s, const struct words *w)
{
    bool moved = true;

    if (w->n == 1) {
        sim_stabilize(s->cluster);
        return SCRIPT_DONE;
    }
    while (moved && s->cluster->violation[0] == '\0') {
        moved = false;
        for (unsigned i = 1; i < w->n; i++) {
            moved = (node(s, w, i) != NULL && sim_settle(node(s, w, i))) || moved;
        }
        moved = deliver_to(s, w) == SCRIPT_DONE || moved;
    }
    return SCRIPT_DONE;
}

static enum script_result links(struct script *s, const struct words *w)
{
    struct sim_cluster *c = s->cluster;
    unsigned a = number(w, 1);
    bool heal = strcmp(w->at[0], "heal") == 0;

    for (unsigned i = 0; i <= SIM_NODES_MAX; i++) {
        for (unsigned k = 0; k <= SIM_NODES_MAX; k++) {
            if (heal) {
                c->cut[i][k] = false;
            } else if (strcmp(w->at[0], "isolate") == 0) {
                c->cut[i][k] = c->cut[i][k] || i == a || k == a;
            } else { /* one way only */
                c->cut[i][k] = c->cut[i][k] || (i == a && k == number(w, 2));
            }
        }
    }
    sim_drop_cut(c);
    return SCRIPT_DONE;
}

static void tick_once(struct script *s, struct sim_node *n)
{
    if (s->held[n->id] > 0) {
        s->held[n->id]--;
    } else {
        sim_tick(n);
    }
}

static enum script_result tick(struct script *s, struct sim_node *n, unsigned ticks)
{
    for (unsigned i = 0; i < ticks; i++) {
        tick_once(s, n);
        (void)sim_take_ready(n); /* what a tick wants to say leaves before the next one */
    }
    return SCRIPT_DONE;
}

static enum script_result tick_all(struct script *s, unsigned times)
{
    for (unsigned k = 0; k < times; k++) {
        for (unsigned i = 1; i <= s->cluster->nnodes; i++) {
            tick_once(s, &s->cluster->node[i]);
            sim_stabilize(s->cluster);
        }
    }
    return SCRIPT_DONE;
}

static uint64_t context(const char *word)
{
    return word != NULL ? strtoull(word + strcspn(word, "0123456789"), NULL, 10) : 0;
}

static enum script_result transfer(struct script *s, const struct words *w)
{
    const char *from = value(w, "from");
    const char *to = value(w, "to");
    unsigned a = from != NULL ? (unsigned)strtoul(from, NULL, 10) : number(w, 1);
    unsigned b = to != NULL ? (unsigned)strtoul(to, NULL, 10) : number(w, 2);
    struct sim_node *n = &s->cluster->node[a];

    if (a == 0 || a > s->cluster->nnodes) {
        return malformed(s, "no node %u", a);
    }
    return raft_transfer(n->group, n->now, b) == FL_OK ? SCRIPT_DONE : SCRIPT_IDLE;
}

/* Commands on one node, which is the first word. */

static enum script_result cmd_tick(struct script *s, const struct words *w, struct sim_node *n)
{
    return tick(s, n, w->n > 2 ? number(w, 2) : 1);
}

static enum script_result
cmd_tick_election(struct script *s, const struct words *w, struct sim_node *n)
{
    (void)w;
    return tick(s, n, n->config.election_ticks);
}

static enum script_result
cmd_tick_heartbeat(struct script *s, const struct words *w, struct sim_node *n)
{
    (void)w;
    return tick(s, n, 1);
}

static enum script_result done(enum fl_status status)
{
    return status == FL_OK ? SCRIPT_DONE : SCRIPT_IDLE;
}

static enum script_result cmd_campaign(struct script *s, const struct words *w, struct sim_node *n)
{
    (void)s;
    (void)w;
    return done(raft_campaign(n->group, n->now));
}

static enum script_result cmd_propose(struct script *s, const struct words *w, struct sim_node *n)
{
    (void)s;
    return sim_propose(n, w->n > 2 ? w->at[2] : "") == FL_OK ? SCRIPT_DONE : SCRIPT_DROPPED;
}

static enum script_result
cmd_propose_change(struct script *s, const struct words *w, struct sim_node *n)
{
    (void)s;
    return propose_change(n, w);
}

static enum script_result
cmd_forget_leader(struct script *s, const struct words *w, struct sim_node *n)
{
    (void)s;
    (void)w;
    return done(raft_forget_leader(n->group, n->now));
}

static enum script_result
cmd_unreachable(struct script *s, const struct words *w, struct sim_node *n)
{
    (void)s;
    return done(raft_unreachable(n->group, n->now, number(w, 2)));
}

static enum script_result
cmd_report_snapshot(struct script *s, const struct words *w, struct sim_node *n)
{
    (void)s;
    bool ok = w->n > 3 && strcmp(w->at[3], "ok") == 0;

    return done(raft_snapshot_status(n->group, n->now, number(w, 2), ok));
}

static enum script_result
cmd_read_index(struct script *s, const struct words *w, struct sim_node *n)
{
    (void)s;
    return done(sim_read(n, context(w->n > 2 ? w->at[2] : NULL)));
}

static enum script_result cmd_compact(struct script *s, const struct words *w, struct sim_node *n)
{
    raft_index upto = n->machine.applied;

    if (w->n > 2) {
        upto = number(w, 2);
        if (upto > n->machine.applied) {
            return malformed(s, "node %u has not applied %d", number(w, 1), (int)upto);
        }
    }
    sim_save(n);
    sim_compact_to(n, upto);
    return SCRIPT_DONE;
}

/* Beyond the timeout of the core, which is not ours to change: the node's clock stands still for
 * the difference. */
static enum script_result
cmd_set_timeout(struct script *s, const struct words *w, struct sim_node *n)
{
    unsigned timeout = (unsigned)strtoul(value(w, "timeout"), NULL, 10);

    if (timeout < n->config.election_ticks) {
        return malformed(s, "a timeout below the election timeout");
    }
    s->held[n->id] = timeout - n->config.election_ticks;
    return SCRIPT_DONE;
}

static enum script_result cmd_restart(struct script *s, const struct words *w, struct sim_node *n)
{
    (void)s;
    sim_restart(n, w->n > 2 ? number(w, 2) : 0);
    return SCRIPT_DONE;
}

static const struct {
    const char *name;
    const char *shape; /* of what follows the node */
    enum script_result (*run)(struct script *s, const struct words *w, struct sim_node *n);
} on_node[] = {
    {"tick", "( [0-9]{1,4})?", cmd_tick},
    {"tick-election", "", cmd_tick_election},
    {"tick-heartbeat", "", cmd_tick_heartbeat},
    {"campaign", "", cmd_campaign},
    {"propose", " [^ ]{1,40}", cmd_propose},
    {"propose-conf-change",
     "( v1=(true|false))?( transition=(auto|implicit|explicit))? \\[%o\\]",
     cmd_propose_change},
    {"forget-leader", "", cmd_forget_leader},
    {"report-unreachable", " %n", cmd_unreachable},
    {"report-snapshot", " %n (ok|fail)", cmd_report_snapshot},
    {"read-index", " [a-z]*%n", cmd_read_index},
    {"compact", "( %n)?", cmd_compact},
    {"restart", "( [0-9]{1,2})?", cmd_restart},
    {"set-randomized-election-timeout", " timeout=[0-9]{1,4}", cmd_set_timeout},
};

static enum script_result cmd_tick_all(struct script *s, const struct words *w)
{
    return tick_all(s, number(w, 1));
}

static enum script_result cmd_send_snapshot(struct script *s, const struct words *w)
{
    struct sim_node *n = node(s, w, 1);

    if (n == NULL) {
        return malformed(s, "no node %u", number(w, 1));
    }
    sim_send_snapshot(n, number(w, 2));
    return SCRIPT_DONE;
}

static const struct {
    const char *name;
    const char *shape; /* of what follows the name */
    unsigned ids;      /* that many words are ids of nodes */
    enum script_result (*run)(struct script *s, const struct words *w);
} on_world[] = {
    {"add-nodes", " [0-9]{1,2}%k", 0, add_nodes},
    {"stabilize", "( %n)*", WORDS_MAX, stabilize_some},
    {"tick-all", " [0-9]{1,4}", 0, cmd_tick_all},
    {"isolate", " %n", 1, links},
    {"cut", " %n %n", 2, links},
    {"heal", "", 0, links},
    {"process-ready", "( %n)+", WORDS_MAX, process},
    {"process-append-thread", "( %n)+", WORDS_MAX, process},
    {"process-apply-thread", "( %n)+", WORDS_MAX, process},
    {"deliver-msgs",
     "( %n)*( type=Msg[A-Za-z]+)?( drop=(%n|\\(%n(,%n)*\\)))?( type=Msg[A-Za-z]+)?",
     WORDS_MAX,
     deliver_to},
    {"deliver", " %n %n %n", 2, on_packet},
    {"drop", " %n %n %n", 2, on_packet},
    {"dup", " %n %n %n", 2, on_packet},
    {"drop-link", " %n %n", 2, drop_link},
    {"send-snapshot", " %n %n", 2, cmd_send_snapshot},
    {"transfer-leadership", "( %n %n| from=%n to=%n)", 0, transfer},
};

static enum script_result
run_on_world(struct script *s, const struct words *w, const char *line, size_t command)
{
    size_t len = strlen(on_world[command].name);

    if (!shape_fits(on_world[command].shape, line + len)) {
        return malformed(s, "not how %s is used", on_world[command].name);
    }
    for (unsigned i = 1; i < w->n && i <= on_world[command].ids; i++) {
        if (strchr(w->at[i], '=') == NULL && (number(w, i) < 1 || number(w, i) > SIM_NODES_MAX)) {
            return malformed(s, "no node %s", w->at[i]);
        }
    }
    return on_world[command].run(s, w);
}

static enum script_result
run_on_node(struct script *s, const struct words *w, const char *line, size_t command)
{
    const char *rest = line + strlen(on_node[command].name);

    if (w->n < 2 || *rest != ' ' || !shape_fits("%n", w->at[1])) {
        return malformed(s, "%s needs a node", on_node[command].name);
    }
    if (node(s, w, 1) == NULL) {
        return malformed(s, "no node %s", w->at[1]);
    }
    if (!shape_fits(on_node[command].shape, rest + 1 + strlen(w->at[1]))) {
        return malformed(s, "not how %s is used", on_node[command].name);
    }
    return on_node[command].run(s, w, node(s, w, 1));
}

enum script_result script_run(struct script *s, const char *line)
{
    struct words w;

    if (!split(&w, line)) {
        return malformed(s, "the command is too long");
    }
    if (w.n == 0 || line[0] == ' ') {
        return malformed(s, "no command");
    }
    for (size_t i = 0; i < sizeof(on_world) / sizeof(on_world[0]); i++) {
        if (strcmp(w.at[0], on_world[i].name) == 0) {
            return run_on_world(s, &w, line, i);
        }
    }
    for (size_t i = 0; i < sizeof(on_node) / sizeof(on_node[0]); i++) {
        if (strcmp(w.at[0], on_node[i].name) == 0) {
            return run_on_node(s, &w, line, i);
        }
    }
    return malformed(s, "unknown command %.32s", w.at[0]);
}

/* ---- facts ---- */

static size_t
put_set(char *out, size_t size, const char *name, const struct raft_conf *conf, raft_mask mask)
{
    size_t len = (size_t)snprintf(out, size, "%s(", name);
    const char *comma = "";

    for (unsigned i = 0; i < conf->n; i++) {
        if ((mask >> i & 1) != 0) {
            len += (size_t)snprintf(out + len, size - len, "%s%d", comma, (int)conf->id[i]);
            comma = ",";
        }
    }
    return len + (size_t)snprintf(out + len, size - len, ")");
}

void script_state(const struct sim_node *n, char *out, size_t size)
{
    const struct raft_conf *conf = raft_conf_get(n->group);
    struct raft_status s;
    size_t len;

    raft_status_get(n->group, &s);
    len = (size_t)snprintf(out,
                           size,
                           "S %d %c t=%d v=%d l=%d c=%d a=%d f=%d n=%d xfer=%d conf=",
                           (int)n->id,
                           "FPCL"[s.role],
                           (int)s.term,
                           (int)s.vote,
                           (int)s.leader,
                           (int)s.commit,
                           (int)s.applied,
                           (int)s.first,
                           (int)s.last,
                           (int)s.transferee);
    len += put_set(out + len, size - len, "v", conf, conf->in);
    if (conf->out != 0) {
        len += put_set(out + len, size - len, "o", conf, conf->out);
    }
    if (conf->learners != 0) {
        len += put_set(out + len, size - len, "l", conf, conf->learners);
    }
    if (conf->next != 0) {
        len += put_set(out + len, size - len, "n", conf, conf->next);
    }
    (void)snprintf(out + len, size - len, "%s", conf->autoleave ? "auto" : "");
}

/* Payloads that are not plain words are recorded as hex digits. */
static size_t put_payload(char *out, size_t size, const struct sim_entry *e)
{
    size_t len = 0;
    bool plain = true;

    for (const char *p = e->text; *p != '\0'; p++) {
        plain = plain && (isalnum((unsigned char)*p) || *p == '_');
    }
    if (plain || e->type == RAFT_ENT_CONF) {
        return (size_t)snprintf(out, size, "%s%s", e->text[0] != '\0' ? "=" : "", e->text);
    }
    len = (size_t)snprintf(out, size, "=0x");
    for (const char *p = e->text; *p != '\0'; p++) {
        len += (size_t)snprintf(out + len, size - len, "%02x", (unsigned)(unsigned char)*p);
    }
    return len;
}

char *script_log(const struct sim_node *n)
{
    struct raft_status s;
    char *out;
    size_t len = 0;
    size_t size;

    raft_status_get(n->group, &s);
    size = (s.last - s.first + 2) * (2 * SIM_TEXT_MAX + 32);
    out = fl_xmalloc(size);
    out[0] = '\0';
    for (raft_index i = s.first; i <= s.last; i++) {
        /* What the core has just made itself reaches the cache with the next ready. */
        const struct sim_entry *e = i < n->cache.capacity ? &n->cache.at[i] : NULL;

        len += (size_t)snprintf(out + len,
                                size - len,
                                "%s%d/%d",
                                len > 0 ? " " : "",
                                (int)raft_term_at(n->group, i),
                                (int)i);
        if (e != NULL && e->term == raft_term_at(n->group, i)) {
            len += put_payload(out + len, size - len, e);
        }
    }
    return out;
}
