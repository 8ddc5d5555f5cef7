/* The services this door offers: one table of methods per file.
 *
 * Owner: nobody. Lifetime: constants. Threads: any. */
#ifndef API_SERVICES_H
#define API_SERVICES_H

#include "api/call.h"

struct api_service {
    const char *name; /* "etcdserverpb.KV" */
    const struct api_method *methods;
    size_t method_count;
};

extern const struct api_service api_kv_service;          /* kv_service.c */
extern const struct api_service api_cluster_service;     /* cluster_service.c */
extern const struct api_service api_maintenance_service; /* maintenance_service.c */
extern const struct api_service api_health_service;      /* health_service.c */
extern const struct api_service api_admin_service;       /* admin_service.c */

/* All of them, in the order of the list above. */
#define API_SERVICES 5
extern const struct api_service *const api_services[API_SERVICES]; /* services.c */

/* The service of this name, or NULL. */
const struct api_service *api_service_find(const char *name);

#endif
