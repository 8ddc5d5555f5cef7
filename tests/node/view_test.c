/* Goal: a view lives exactly as long as somebody holds it, however publishing and reading race.
 * Method: counts by hand, then readers against a publisher; the sanitizers watch memory and order.
 */
#include "node/view_internal.h"
#include "raftgroup/base/alloc.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static struct node_view *filled(uint64_t revision)
{
    struct node_view *view = node__view_create();

    view->revision = revision;
    view->member_count = 1;
    view->members = fl_xcalloc(1, sizeof *view->members);
    view->members[0].name = fl_xstrdup("n1");
    view->members[0].peer_urls = fl_xstrdup("http://127.0.0.1:2380");
    view->members[0].client_urls = fl_xstrdup("");
    view->members[0].locality = fl_xstrdup("dc=a");
    view->group_count = 2;
    view->groups = fl_xcalloc(2, sizeof *view->groups);
    view->groups[0].end = fl_bytes(fl_xmemdup("m", 1), 1);
    view->groups[1].start = fl_bytes(fl_xmemdup("m", 1), 1);
    view->groups[1].group_id = revision;
    return view;
}

static void a_view_outlives_its_successor(void **state)
{
    struct node_view_slot slot;
    struct node_view *first;
    struct node_view *second;

    (void)state;
    node__view_slot_init(&slot);
    first = node__view_slot_acquire(&slot);
    assert_int_equal(first->group_count, 0); /* before the first publication: empty, not NULL */
    node_view_release(first);
    node__view_slot_publish(&slot, filled(1));
    first = node__view_slot_acquire(&slot);
    node__view_slot_publish(&slot, filled(2));
    second = node__view_slot_acquire(&slot);
    assert_int_equal(first->revision, 1);
    assert_string_equal(first->members[0].name, "n1");
    assert_int_equal(second->revision, 2);
    node_view_release(second);
    node__view_slot_close(&slot);
    assert_int_equal(first->groups[1].group_id, 1);
    node_view_release(first);
}

#define PUBLICATIONS 2000

static void *read_all(void *context)
{
    struct node_view_slot *slot = context;
    uint64_t last = 0;

    while (last < PUBLICATIONS) {
        struct node_view *view = node__view_slot_acquire(slot);

        if (view->revision < last ||
            (view->revision > 0 && view->groups[1].group_id != view->revision)) {
            node_view_release(view);
            return slot; /* anything but NULL: it went back, or is torn */
        }
        last = view->revision;
        node_view_release(view);
    }
    return NULL;
}

static void readers_never_see_half_a_view(void **state)
{
    struct node_view_slot slot;
    pthread_t readers[2];

    (void)state;
    node__view_slot_init(&slot);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(pthread_create(&readers[i], NULL, read_all, &slot), 0);
    }
    for (uint64_t i = 1; i <= PUBLICATIONS; i++) {
        node__view_slot_publish(&slot, filled(i));
    }
    for (int i = 0; i < 2; i++) {
        void *result = &slot;

        assert_int_equal(pthread_join(readers[i], &result), 0);
        assert_null(result);
    }
    node__view_slot_close(&slot);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_view_outlives_its_successor),
        cmocka_unit_test(readers_never_see_half_a_view),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
