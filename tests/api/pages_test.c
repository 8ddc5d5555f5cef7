/* Goal: the HTTP pages say the truth about a view, in the forms that etcd's, Kubernetes' and
 * Prometheus' clients read, and /metrics stays small at any number of groups.
 * Method: views published by the node in memory, pages made without HTTP. */
#include "api/pages.h"
#include "tests/api/fake_node.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static struct node *node;

static int open_node(void **state)
{
    (void)state;
    return node_open(&node, NULL, NULL, 0) == FL_OK ? 0 : 1;
}

static int close_node(void **state)
{
    (void)state;
    node_close(node);
    return 0;
}

/* Arguments as "name=value" texts, or "name" alone; NULL-terminated. */
static const char *argument(void *context, const char *name)
{
    const char *const *list = context;
    size_t len = strlen(name);

    for (; *list != NULL; list++) {
        if (strncmp(*list, name, len) == 0 && ((*list)[len] == '=' || (*list)[len] == '\0')) {
            return (*list)[len] == '=' ? *list + len + 1 : "";
        }
    }
    return NULL;
}

#define ARGS(...) ((const char *[]){__VA_ARGS__ NULL})

/* The page as text; valid until the next call. */
static const char *page(const char *path, const char **arguments, unsigned status)
{
    static struct fl_writer kept;
    struct api_site site = {.node = node};
    struct api_page p;

    api_page_make(&site, path, argument, arguments, &p);
    fl_writer_close(&kept);
    kept = p.body;
    fl_write_u8(&kept, '\0');
    if (p.status != status) {
        fail_msg("%s: %u, not %u: %s", path, p.status, status, (const char *)kept.data);
    }
    return (const char *)kept.data;
}

static size_t lines_with(const char *text, const char *start)
{
    size_t n = 0;

    for (const char *line = text; *line != '\0';) {
        const char *end = strchr(line, '\n');

        n += strncmp(line, start, strlen(start)) == 0;
        line = end == NULL ? line + strlen(line) : end + 1;
    }
    return n;
}

static void health_in_etcds_form(void **state)
{
    (void)state;
    fake_node_publish(node, 3, 8, true);
    assert_string_equal(page("/health", ARGS(), 200), "{\"health\":\"true\",\"reason\":\"\"}\n");
    fake_node_publish(node, 3, 8, false);
    assert_string_equal(page("/health", ARGS(), 503),
                        "{\"health\":\"false\",\"reason\":\"the first range has no leader\"}\n");
}

static void readiness_in_kubernetes_form(void **state)
{
    const char *text;

    (void)state;
    fake_node_publish(node, 3, 8, true);
    assert_string_equal(page("/livez", ARGS(), 200), "ok\n");
    assert_string_equal(page("/readyz", ARGS(), 200), "ok\n");
    text = page("/readyz", ARGS("verbose", ), 200);
    assert_non_null(strstr(text, "[+]placement ok\n"));
    assert_non_null(strstr(text, "[+]ranges ok\n"));
    assert_string_equal(page("/readyz/leader", ARGS(), 200), "[+]leader ok\n");
    fake_node_publish(node, 3, 8, false);
    text = page("/readyz", ARGS(), 503);
    assert_non_null(strstr(text, "[-]leader failed: "));
    assert_non_null(strstr(text, "not ready\n"));
    (void)page("/readyz/leader", ARGS(), 503);
    (void)page("/readyz/serving", ARGS(), 200);
    assert_string_equal(page("/livez", ARGS(), 200), "ok\n"); /* alive all the same */
    (void)page("/readyz/nothing", ARGS(), 404);
    fake_node_publish(node, 3, 0, true); /* the placement group alone: no range known */
    (void)page("/readyz/placement", ARGS(), 503);
}

static void version_has_both_names(void **state)
{
    const char *text = page("/version", ARGS(), 200);

    (void)state;
    assert_non_null(strstr(text, "\"etcdserver\":\"" NODE_ETCD_VERSION "\""));
    assert_non_null(strstr(text, "\"etcdcluster\":\"3.5.0\""));
    assert_non_null(strstr(text, "\"flotilla\":\"" NODE_VERSION "\""));
}

static void other_paths_do_not_exist(void **state)
{
    (void)state;
    assert_non_null(strstr(page("/", ARGS(), 404), "/metrics"));
    (void)page("/metricsx", ARGS(), 404);
    (void)page("/metrics/", ARGS(), 404);
    (void)page("/livez/x", ARGS(), 404);
    (void)page("", ARGS(), 404);
}

static void metrics_count_roles_and_lag(void **state)
{
    const char *text;

    (void)state;
    fake_node_publish(node, 3, 8, true);
    text = page("/metrics", ARGS(), 200);
    assert_non_null(strstr(text, "\nflotilla_groups{role=\"leader\"} 3\n"));
    assert_non_null(strstr(text, "\nflotilla_groups{role=\"follower\"} 6\n"));
    assert_non_null(strstr(text, "\nflotilla_raft_log_lag_entries_worst{rank=\"1\"} 6\n"));
    assert_non_null(strstr(text, "\nflotilla_raft_log_lag_group_worst{rank=\"1\"} 7\n"));
    assert_non_null(strstr(text, "\nflotilla_raft_log_lag_entries_worst{rank=\"2\"} 3\n"));
    assert_non_null(strstr(text, "\nflotilla_raft_log_lag_group_worst{rank=\"3\"} 0\n"));
    assert_non_null(strstr(text, "\nflotilla_groups_lagging{more_than=\"0\"} 2\n"));
    assert_non_null(strstr(text, "\nflotilla_groups_without_leader 0\n"));
    assert_non_null(strstr(text, "\nflotilla_node_alive{node=\"n3\"} 1\n"));
    assert_non_null(strstr(text, "\nprocess_resident_memory_bytes "));
}

/* Ten thousand groups cost not one series more. */
static void metrics_do_not_grow_with_groups(void **state)
{
    size_t few;
    size_t many;

    (void)state;
    fake_node_publish(node, 3, 8, true);
    few = lines_with(page("/metrics", ARGS(), 200), "");
    fake_node_publish(node, 3, 10000, true);
    many = lines_with(page("/metrics", ARGS(), 200), "");
    assert_int_equal(many, few);
    assert_true(many < 1500);
    assert_non_null(strstr(page("/metrics", ARGS(), 200),
                           "\nflotilla_raft_log_lag_group_worst{rank=\"1\"} 10000\n"));
}

static void groups_are_listed_worst_first(void **state)
{
    const char *text;

    (void)state;
    fake_node_publish(node, 3, 8, true);
    text = page("/metrics/groups", ARGS("top=2", "by=lag", ), 200);
    assert_int_equal(lines_with(text, "flotilla_group_lag_entries{"), 2);
    assert_non_null(strstr(text,
                           "flotilla_group_lag_entries{group=\"7\"} 6\n"
                           "flotilla_group_lag_entries{group=\"4\"} 3\n"));
    assert_non_null(
        strstr(text, "flotilla_group_info{group=\"7\",role=\"leader\",leader=\"11\"} 1\n"));
    text = page("/metrics/groups", ARGS("by=log", ), 200); /* ten when it is not said */
    assert_int_equal(lines_with(text, "flotilla_group_term{"), 9);
    (void)page("/metrics/groups", ARGS("top=0", ), 400);
    (void)page("/metrics/groups", ARGS("top=1001", ), 400);
    (void)page("/metrics/groups", ARGS("top=x", ), 400);
    (void)page("/metrics/groups", ARGS("by=name", ), 400);
    fake_node_publish(node, 3, 10000, true);
    text = page("/metrics/groups", ARGS("top=1000", ), 200);
    assert_int_equal(lines_with(text, "flotilla_group_lag_entries{"), 1000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(health_in_etcds_form),
        cmocka_unit_test(readiness_in_kubernetes_form),
        cmocka_unit_test(version_has_both_names),
        cmocka_unit_test(other_paths_do_not_exist),
        cmocka_unit_test(metrics_count_roles_and_lag),
        cmocka_unit_test(metrics_do_not_grow_with_groups),
        cmocka_unit_test(groups_are_listed_worst_first),
    };
    int failed = cmocka_run_group_tests(tests, open_node, close_node);

    return failed;
}
