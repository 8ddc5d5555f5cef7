/* What the files of the simulated world share.
 *
 * Owner, lifetime, threads: as cluster.h. */
#ifndef TESTS_RAFTGROUP_CLUSTER_INTERNAL_H
#define TESTS_RAFTGROUP_CLUSTER_INTERNAL_H

#include "tests/raftgroup/cluster.h"

/* ---- cluster_watch.c ---- */

enum fl_status sim__seen(struct sim_node *n, enum fl_status status);
void sim__note_committed(struct sim_node *n, raft_index index, const struct sim_entry *e);
void sim__observe(struct sim_node *n);
void sim__check_promise(struct sim_node *n, const struct raft_msg *m);

/* ---- cluster_net.c ---- */

void sim__post(struct sim_cluster *c, struct sim_packet *p);
void sim__send_message(struct sim_node *n, const struct raft_msg *m);

/* ---- cluster_disk.c ---- */

void sim__log_put(struct sim_log *log, raft_index index, const struct sim_entry *e);
const struct sim_entry *sim__log_get(const struct sim_log *log, raft_index index);
void sim__machine_copy(struct sim_machine *to, const struct sim_machine *from);
void sim__machine_append(struct sim_machine *m, const char *text);
struct sim_snapshot *
sim__snapshot_new(raft_index index, raft_term term, const struct raft_conf *conf, const char *data);
struct sim_snapshot *sim__snapshot_copy(const struct sim_snapshot *s);
void sim__snapshot_free(struct sim_snapshot *s);
void sim__machine_load(struct sim_machine *m, const struct sim_snapshot *s);
void sim__keep_entry(struct sim_node *n, raft_index index, struct sim_entry e);
void sim__write_record(struct sim_node *n, struct sim_record *r);
void sim__record_free(struct sim_record *r);

/* ---- cluster.c ---- */

enum fl_status sim__propose_here(struct sim_node *n, raft_id from, const char *text);

#endif
