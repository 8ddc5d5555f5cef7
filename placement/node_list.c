/* The registry of nodes and the text form of localities. See node_list.h. */
#include "placement/node_list.h"

#include "raftgroup/base/alloc.h"
#include "raftgroup/base/assert.h"

#include <stdatomic.h>
#include <stdio.h>

static const char *const tier_names[PLACEMENT_TIERS] = {"dc", "rack", "host"};

/* ---- locality ---- */

static bool tier_byte_allowed(uint8_t byte)
{
    return (byte >= 'a' && byte <= 'z') || (byte >= 'A' && byte <= 'Z') ||
           (byte >= '0' && byte <= '9') || byte == '.' || byte == '_' || byte == '-';
}

/* What `text` holds may be anything: shows at most 32 bytes, the unprintable ones as '?'. */
static void text_show(struct fl_bytes text, char shown[36])
{
    size_t len = text.len < 32 ? text.len : 32;

    for (size_t i = 0; i < len; i++) {
        uint8_t byte = text.data[i];

        shown[i] = '?';
        if (byte >= 0x20 && byte < 0x7f) {
            shown[i] = (char)byte;
        }
    }
    memcpy(shown + len, text.len > 32 ? "..." : "", text.len > 32 ? 4 : 1);
}

static bool tier_set(struct placement_locality *locality,
                     size_t tier,
                     struct fl_bytes value,
                     char *why,
                     size_t why_bytes)
{
    const char *name = tier_names[tier];

    if (locality->tier[tier][0] != 0) {
        (void)snprintf(why, why_bytes, "locality: \"%s\" is given twice", name);
        return false;
    }
    if (value.len == 0) {
        (void)snprintf(why, why_bytes, "locality: \"%s\" has no value, write %s=NAME", name, name);
        return false;
    }
    if (value.len > PLACEMENT_TIER_BYTES_MAX) {
        (void)snprintf(why,
                       why_bytes,
                       "locality: the value of \"%s\" has %zu bytes, at most %d are allowed",
                       name,
                       value.len,
                       PLACEMENT_TIER_BYTES_MAX);
        return false;
    }
    for (size_t i = 0; i < value.len; i++) {
        if (!tier_byte_allowed(value.data[i])) {
            (void)snprintf(
                why,
                why_bytes,
                "locality: the value of \"%s\" may hold only letters, digits, '.', '_' and '-'",
                name);
            return false;
        }
    }
    memcpy(locality->tier[tier], value.data, value.len);
    return true;
}

static bool
part_parse(struct placement_locality *locality, struct fl_bytes part, char *why, size_t why_bytes)
{
    const uint8_t *equals = part.len != 0 ? memchr(part.data, '=', part.len) : NULL;
    struct fl_bytes name = part;
    char shown[36];

    if (part.len == 0) {
        (void)snprintf(why, why_bytes, "locality: a part is empty, write dc=..,rack=..,host=..");
        return false;
    }
    if (equals != NULL) {
        name.len = (size_t)(equals - part.data);
    }
    for (size_t tier = 0; tier < PLACEMENT_TIERS; tier++) {
        if (fl_bytes_equal(name, fl_bytes_of_string(tier_names[tier]))) {
            size_t skip = equals != NULL ? name.len + 1 : part.len;

            return tier_set(
                locality, tier, fl_bytes(part.data + skip, part.len - skip), why, why_bytes);
        }
    }
    text_show(name, shown);
    (void)snprintf(
        why, why_bytes, "locality: unknown tier \"%s\", known are dc, rack and host", shown);
    return false;
}

bool placement_locality_parse(struct placement_locality *locality,
                              struct fl_bytes text,
                              char *why,
                              size_t why_bytes)
{
    memset(locality, 0, sizeof(*locality));
    if (text.len == 0) {
        return true;
    }
    for (size_t at = 0; at <= text.len;) {
        const uint8_t *comma = at < text.len ? memchr(text.data + at, ',', text.len - at) : NULL;
        size_t len = comma != NULL ? (size_t)(comma - text.data) - at : text.len - at;

        if (!part_parse(locality, fl_bytes(text.data + at, len), why, why_bytes)) {
            memset(locality, 0, sizeof(*locality));
            return false;
        }
        at += len + 1;
    }
    return true;
}

void placement_locality_format(const struct placement_locality *locality,
                               char text[PLACEMENT_LOCALITY_TEXT_MAX])
{
    size_t len = 0;

    text[0] = 0;
    for (size_t tier = 0; tier < PLACEMENT_TIERS; tier++) {
        if (locality->tier[tier][0] != 0) {
            len += (size_t)snprintf(text + len,
                                    PLACEMENT_LOCALITY_TEXT_MAX - len,
                                    "%s%s=%s",
                                    len != 0 ? "," : "",
                                    tier_names[tier],
                                    locality->tier[tier]);
        }
    }
}

bool placement_locality_equal(const struct placement_locality *a,
                              const struct placement_locality *b)
{
    for (size_t tier = 0; tier < PLACEMENT_TIERS; tier++) {
        if (strcmp(a->tier[tier], b->tier[tier]) != 0) {
            return false;
        }
    }
    return true;
}

/* ---- uuid ---- */

bool placement_uuid_equal(const struct placement_uuid *a, const struct placement_uuid *b)
{
    return memcmp(a->bytes, b->bytes, sizeof(a->bytes)) == 0;
}

bool placement_uuid_is_zero(const struct placement_uuid *uuid)
{
    static const struct placement_uuid zero;

    return placement_uuid_equal(uuid, &zero);
}

/* ---- one node ---- */

#define NODE_FORMAT 1

static bool node_is_sound(const struct placement_node *node)
{
    bool known = node->state == PLACEMENT_NODE_SEED || node->state == PLACEMENT_NODE_STARTED;
    bool bounded = node->name.len <= PLACEMENT_NAME_BYTES_MAX && node->peer_urls.len != 0 &&
                   node->peer_urls.len <= PLACEMENT_URLS_BYTES_MAX &&
                   node->client_urls.len <= PLACEMENT_URLS_BYTES_MAX;

    return node->id != 0 && !placement_uuid_is_zero(&node->uuid) && known && bounded;
}

void placement_node_encode(const struct placement_node *node, struct fl_writer *w)
{
    fl_write_u8(w, NODE_FORMAT);
    fl_write_u64le(w, node->id);
    fl_write_raw(w, fl_bytes(node->uuid.bytes, sizeof(node->uuid.bytes)));
    fl_write_u8(w, (uint8_t)node->state);
    fl_write_bytes(w, node->name);
    fl_write_bytes(w, node->peer_urls);
    fl_write_bytes(w, node->client_urls);
    for (size_t tier = 0; tier < PLACEMENT_TIERS; tier++) {
        fl_write_bytes(w, fl_bytes_of_string(node->locality.tier[tier]));
    }
}

/* What placement_locality_parse lets through, or nothing. */
static bool tier_decode(char tier[PLACEMENT_TIER_BYTES_MAX + 1], struct fl_bytes value)
{
    if (value.len > PLACEMENT_TIER_BYTES_MAX) {
        return false;
    }
    for (size_t i = 0; i < value.len; i++) {
        if (!tier_byte_allowed(value.data[i])) {
            return false;
        }
        tier[i] = (char)value.data[i];
    }
    tier[value.len] = 0;
    return true;
}

enum fl_status placement_node_decode(struct placement_node *node, struct fl_reader *r)
{
    uint8_t format = fl_read_u8(r);
    struct fl_bytes uuid;
    bool sound = true;

    *node = (struct placement_node){0};
    if (!r->bad && format > NODE_FORMAT) {
        return FL_NEWER_FORMAT;
    }
    node->id = fl_read_u64le(r);
    uuid = fl_read_raw(r, sizeof(node->uuid.bytes));
    if (uuid.len != 0) {
        memcpy(node->uuid.bytes, uuid.data, uuid.len);
    }
    node->state = (enum placement_node_state)fl_read_u8(r);
    node->name = fl_read_bytes(r);
    node->peer_urls = fl_read_bytes(r);
    node->client_urls = fl_read_bytes(r);
    for (size_t tier = 0; tier < PLACEMENT_TIERS; tier++) {
        sound = tier_decode(node->locality.tier[tier], fl_read_bytes(r)) && sound;
    }
    return !r->bad && sound && format == NODE_FORMAT && node_is_sound(node) ? FL_OK
                                                                            : FL_BAD_MESSAGE;
}

/* ---- list ---- */

struct placement_node_list {
    atomic_uint refs;
    size_t count;
    uint8_t *strings;              /* what the slices of the nodes point into */
    struct placement_node nodes[]; /* ascending by id */
};

static int node_compare(const void *a, const void *b)
{
    uint64_t x = ((const struct placement_node *)a)->id;
    uint64_t y = ((const struct placement_node *)b)->id;

    return (x > y) - (x < y);
}

static enum fl_status nodes_check(const struct placement_node *nodes, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (!node_is_sound(&nodes[i]) || (i != 0 && nodes[i].id == nodes[i - 1].id)) {
            return FL_INVALID;
        }
        for (size_t j = 0; j < i; j++) {
            if (placement_uuid_equal(&nodes[i].uuid, &nodes[j].uuid)) {
                return FL_INVALID; /* a copied data directory */
            }
        }
    }
    return FL_OK;
}

static struct fl_bytes string_copy(uint8_t **next, struct fl_bytes from)
{
    struct fl_bytes copy = fl_bytes(*next, from.len);

    if (from.len != 0) {
        memcpy(*next, from.data, from.len);
    }
    *next += from.len;
    return copy;
}

enum fl_status placement_node_list_create(const struct placement_node *nodes,
                                          size_t count,
                                          struct placement_node_list **list)
{
    struct placement_node_list *made;
    enum fl_status status;
    size_t bytes = 0;
    uint8_t *next;

    *list = NULL;
    if (count > FL_NODES_MAX) {
        return FL_TOO_MANY;
    }
    made = fl_xcalloc(1, sizeof(*made) + count * sizeof(made->nodes[0]));
    if (count != 0) {
        memcpy(made->nodes, nodes, count * sizeof(made->nodes[0]));
        qsort(made->nodes, count, sizeof(made->nodes[0]), node_compare);
    }
    status = nodes_check(made->nodes, count);
    if (status != FL_OK) {
        free(made);
        return status;
    }
    atomic_init(&made->refs, 1);
    made->count = count;
    for (size_t i = 0; i < count; i++) {
        const struct placement_node *node = &made->nodes[i];

        bytes += node->name.len + node->peer_urls.len + node->client_urls.len;
    }
    made->strings = fl_xmalloc(bytes);
    next = made->strings;
    for (size_t i = 0; i < count; i++) {
        struct placement_node *node = &made->nodes[i];

        node->name = string_copy(&next, node->name);
        node->peer_urls = string_copy(&next, node->peer_urls);
        node->client_urls = string_copy(&next, node->client_urls);
    }
    *list = made;
    return FL_OK;
}

enum fl_status placement_node_list_with(const struct placement_node_list *old,
                                        const struct placement_node *node,
                                        struct placement_node_list **list)
{
    struct placement_node *nodes = fl_xcalloc(old->count + 1, sizeof(*nodes));
    size_t count = 0;
    enum fl_status status;

    for (size_t i = 0; i < old->count; i++) {
        if (old->nodes[i].id != node->id) {
            nodes[count++] = old->nodes[i];
        }
    }
    nodes[count++] = *node;
    status = placement_node_list_create(nodes, count, list);
    free(nodes);
    return status;
}

struct placement_node_list *placement_node_list_acquire(struct placement_node_list *list)
{
    /* Relaxed: whoever takes a reference has one already, or was handed it in order. */
    atomic_fetch_add_explicit(&list->refs, 1, memory_order_relaxed);
    return list;
}

void placement_node_list_release(struct placement_node_list *list)
{
    /* Acquire and release: every use by others comes before the free by the last. */
    if (list != NULL && atomic_fetch_sub_explicit(&list->refs, 1, memory_order_acq_rel) == 1) {
        free(list->strings);
        free(list);
    }
}

size_t placement_node_list_count(const struct placement_node_list *list)
{
    return list->count;
}

const struct placement_node *placement_node_list_at(const struct placement_node_list *list,
                                                    size_t at)
{
    fl_assert(at < list->count);
    return &list->nodes[at];
}

const struct placement_node *placement_node_list_find(const struct placement_node_list *list,
                                                      uint64_t id)
{
    size_t lo = 0;
    size_t hi = list->count;

    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;

        if (list->nodes[mid].id < id) {
            lo = mid + 1;
        } else {
            hi = mid;
        }
    }
    return lo < list->count && list->nodes[lo].id == id ? &list->nodes[lo] : NULL;
}
