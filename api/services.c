/* The list of services. */
#include "api/services.h"

#include <string.h>

const struct api_service *const api_services[API_SERVICES] = {
    &api_kv_service,
    &api_cluster_service,
    &api_maintenance_service,
    &api_health_service,
    &api_admin_service,
};

const struct api_service *api_service_find(const char *name)
{
    for (size_t i = 0; i < API_SERVICES; i++) {
        if (strcmp(api_services[i]->name, name) == 0) {
            return api_services[i];
        }
    }
    return NULL;
}
