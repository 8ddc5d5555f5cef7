/* Goal: whoever can start etcd can start flotilla; a mistake gets one sentence that says what to
 * do. Method: argument vectors and environments into node_options_parse, fields and sentences out.
 */
#include "node/options.h"

#include "raftgroup/base/limits.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static char why[1024];

/* Parses NULL-terminated flags behind the program's name. */
static enum node_options_outcome
parse(struct node_options *o, char *const *environment, const char *const *flags)
{
    static char program[] = "flotillad";
    char *argv[64] = {program};
    int argc = 1;

    while (flags != NULL && *flags != NULL) {
        argv[argc++] = (char *)(uintptr_t)*flags++;
    }
    why[0] = '\0';
    return node_options_parse(o, argc, argv, environment, why, sizeof why);
}

#define FLAGS(...) ((const char *const[]){__VA_ARGS__, NULL})

static void assert_bad(const char *const *flags, const char *sentence_part)
{
    struct node_options o;
    enum node_options_outcome outcome = parse(&o, NULL, flags);

    if (outcome != NODE_OPTIONS_BAD || strstr(why, sentence_part) == NULL) {
        fail_msg("%s %s: outcome %d, '%s' lacks '%s'",
                 flags[0],
                 flags[1] == NULL ? "" : flags[1],
                 (int)outcome,
                 why,
                 sentence_part);
    }
    node_options_close(&o);
}

/* No flags at all: etcd's defaults, a cluster of one. */
static void defaults_are_a_cluster_of_one(void **state)
{
    struct node_options o;

    (void)state;
    assert_int_equal(parse(&o, NULL, NULL), NODE_OPTIONS_RUN);
    assert_string_equal(o.name, "default");
    assert_string_equal(o.data_dir, "default.flotilla");
    assert_int_equal(o.listen_client_urls.count, 1);
    assert_string_equal(o.listen_client_urls.urls[0].text, "http://localhost:2379");
    assert_string_equal(o.listen_client_urls.urls[0].host, "localhost");
    assert_int_equal(o.listen_client_urls.urls[0].port, 2379);
    assert_string_equal(o.advertise_client_urls.urls[0].text, "http://localhost:2379");
    assert_string_equal(o.listen_peer_urls.urls[0].text, "http://localhost:2380");
    assert_string_equal(o.advertise_peer_urls.urls[0].text, "http://localhost:2380");
    assert_string_equal(o.listen_metrics_urls.urls[0].text, "http://localhost:2381");
    assert_int_equal(o.seed_count, 1);
    assert_string_equal(o.seeds[0].name, "default");
    assert_string_equal(o.seeds[0].peer_urls.urls[0].text, "http://localhost:2380");
    assert_int_equal(o.cluster_state, NODE_CLUSTER_NEW);
    assert_string_equal(o.locality, "");
    assert_int_equal(o.initial_ranges, 1);
    assert_int_equal(o.split_key_count, 0);
    assert_int_equal(o.heartbeat_ms, FL_BEAT_MS);
    assert_int_equal(o.election_ms, FL_ELECTION_MS);
    assert_int_equal(o.log_level, FL_LOG_INFO);
    assert_true(o.raft_loops >= 1 && o.apply_threads >= 1 && o.read_threads >= 1);
    assert_true(o.client_threads >= 1);
    assert_int_equal(o.memtable_bytes, 64 * 1024 * 1024);
    assert_int_equal(o.flush_interval_ms, 30000);
    node_options_close(&o);
}

/* The command line of an etcd node, word for word. */
static void etcds_flags_are_understood(void **state)
{
    const char *const *flags = FLAGS("--name=n2",
                                     "--data-dir",
                                     "/tmp/n2",
                                     "--listen-client-urls",
                                     "http://10.0.0.2:2379,http://127.0.0.1:2379",
                                     "--advertise-client-urls",
                                     "http://n2.example:2379",
                                     "-listen-peer-urls",
                                     "http://10.0.0.2:2380",
                                     "--initial-advertise-peer-urls",
                                     "http://10.0.0.2:2380/",
                                     "--initial-cluster",
                                     "n3=http://10.0.0.3:2380,n2=http://10.0.0.2:2380,"
                                     "n1=http://10.0.0.1:2380",
                                     "--initial-cluster-token=t",
                                     "--initial-cluster-state=existing",
                                     "--heartbeat-interval=100",
                                     "--election-timeout=1s");
    struct node_options o;

    (void)state;
    assert_int_equal(parse(&o, NULL, flags), NODE_OPTIONS_RUN);
    assert_string_equal(o.name, "n2");
    assert_string_equal(o.data_dir, "/tmp/n2");
    assert_int_equal(o.listen_client_urls.count, 2);
    assert_string_equal(o.listen_client_urls.urls[1].text, "http://127.0.0.1:2379");
    assert_string_equal(o.advertise_client_urls.urls[0].text, "http://n2.example:2379");
    assert_int_equal(o.seed_count, 3);
    /* alike on every node, whatever the order of the flag */
    assert_string_equal(o.seeds[0].name, "n1");
    assert_string_equal(o.seeds[1].name, "n2");
    assert_string_equal(o.seeds[2].name, "n3");
    assert_string_equal(o.cluster_token, "t");
    assert_int_equal(o.cluster_state, NODE_CLUSTER_EXISTING);
    assert_int_equal(o.heartbeat_ms, 100);
    assert_int_equal(o.election_ms, 1000);
    node_options_close(&o);
}

/* A name given twice in --initial-cluster is one seed with two URLs, as in etcd. */
static void a_seed_may_have_several_urls(void **state)
{
    struct node_options o;

    (void)state;
    assert_int_equal(
        parse(&o,
              NULL,
              FLAGS("--name", "a", "--initial-cluster", "a=http://h:2,b=http://k:1,a=http://h:1")),
        NODE_OPTIONS_RUN);
    assert_int_equal(o.seed_count, 2);
    assert_string_equal(o.seeds[0].name, "a");
    assert_int_equal(o.seeds[0].peer_urls.count, 2);
    assert_string_equal(o.seeds[0].peer_urls.urls[0].text, "http://h:1");
    assert_int_equal(o.advertise_peer_urls.count, 2); /* taken from the seed */
    node_options_close(&o);
}

static void flags_win_over_the_environment(void **state)
{
    static char name[] = "FLOTILLA_NAME=from-env";
    static char token[] = "FLOTILLA_INITIAL_CLUSTER_TOKEN=env-token";
    static char foreign[] = "FLOTILLA_SERVICE_PORT=80"; /* Kubernetes sets such variables */
    static char other[] = "NAME=no";
    char *const environment[] = {name, token, foreign, other, NULL};
    struct node_options o;

    (void)state;
    assert_int_equal(parse(&o, environment, NULL), NODE_OPTIONS_RUN);
    assert_string_equal(o.name, "from-env");
    assert_string_equal(o.cluster_token, "env-token");
    node_options_close(&o);
    assert_int_equal(parse(&o, environment, FLAGS("--name", "flag")), NODE_OPTIONS_RUN);
    assert_string_equal(o.name, "flag");
    assert_string_equal(o.cluster_token, "env-token");
    assert_string_equal(o.data_dir, "flag.flotilla");
    node_options_close(&o);
}

static void help_and_version_come_first(void **state)
{
    struct node_options o;

    (void)state;
    assert_int_equal(parse(&o, NULL, FLAGS("--help")), NODE_OPTIONS_HELP);
    node_options_close(&o);
    assert_int_equal(parse(&o, NULL, FLAGS("-h")), NODE_OPTIONS_HELP);
    node_options_close(&o);
    assert_int_equal(parse(&o, NULL, FLAGS("--name", "x", "-version")), NODE_OPTIONS_VERSION);
    node_options_close(&o);
}

static void unknown_flags_get_a_suggestion(void **state)
{
    (void)state;
    assert_bad(FLAGS("--initial-clustr", "x"), "did you mean --initial-cluster?");
    assert_bad(FLAGS("--data-dri=x"), "did you mean --data-dir?");
    assert_bad(FLAGS("--listen-client-url", "x"), "did you mean --listen-client-urls?");
    assert_bad(FLAGS("--quux-of-another-kind"), "--help lists them all");
    assert_bad(FLAGS("--"), "unknown flag");
    assert_bad(FLAGS("--name"), "--name needs a value");
    assert_bad(FLAGS("put"), "unexpected argument 'put'");
}

static void urls_are_checked(void **state)
{
    (void)state;
    assert_bad(FLAGS("--listen-client-urls", "localhost:2379"), "does not start with http://");
    assert_bad(FLAGS("--listen-client-urls", "https://localhost:2379"), "TLS is not supported");
    assert_bad(FLAGS("--listen-client-urls", "http://localhost"), "it has no port");
    assert_bad(FLAGS("--listen-client-urls", "http://localhost:0"), "from 1 to 65535");
    assert_bad(FLAGS("--listen-client-urls", "http://localhost:65536"), "from 1 to 65535");
    assert_bad(FLAGS("--listen-client-urls", "http://localhost:2379/x"), "from 1 to 65535");
    assert_bad(FLAGS("--listen-client-urls", "http://a b:1"), "not a name or address");
    assert_bad(FLAGS("--listen-client-urls", "http://:1"), "not a name or address");
    assert_bad(FLAGS("--listen-client-urls", ""), "does not start with http://");
    assert_bad(FLAGS("--listen-client-urls", "http://127.0.0.1:1,http://127.0.0.1:1"), "twice");
    assert_bad(FLAGS("--listen-client-urls", "http://example.org:1"), "is a name; listen on");
    assert_bad(FLAGS("--listen-client-urls", "http://localhost:2380"), "two purposes");
    assert_bad(FLAGS("--listen-client-urls", "http://0.0.0.0:2379"), "--advertise-client-urls");
    assert_bad(FLAGS("--listen-peer-urls", "http://[::]:2380"), "--initial-advertise-peer-urls");
    assert_bad(FLAGS("--listen-client-urls",
                     "http://127.0.0.1:1,http://127.0.0.1:2,http://127.0.0.1:3,http://127.0.0.1:4,"
                     "http://127.0.0.1:5,http://127.0.0.1:6,http://127.0.0.1:7,http://127.0.0.1:8,"
                     "http://127.0.0.1:9"),
               "more than 8 URLs");
}

static void a_wildcard_is_fine_with_an_advertised_url(void **state)
{
    struct node_options o;

    (void)state;
    assert_int_equal(parse(&o,
                           NULL,
                           FLAGS("--listen-client-urls",
                                 "http://0.0.0.0:2379",
                                 "--advertise-client-urls",
                                 "http://[FE80::1]:2379")),
                     NODE_OPTIONS_RUN);
    assert_string_equal(o.advertise_client_urls.urls[0].text, "http://[fe80::1]:2379");
    assert_string_equal(o.advertise_client_urls.urls[0].host, "fe80::1");
    node_options_close(&o);
}

static void seeds_are_checked(void **state)
{
    (void)state;
    assert_bad(FLAGS("--initial-cluster", "n1=http://h:1"), "does not list this node, 'default'");
    assert_bad(FLAGS("--initial-cluster", "http://h:1"), "is not NAME=URL");
    assert_bad(FLAGS("--initial-cluster", "=http://h:1"), "is not NAME=URL");
    assert_bad(FLAGS("--initial-cluster", "default="), "");
    assert_bad(FLAGS("--initial-cluster", "default=http://h:1,b=http://h:1"), "given twice");
    assert_bad(FLAGS("--initial-cluster", "default=http://h:1,default=http://H:1/"), "given twice");
    assert_bad(FLAGS("--initial-cluster",
                     "default=http://h:1",
                     "--initial-advertise-peer-urls",
                     "http://h:2"),
               "make them equal");
    assert_bad(FLAGS("--initial-cluster-state", "old"), "neither 'new' nor 'existing'");
    assert_bad(FLAGS("--name", "a,b"), "not allowed in a name");
    assert_bad(FLAGS("--name", ""), "1 to 128 bytes");
    assert_bad(FLAGS("--name", "a/b"), "give --data-dir");
    assert_bad(FLAGS("--name", "a\nb"), "control characters");
    assert_bad(FLAGS("--name", "n\xc3\xa4me"), "--name: only ASCII characters");
    assert_bad(FLAGS("--initial-cluster", "default=http://h:1,\xc3\xa4=http://h:2"),
               "--initial-cluster: only ASCII characters");
    assert_bad(FLAGS("--initial-cluster", "default=http://h:1,a\nb=http://h:2"),
               "--initial-cluster: only ASCII characters");
}

static void too_many_seeds_are_refused(void **state)
{
    char text[2048] = "default=http://h:1";
    size_t len = strlen(text);

    (void)state;
    for (int i = 0; i < FL_REPLICAS_MAX; i++) {
        len += (size_t)snprintf(text + len, sizeof text - len, ",n%d=http://h:%d", i, i + 2);
    }
    assert_bad(FLAGS("--initial-cluster", text), "at most 15");
}

static void numbers_have_bounds_and_units(void **state)
{
    struct node_options o;

    (void)state;
    assert_int_equal(parse(&o,
                           NULL,
                           FLAGS("--memtable-size",
                                 "2GiB",
                                 "--flush-interval",
                                 "2m",
                                 "--cache-size",
                                 "1048576",
                                 "--disk-reserve",
                                 "0",
                                 "--initial-ranges",
                                 "64",
                                 "--client-threads",
                                 "3",
                                 "--log-keep-entries",
                                 "500",
                                 "--log-level",
                                 "warn")),
                     NODE_OPTIONS_RUN);
    assert_int_equal(o.memtable_bytes, 2ull << 30);
    assert_int_equal(o.flush_interval_ms, 120000);
    assert_int_equal(o.cache_bytes, 1 << 20);
    assert_int_equal(o.disk_reserve_bytes, 0);
    assert_int_equal(o.initial_ranges, 64);
    assert_int_equal(o.client_threads, 3);
    assert_int_equal(o.log_keep_entries, 500);
    assert_int_equal(o.log_level, FL_LOG_WARN);
    node_options_close(&o);
    assert_bad(FLAGS("--memtable-size", "3"), "is not a size such as 64MiB");
    assert_bad(FLAGS("--memtable-size", "5GiB"), "is not a size");
    assert_bad(FLAGS("--memtable-size", "99999999999999999999"), "is not a size");
    assert_bad(FLAGS("--memtable-size", "18446744073709551615TiB"), "is not a size");
    assert_bad(FLAGS("--memtable-size", "-1"), "is not a size");
    assert_bad(FLAGS("--memtable-size", "64 MiB"), "is not a size");
    assert_bad(FLAGS("--flush-interval", "30x"), "is not a time such as 200ms");
    assert_bad(FLAGS("--initial-ranges", "0"), "is not a number from 1 to");
    assert_bad(FLAGS("--initial-ranges", "5000"), "is not a number from 1 to");
    assert_bad(FLAGS("--raft-loops", "32"), "is not a number from 1 to 31");
    assert_bad(FLAGS("--log-level", "loud"), "is not debug, info, warn or error");
    assert_bad(FLAGS("--election-timeout", "500"), "at least five times");
}

static void split_keys_take_any_bytes(void **state)
{
    struct node_options o;

    (void)state;
    assert_int_equal(parse(&o, NULL, FLAGS("--initial-split-keys", "a,b\\,c,m\\\\,\\xfF\\x00")),
                     NODE_OPTIONS_RUN);
    assert_int_equal(o.split_key_count, 4);
    assert_int_equal(o.initial_ranges, 5);
    assert_memory_equal(o.split_keys[1].data, "b,c", 3);
    assert_int_equal(o.split_keys[1].len, 3);
    assert_memory_equal(o.split_keys[2].data, "m\\", 2);
    assert_memory_equal(o.split_keys[3].data, "\xff\x00", 2);
    assert_int_equal(o.split_keys[3].len, 2);
    node_options_close(&o);
    assert_bad(FLAGS("--initial-split-keys", "b,a"), "not above the key before it");
    assert_bad(FLAGS("--initial-split-keys", "a,a"), "not above the key before it");
    assert_bad(FLAGS("--initial-split-keys", "a,,b"), "a key is empty");
    assert_bad(FLAGS("--initial-split-keys", "a,"), "a key is empty");
    assert_bad(FLAGS("--initial-split-keys", "a\\q"), "is not an escape");
    assert_bad(FLAGS("--initial-split-keys", "a\\"), "is not an escape");
    assert_bad(FLAGS("--initial-split-keys", "a\\x1"), "is not an escape");
    assert_bad(FLAGS("--initial-split-keys", "a", "--initial-ranges", "2"), "not both");
}

/* Every row of the table shows up in --help with a default or a remark. */
static void help_lists_every_flag(void **state)
{
    static const char *const some[] = {"--name NAME",
                                       "--initial-cluster NAME=URL,..",
                                       "--locality dc=..,rack=..",
                                       "(default http://localhost:2379)",
                                       "--snapshot-rate SIZE"};
    static char text[16384];
    FILE *file = fmemopen(text, sizeof text - 1, "w");

    (void)state;
    assert_non_null(file);
    node_options_print_help(file);
    (void)fclose(file);
    for (size_t i = 0; i < sizeof some / sizeof some[0]; i++) {
        assert_non_null(strstr(text, some[i]));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(defaults_are_a_cluster_of_one),
        cmocka_unit_test(etcds_flags_are_understood),
        cmocka_unit_test(a_seed_may_have_several_urls),
        cmocka_unit_test(flags_win_over_the_environment),
        cmocka_unit_test(help_and_version_come_first),
        cmocka_unit_test(unknown_flags_get_a_suggestion),
        cmocka_unit_test(urls_are_checked),
        cmocka_unit_test(a_wildcard_is_fine_with_an_advertised_url),
        cmocka_unit_test(seeds_are_checked),
        cmocka_unit_test(too_many_seeds_are_refused),
        cmocka_unit_test(numbers_have_bounds_and_units),
        cmocka_unit_test(split_keys_take_any_bytes),
        cmocka_unit_test(help_lists_every_flag),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
