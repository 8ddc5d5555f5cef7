/* Transactions: compare, then or else.
 *
 * Owner: the shard. Lifetime: one entry. Threads: the apply thread's.
 *
 * As in etcd the whole path is chosen first: every compare, nested ones included, sees the state
 * before the transaction. Then every executed operation is checked. Only then is anything written,
 * so a transaction that fails has changed nothing (SH-4). */
#ifndef SHARD_TXN_H
#define SHARD_TXN_H

#include "shard/command.h"
#include "shard/shard_internal.h"

/* Applies `txn` (decoded; its `succeeded` fields are overwritten). The TXN result is written when
 * one is wanted. FL_KEY_NOT_FOUND, FL_LEASE_NOT_FOUND, FL_CROSS_RANGE, FL_FUTURE_REVISION,
 * FL_COMPACTED: nothing was written. FL_IO, FL_CORRUPT: the engine must be stopped. */
FL_MUST_USE enum fl_status shard__txn(struct shard__write *write, struct shard_txn *txn);

#endif
