/* get, put, del: for convenience; etcdctl does the same and more. */
#include "api/ctl.h"
#include "api/proto/rpc.pb-c.h"
#include "api/text.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define VALUE_BYTES_MAX                                                                            \
    ((size_t)2 * 1024 * 1024) /* read from standard input; the server takes less */

static ProtobufCBinaryData bytes_to(struct fl_bytes bytes)
{
    return (ProtobufCBinaryData){.len = bytes.len, .data = (uint8_t *)(uintptr_t)bytes.data};
}

/* The first key behind every key that starts with `prefix`, in `end`: the last byte that can grow
 * grows, what follows is dropped; "\0" when there is none. */
static void prefix_end(struct fl_bytes prefix, struct fl_writer *end)
{
    fl_write_raw(end, prefix);
    while (end->len > 0 && end->data[end->len - 1] == 0xff) {
        end->len--;
    }
    if (end->len > 0) {
        end->data[end->len - 1]++;
    } else {
        fl_write_u8(end, 0);
    }
}

/* What KEY [END] and --prefix say together. An empty prefix means every key. */
static void interval(const char *const *words,
                     size_t count,
                     bool prefix,
                     ProtobufCBinaryData *key,
                     ProtobufCBinaryData *range_end,
                     struct fl_writer *memory)
{
    struct fl_bytes first = fl_bytes_of_string(words[0]);

    if (prefix) {
        prefix_end(first, memory);
        *range_end = bytes_to(fl_writer_bytes(memory));
        first = first.len == 0 ? fl_bytes("\0", 1) : first;
    } else if (count > 1) {
        *range_end = bytes_to(fl_bytes_of_string(words[1]));
    }
    *key = bytes_to(first);
}

static void write_kv(struct fl_writer *w, const Mvccpb__KeyValue *kv)
{
    api_text(w, "{\"key\":\"");
    api_text_base64(w, fl_bytes(kv->key.data, kv->key.len));
    api_text(w,
             "\",\"create_revision\":%" PRId64 ",\"mod_revision\":%" PRId64 ",\"version\":%" PRId64
             ",\"value\":\"",
             kv->create_revision,
             kv->mod_revision,
             kv->version);
    api_text_base64(w, fl_bytes(kv->value.data, kv->value.len));
    api_text(w, "\"}");
}

static void write_range(struct fl_writer *w,
                        const Etcdserverpb__RangeResponse *reply,
                        bool json,
                        bool keys_only)
{
    if (json) {
        api_text(w,
                 "{\"revision\":%" PRId64 ",\"count\":%" PRId64 ",\"more\":%s,\"kvs\":[",
                 reply->header == NULL ? 0 : reply->header->revision,
                 reply->count,
                 reply->more ? "true" : "false");
    }
    for (size_t i = 0; i < reply->n_kvs; i++) {
        const Mvccpb__KeyValue *kv = reply->kvs[i];

        if (json) {
            api_text(w, i == 0 ? "" : ",");
            write_kv(w, kv);
            continue;
        }
        fl_write_raw(w, fl_bytes(kv->key.data, kv->key.len));
        fl_write_u8(w, '\n');
        if (!keys_only) {
            fl_write_raw(w, fl_bytes(kv->value.data, kv->value.len));
            fl_write_u8(w, '\n');
        }
    }
    if (json) {
        api_text(w, "]}\n");
    }
}

static int get_run(struct api_ctl *ctl, int argc, char **argv)
{
    Etcdserverpb__RangeRequest request = ETCDSERVERPB__RANGE_REQUEST__INIT;
    const Etcdserverpb__RangeResponse *reply;
    bool prefix = false;
    bool keys_only = false;
    bool serializable = false;
    uint64_t limit = 0;
    uint64_t revision = 0;
    const struct api_flag flags[] = {
        {.name = "prefix", .on = &prefix},
        {.name = "keys-only", .on = &keys_only},
        {.name = "serializable", .letter = 's', .on = &serializable},
        {.name = "limit", .number = &limit, .max = INT64_MAX},
        {.name = "rev", .number = &revision, .max = INT64_MAX},
    };
    struct api_words words = {.argc = argc, .argv = argv};
    struct fl_writer memory;
    struct fl_writer out;

    if (!api_ctl_parse(ctl, &api_ctl_get, flags, 5, &words)) {
        return API_CTL_USAGE;
    }
    if (words.count < 1 || words.count > 2 || (prefix && words.count > 1)) {
        return api_ctl_misuse(&api_ctl_get, "give KEY, or KEY and END, or --prefix and PREFIX");
    }
    if (!api_ctl_connect(ctl)) {
        return API_CTL_USAGE;
    }
    fl_writer_init(&memory);
    interval(words.list, words.count, prefix, &request.key, &request.range_end, &memory);
    request.limit = (int64_t)limit;
    request.revision = (int64_t)revision;
    request.keys_only = keys_only;
    request.serializable = serializable;
    reply = api_ctl_call(ctl,
                         "/etcdserverpb.KV/Range",
                         &request.base,
                         &etcdserverpb__range_response__descriptor,
                         true);
    fl_writer_close(&memory);
    if (reply == NULL) {
        return API_CTL_FAILED;
    }
    fl_writer_init(&out);
    write_range(&out, reply, ctl->json, keys_only);
    api_ctl_print(&out);
    return API_CTL_OK;
}

/* Reads all of standard input, up to a little more than a server takes. */
static void read_input(struct fl_writer *w)
{
    char piece[4096];
    size_t n;

    while (w->len < VALUE_BYTES_MAX && (n = fread(piece, 1, sizeof piece, stdin)) > 0) {
        fl_write_raw(w, fl_bytes(piece, n));
    }
}

static int put_run(struct api_ctl *ctl, int argc, char **argv)
{
    Etcdserverpb__PutRequest request = ETCDSERVERPB__PUT_REQUEST__INIT;
    const Etcdserverpb__PutResponse *reply;
    struct api_words words = {.argc = argc, .argv = argv};
    struct fl_writer input;
    int64_t revision;

    if (!api_ctl_parse(ctl, &api_ctl_put, NULL, 0, &words)) {
        return API_CTL_USAGE;
    }
    if (words.count != 2) {
        return api_ctl_misuse(&api_ctl_put, "give KEY and VALUE; VALUE - reads standard input");
    }
    if (!api_ctl_connect(ctl)) {
        return API_CTL_USAGE;
    }
    fl_writer_init(&input);
    request.key = bytes_to(fl_bytes_of_string(words.list[0]));
    request.value = bytes_to(fl_bytes_of_string(words.list[1]));
    if (strcmp(words.list[1], "-") == 0) {
        read_input(&input);
        request.value = bytes_to(fl_writer_bytes(&input));
    }
    reply = api_ctl_call(
        ctl, "/etcdserverpb.KV/Put", &request.base, &etcdserverpb__put_response__descriptor, false);
    fl_writer_close(&input);
    if (reply == NULL) {
        return API_CTL_FAILED;
    }
    revision = reply->header == NULL ? 0 : reply->header->revision;
    (void)printf(ctl->json ? "{\"revision\":%" PRId64 "}\n" : "OK, revision %" PRId64 "\n",
                 revision);
    return API_CTL_OK;
}

static int del_run(struct api_ctl *ctl, int argc, char **argv)
{
    Etcdserverpb__DeleteRangeRequest request = ETCDSERVERPB__DELETE_RANGE_REQUEST__INIT;
    const Etcdserverpb__DeleteRangeResponse *reply;
    bool prefix = false;
    const struct api_flag flags[] = {{.name = "prefix", .on = &prefix}};
    struct api_words words = {.argc = argc, .argv = argv};
    struct fl_writer memory;

    if (!api_ctl_parse(ctl, &api_ctl_del, flags, 1, &words)) {
        return API_CTL_USAGE;
    }
    if (words.count < 1 || words.count > 2 || (prefix && words.count > 1)) {
        return api_ctl_misuse(&api_ctl_del, "give KEY, or KEY and END, or --prefix and PREFIX");
    }
    if (!api_ctl_connect(ctl)) {
        return API_CTL_USAGE;
    }
    fl_writer_init(&memory);
    interval(words.list, words.count, prefix, &request.key, &request.range_end, &memory);
    reply = api_ctl_call(ctl,
                         "/etcdserverpb.KV/DeleteRange",
                         &request.base,
                         &etcdserverpb__delete_range_response__descriptor,
                         false);
    fl_writer_close(&memory);
    if (reply == NULL) {
        return API_CTL_FAILED;
    }
    (void)printf(ctl->json ? "{\"deleted\":%" PRId64 "}\n" : "%" PRId64 " deleted\n",
                 reply->deleted);
    return API_CTL_OK;
}

const struct api_command api_ctl_get = {
    .name = "get",
    .summary = "print the value of a key, or of many",
    .help =
        "usage: flotillactl get KEY [END] [flags]\n"
        "       flotillactl get --prefix PREFIX [flags]\n\n"
        "Prints each key and its value, one per line; keys in [KEY, END) when END is given.\n"
        "With -o json keys and values are base64, as in etcdctl.\n\n"
        "  --prefix          every key that starts with PREFIX; '' means every key\n"
        "  --keys-only       no values\n"
        "  --limit N         at most N keys\n"
        "  --rev N           as of revision N\n"
        "  -s, --serializable  may be answered from any replica, perhaps a little old\n\n"
        "examples: flotillactl get /app/config\n"
        "          flotillactl get --prefix /app/ --keys-only --limit 10\n",
    .run = get_run,
};

const struct api_command api_ctl_put = {
    .name = "put",
    .summary = "set the value of a key",
    .help =
        "usage: flotillactl put KEY VALUE\n\n"
        "VALUE - reads the value from standard input.\n\n"
        "examples: flotillactl put /app/config 'a=1'\n"
        "          flotillactl put /app/logo - < logo.png\n",
    .run = put_run,
};

const struct api_command api_ctl_del = {
    .name = "del",
    .summary = "delete a key, or many",
    .help =
        "usage: flotillactl del KEY [END]\n"
        "       flotillactl del --prefix PREFIX\n\n"
        "Prints how many keys were deleted.\n\n"
        "  --prefix          every key that starts with PREFIX; '' means every key\n\n"
        "examples: flotillactl del /app/config\n"
        "          flotillactl del --prefix /app/\n",
    .run = del_run,
};
