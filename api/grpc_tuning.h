/* gRPC as a guest in our process: its lines in our log, its debugging aids off.
 *
 * Owner: the process. Lifetime: its. Threads: call once, before the first channel or server. */
#ifndef API_GRPC_TUNING_H
#define API_GRPC_TUNING_H

void api_grpc_tune(void);

#endif
