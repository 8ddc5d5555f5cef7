/* Files of rows: written beside the database, taken in as one (D5). */
#include "shard/engine_internal.h"

struct shard_file {
    struct shard_engine *engine;
    rocksdb_sstfilewriter_t *writer;
    char *path;
    uint64_t bytes;
};

enum fl_status
shard_file_create(struct shard_engine *engine, const char *path, struct shard_file **file)
{
    struct shard_file *f = fl_xcalloc(1, sizeof(*f));
    char *error = NULL;

    *file = NULL;
    f->engine = engine;
    f->path = fl_xstrdup(path);
    f->writer = rocksdb_sstfilewriter_create(engine->env, engine->options);
    shard__hold(engine);
    rocksdb_sstfilewriter_open(f->writer, path, &error);
    if (error != NULL) {
        enum fl_status status = shard__read_failed(engine, "file create", error);

        shard_file_abort(f);
        return status;
    }
    *file = f;
    return FL_OK;
}

enum fl_status shard_file_put(struct shard_file *file, struct fl_bytes key, struct fl_bytes value)
{
    char *error = NULL;

    rocksdb_sstfilewriter_put(
        file->writer, shard__chars(key), key.len, shard__chars(value), value.len, &error);
    if (error != NULL) {
        return shard__read_failed(file->engine, "file write", error);
    }
    file->bytes += key.len + value.len;
    return FL_OK;
}

enum fl_status
shard_file_delete_range(struct shard_file *file, struct fl_bytes start, struct fl_bytes end)
{
    char *error = NULL;

    rocksdb_sstfilewriter_delete_range(
        file->writer, shard__chars(start), start.len, shard__chars(end), end.len, &error);
    if (error != NULL) {
        return shard__read_failed(file->engine, "file write", error);
    }
    file->bytes += start.len + end.len;
    return FL_OK;
}

uint64_t shard_file_bytes(const struct shard_file *file)
{
    return file->bytes;
}

enum fl_status shard_file_finish(struct shard_file *file)
{
    char *error = NULL;
    enum fl_status status = FL_INVALID;

    if (file->bytes != 0) {
        rocksdb_sstfilewriter_finish(file->writer, &error);
        status = error != NULL ? shard__read_failed(file->engine, "file finish", error) : FL_OK;
    }
    shard_file_abort(file);
    return status;
}

void shard_file_abort(struct shard_file *file)
{
    if (file == NULL) {
        return;
    }
    rocksdb_sstfilewriter_destroy(file->writer);
    shard__drop_hold(file->engine);
    free(file->path);
    free(file);
}

enum fl_status
shard_engine_ingest(struct shard_engine *engine, const char *const *paths, size_t count)
{
    uint64_t seen = 0;
    char *error = NULL;

    FL_TRY(shard__stopped(engine));
    rocksdb_ingest_external_file(engine->db, paths, count, engine->ingest, &error);
    (void)shard__count_commit(engine, &seen);
    return error != NULL ? shard__write_failed(engine, "ingest", error) : FL_OK;
}
