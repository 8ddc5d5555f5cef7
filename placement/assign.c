/* First homes of replicas: greedy and deterministic. See assign.h. */
#include "placement/assign.h"

#include "raftgroup/base/alloc.h"
#include "raftgroup/base/assert.h"

/* A node as the choice sees it. Two nodes share a domain of a tier when they are equal in it and in
 * every wider tier: racks of two datacentres are different racks, whatever their names. */
struct candidate {
    uint64_t id;
    uint32_t domain[PLACEMENT_TIERS]; /* number of the domain, dense per tier */
    uint32_t replicas;
    uint32_t leaders;
    bool chosen; /* for the range in work */
};

static bool same_domain(const struct placement_node *a, const struct placement_node *b, size_t tier)
{
    for (size_t t = 0; t <= tier; t++) {
        if (strcmp(a->locality.tier[t], b->locality.tier[t]) != 0) {
            return false;
        }
    }
    return true;
}

/* The number of the domain of node `at`: the position of the first node that shares it. */
static uint32_t domain_of(const struct placement_node_list *nodes, size_t at, size_t tier)
{
    const struct placement_node *node = placement_node_list_at(nodes, at);

    for (size_t i = 0; i < at; i++) {
        if (same_domain(placement_node_list_at(nodes, i), node, tier)) {
            return (uint32_t)i;
        }
    }
    return (uint32_t)at;
}

/* Is `a` the better home for the next replica? `crowd` counts per tier and domain what the range
 * has there already. Ids are ascending in the array, so the first of equals wins. */
static bool candidate_better(const struct candidate *a,
                             const struct candidate *b,
                             uint32_t *const crowd[PLACEMENT_TIERS])
{
    for (size_t tier = 0; tier < PLACEMENT_TIERS; tier++) {
        uint32_t at_a = crowd[tier][a->domain[tier]];
        uint32_t at_b = crowd[tier][b->domain[tier]];

        if (at_a != at_b) {
            return at_a < at_b;
        }
    }
    return a->replicas < b->replicas;
}

static struct candidate *
choose_next(struct candidate *all, size_t count, uint32_t *const crowd[PLACEMENT_TIERS])
{
    struct candidate *best = NULL;

    for (size_t i = 0; i < count; i++) {
        if (!all[i].chosen && (best == NULL || candidate_better(&all[i], best, crowd))) {
            best = &all[i];
        }
    }
    fl_assert(best != NULL);
    return best;
}

/* Puts the member with the fewest leaders first; the others keep their order. */
static void prefer_leader(struct candidate *const *members, struct placement_assignment *out)
{
    size_t best = 0;

    fl_assert(out->count != 0);
    for (size_t i = 1; i < out->count; i++) {
        if (members[i]->leaders < members[best]->leaders) {
            best = i;
        }
    }
    members[best]->leaders++;
    out->node[0] = members[best]->id;
    for (size_t i = 0; i < out->count; i++) {
        if (i != best) {
            out->node[i + (i < best)] = members[i]->id;
        }
    }
}

static void assign_one(struct candidate *all,
                       size_t count,
                       uint32_t *const crowd[PLACEMENT_TIERS],
                       struct placement_assignment *out)
{
    struct candidate *members[PLACEMENT_REPLICAS_DEFAULT] = {NULL};

    out->count = count < PLACEMENT_REPLICAS_DEFAULT ? count : PLACEMENT_REPLICAS_DEFAULT;
    for (size_t i = 0; i < out->count; i++) {
        members[i] = choose_next(all, count, crowd);
        members[i]->chosen = true;
        members[i]->replicas++;
        for (size_t tier = 0; tier < PLACEMENT_TIERS; tier++) {
            crowd[tier][members[i]->domain[tier]]++;
        }
    }
    for (size_t i = 0; i < out->count; i++) {
        members[i]->chosen = false;
        for (size_t tier = 0; tier < PLACEMENT_TIERS; tier++) {
            crowd[tier][members[i]->domain[tier]] = 0;
        }
    }
    prefer_leader(members, out);
}

void placement_assign(const struct placement_node_list *nodes,
                      size_t ranges,
                      struct placement_assignment *out)
{
    size_t count = placement_node_list_count(nodes);
    struct candidate *all = fl_xcalloc(count, sizeof(*all));
    uint32_t *crowd[PLACEMENT_TIERS];

    fl_assert(count != 0);
    for (size_t tier = 0; tier < PLACEMENT_TIERS; tier++) {
        crowd[tier] = fl_xcalloc(count, sizeof(crowd[tier][0]));
        for (size_t i = 0; i < count; i++) {
            all[i].domain[tier] = domain_of(nodes, i, tier);
        }
    }
    for (size_t i = 0; i < count; i++) {
        all[i].id = placement_node_list_at(nodes, i)->id;
    }
    for (size_t i = 0; i < ranges; i++) {
        memset(&out[i], 0, sizeof(out[i]));
        assign_one(all, count, crowd, &out[i]);
    }
    for (size_t tier = 0; tier < PLACEMENT_TIERS; tier++) {
        free(crowd[tier]);
    }
    free(all);
}
