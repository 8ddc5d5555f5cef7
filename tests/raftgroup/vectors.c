/* Recorded vectors: see vectors.h. */
#include "tests/raftgroup/vectors.h"

#include "raftgroup/base/alloc.h"
#include "raftgroup/raft.h"
#include "tests/raftgroup/facts.h"
#include "tests/raftgroup/tables.h"

#include <dirent.h>
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

enum { PATH_BYTES = 512, SETS_MAX = 64, FILES_MAX = 1024 };

/* How the scripts of a folder are run: once, or once like the recorded library and once as the
 * product is. */
struct manner {
    const char *folder;
    const char *title;
    struct facts_options options;
};

static const struct manner manners[] = {
    {"calm", "full compare", {.level = FACTS_FULL, .stabilize = true, .parity = RAFT_PARITY_ALL}},
    {"calm", "without parity: safety", {.level = FACTS_SAFETY, .stabilize = true}},
    {"interaction",
     "L1: where nothing is under way",
     {.level = FACTS_QUIESCENT, .parity = RAFT_PARITY_ALL}},
    {"interaction", "without parity: safety", {.level = FACTS_SAFETY}},
    {"random", "L0: safety", {.level = FACTS_SAFETY}},
    {"regress", "L0: safety", {.level = FACTS_SAFETY}},
};

struct set {
    char name[PATH_BYTES];
    const char *title;
    struct vectors_sum sum;
    struct report_skip skips[REPORT_SKIPS_MAX];
    unsigned nskips;
};

struct walk {
    const struct vectors_options *options;
    char root[PATH_BYTES];
    char *files[FILES_MAX];
    unsigned nfiles;
    struct set sets[SETS_MAX];
    unsigned nsets;
};

/* What a file turned out to be. */
struct kind {
    table_run_fn table;
    const char *folder; /* of the manner; NULL = no script */
    char first[64];     /* first line that says something */
    unsigned first_line;
};

/* ---- what a file is ---- */

/* Recorded facts tell scripts apart: messages in flight are shown in interaction/, messages made in
 * random/, states alone in calm/, nothing in regress/. */
static const char *folder_of(FILE *file, const char *parent)
{
    bool states = false;
    const char *found = NULL;
    char *line = NULL;
    size_t capacity = 0;

    for (size_t i = 0; i < sizeof(manners) / sizeof(manners[0]); i++) {
        if (strcmp(parent, manners[i].folder) == 0) {
            return manners[i].folder;
        }
    }
    while (getline(&line, &capacity, file) > 0 && found == NULL) {
        states = states || strncmp(line, "S ", 2) == 0;
        if (strncmp(line, "N ", 2) == 0 || strncmp(line, "M ", 2) == 0) {
            found = "interaction";
        } else if (strncmp(line, "+ ", 2) == 0 || strncmp(line, "W ", 2) == 0) {
            found = "random";
        }
    }
    free(line);
    if (found != NULL && strcmp(found, "random") == 0) {
        /* interaction/ has W lines, too, but every set-up there ends with "N". */
        rewind(file);
        line = NULL;
        capacity = 0;
        for (unsigned i = 0; i < 64 && getline(&line, &capacity, file) > 0; i++) {
            found = strncmp(line, "N ", 2) == 0 ? "interaction" : found;
        }
        free(line);
    }
    return found != NULL ? found : states ? "calm" : "regress";
}

static void recognise(FILE *file, const char *parent, struct kind *k)
{
    char *line = NULL;
    size_t capacity = 0;
    unsigned number = 0;

    memset(k, 0, sizeof(*k));
    while (k->first[0] == '\0' && getline(&line, &capacity, file) > 0) {
        number++;
        line[strcspn(line, "\n")] = '\0';
        if (line[0] == '\0' || strncmp(line, "# ", 2) == 0 || strncmp(line, "## ", 3) == 0) {
            continue;
        }
        (void)snprintf(k->first, sizeof(k->first), "%.60s", line);
        k->first_line = number;
    }
    if (strncmp(k->first, "@ ", 2) == 0 || strncmp(k->first, "### seed ", 9) == 0) {
        k->folder = folder_of(file, parent);
    } else if (k->first[0] != '\0') {
        k->table = tables_find(line);
    }
    free(line);
    rewind(file);
}

/* ---- running one file ---- */

static void
run_here(FILE *file, const struct kind *k, const struct facts_options *o, struct report *r)
{
    if (k->table != NULL) {
        k->table(&(struct table){.file = file, .report = r});
    } else if (k->folder != NULL) {
        facts_run(file, r, o);
    } else {
        r->line = k->first_line;
        report_malformed(r, "neither a script nor a table we know: \"%s\"", k->first);
    }
    (void)fflush(r->out);
}

/* In a child; what it counted is in shared memory whatever becomes of it. */
static void
run_apart(FILE *file, const struct kind *k, const struct facts_options *o, struct report *r)
{
    static const int fatal[] = {SIGABRT, SIGBUS, SIGFPE, SIGILL, SIGSEGV};
    int status = 0;
    pid_t child;

    (void)fflush(r->out);
    child = fork();
    if (child == 0) {
        for (size_t i = 0; i < sizeof(fatal) / sizeof(fatal[0]); i++) {
            (void)signal(fatal[i], SIG_DFL); /* whoever catches them must not go on in the child */
        }
        run_here(file, k, o, r);
        (void)fclose(file);
        exit(0);
    }
    while (child > 0 && waitpid(child, &status, 0) < 0 && errno == EINTR) {
    }
    if (child < 0 || !WIFEXITED(status) || WEXITSTATUS(status) != 0) {
        r->failed++;
        (void)fprintf(r->out,
                      "%s:%u: stopped here (%s), the rest of the file was not run\n",
                      r->name,
                      r->line,
                      WIFSIGNALED(status) ? strsignal(WTERMSIG(status)) : "an error");
    }
}

/* ---- sums ---- */

static struct set *set_of(struct walk *w, const char *name, const char *title)
{
    for (unsigned i = 0; i < w->nsets; i++) {
        if (strcmp(w->sets[i].name, name) == 0 && w->sets[i].title == title) {
            return &w->sets[i];
        }
    }
    if (w->nsets == SETS_MAX) {
        return &w->sets[SETS_MAX - 1];
    }
    (void)snprintf(w->sets[w->nsets].name, PATH_BYTES, "%s", name);
    w->sets[w->nsets].title = title;
    return &w->sets[w->nsets++];
}

static void add_skip(struct set *s, const struct report_skip *skip)
{
    unsigned i = 0;

    while (i < s->nskips && strcmp(s->skips[i].why, skip->why) != 0) {
        i++;
    }
    if (i == REPORT_SKIPS_MAX) {
        return;
    }
    if (i == s->nskips) {
        s->skips[s->nskips++] = *skip;
    } else {
        s->skips[i].count += skip->count;
    }
}

static void add(struct set *s, const struct report *r)
{
    s->sum.passed += r->passed;
    s->sum.failed += r->failed;
    s->sum.skipped += r->skipped;
    for (unsigned i = 0; i < r->nskips; i++) {
        add_skip(s, &r->skips[i]);
    }
}

static void print_sets(struct walk *w, struct vectors_sum *sum)
{
    bool skips = false;

    for (unsigned i = 0; i < w->nsets; i++) {
        const struct set *s = &w->sets[i];

        (void)fprintf(w->options->out,
                      "%-30s %6u passed %5u failed %5u skipped  %s\n",
                      s->name,
                      s->sum.passed,
                      s->sum.failed,
                      s->sum.skipped,
                      s->title);
        sum->passed += s->sum.passed;
        sum->failed += s->sum.failed;
        sum->skipped += s->sum.skipped;
        skips = skips || s->nskips > 0;
    }
    if (skips) {
        (void)fprintf(w->options->out, "skipped:\n");
    }
    for (unsigned i = 0; i < w->nsets; i++) {
        for (unsigned k = 0; k < w->sets[i].nskips; k++) {
            (void)fprintf(w->options->out,
                          "  %s: %u %s\n",
                          w->sets[i].name,
                          w->sets[i].skips[k].count,
                          w->sets[i].skips[k].why);
        }
    }
}

/* ---- files ---- */

/* False: the file is malformed. */
static bool
run_once(struct walk *w, FILE *file, const struct kind *k, const struct manner *m, const char *name)
{
    struct facts_options none = {.level = FACTS_SAFETY};
    struct facts_options options = m != NULL ? m->options : none;
    char set[PATH_BYTES];
    struct report *r;
    bool fine;

    r = mmap(NULL, sizeof(*r), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (r == MAP_FAILED) {
        abort();
    }
    r->out = w->options->out;
    (void)snprintf(r->name, sizeof(r->name), "%s", name);
    options.trace_seed = w->options->trace_seed;
    rewind(file);
    run_apart(file, k, &options, r);
    (void)snprintf(set, sizeof(set), "%s", name);
    if (m != NULL) {
        char *slash = strrchr(set, '/');

        (void)snprintf(slash != NULL ? slash : set,
                       sizeof(set) - (size_t)(slash != NULL ? slash - set : 0),
                       "%s",
                       slash != NULL ? "" : m->folder);
    }
    add(set_of(w, set, m != NULL ? m->title : ""), r);
    fine = !r->malformed;
    (void)munmap(r, sizeof(*r));
    return fine;
}

/* The folder a file lies in, by name. */
static void parent_of(const char *path, char out[PATH_BYTES])
{
    char whole[PATH_BYTES];
    char *slash;

    (void)snprintf(whole, sizeof(whole), "%s", path);
    slash = strrchr(whole, '/');
    if (slash != NULL) {
        *slash = '\0';
    }
    slash = strrchr(whole, '/');
    (void)snprintf(out, PATH_BYTES, "%s", slash != NULL ? slash + 1 : whole);
}

static void run_file(struct walk *w, const char *path)
{
    const char *name = path + strlen(w->root);
    char parent[PATH_BYTES];
    struct kind k;
    FILE *file = fopen(path, "r");

    name += *name == '/';
    name = *name != '\0' ? name : strrchr(path, '/') + 1;
    if (file == NULL) {
        (void)fprintf(w->options->out, "%s: error: %s\n", path, strerror(errno));
        set_of(w, name, "")->sum.failed++;
        return;
    }
    parent_of(path, parent);
    recognise(file, parent, &k);
    if (k.folder == NULL) {
        (void)run_once(w, file, &k, NULL, name);
    }
    for (size_t i = 0; k.folder != NULL && i < sizeof(manners) / sizeof(manners[0]); i++) {
        if (strcmp(manners[i].folder, k.folder) == 0 && !run_once(w, file, &k, &manners[i], name)) {
            break;
        }
    }
    (void)fclose(file);
}

static bool is_text_about(const char *name)
{
    return strcmp(name, "README.md") == 0 || strcmp(name, "NOTICE") == 0 ||
           strcmp(name, "LICENSE") == 0;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* Every file below `path`; links are followed. */
static bool collect(struct walk *w, const char *path)
{
    struct stat st;
    struct dirent *e;
    DIR *dir;
    bool ok = true;

    if (stat(path, &st) != 0 || w->nfiles == FILES_MAX || strlen(path) >= PATH_BYTES) {
        (void)fprintf(w->options->out,
                      "%s: error: %s\n",
                      path,
                      w->nfiles == FILES_MAX ? "too many files" : strerror(errno));
        return false;
    }
    if (!S_ISDIR(st.st_mode)) {
        w->files[w->nfiles++] = fl_xstrdup(path);
        return true;
    }
    dir = opendir(path);
    if (dir == NULL) {
        (void)fprintf(w->options->out, "%s: error: %s\n", path, strerror(errno));
        return false;
    }
    while (ok && (e = readdir(dir)) != NULL) {
        char below[2 * PATH_BYTES];

        (void)snprintf(below, sizeof(below), "%s/%s", path, e->d_name);
        ok = e->d_name[0] == '.' || is_text_about(e->d_name) || collect(w, below);
    }
    closedir(dir);
    return ok;
}

bool vectors_run(const char *path, const struct vectors_options *options, struct vectors_sum *sum)
{
    struct walk *w = fl_xcalloc(1, sizeof(*w));
    char *real = realpath(path, NULL);
    bool ok;

    memset(sum, 0, sizeof(*sum));
    w->options = options;
    (void)snprintf(w->root, sizeof(w->root), "%s", real != NULL ? real : path);
    free(real);
    ok = collect(w, w->root);
    qsort(w->files, w->nfiles, sizeof(w->files[0]), by_name);
    for (unsigned i = 0; i < w->nfiles; i++) {
        if (ok) {
            run_file(w, w->files[i]);
        }
        free(w->files[i]);
    }
    print_sets(w, sum);
    free(w);
    return ok;
}
