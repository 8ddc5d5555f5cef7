/* grpc.health.v1.Health: Check and List. A service is served when this node is ready for it. */
#include "api/convert.h"
#include "api/proto/health.pb-c.h"
#include "api/services.h"

#include <string.h>

#define SERVING     GRPC__HEALTH__V1__HEALTH_CHECK_RESPONSE__SERVING_STATUS__SERVING
#define NOT_SERVING GRPC__HEALTH__V1__HEALTH_CHECK_RESPONSE__SERVING_STATUS__NOT_SERVING

/* Key-value calls need ranges with leaders; what reports on the node is served while it runs. */
static Grpc__Health__V1__HealthCheckResponse__ServingStatus status_of(const struct node_view *view,
                                                                      const char *service)
{
    bool needs_ranges = service[0] == '\0' || strcmp(service, api_kv_service.name) == 0;

    return !needs_ranges || (view->ready && !view->draining) ? SERVING : NOT_SERVING;
}

static void check_handle(struct api_call *call)
{
    Grpc__Health__V1__HealthCheckRequest *request =
        api_call_unpack(call, &grpc__health__v1__health_check_request__descriptor);
    Grpc__Health__V1__HealthCheckResponse message = GRPC__HEALTH__V1__HEALTH_CHECK_RESPONSE__INIT;
    struct node_view *view;

    if (request == NULL) {
        return;
    }
    if (request->service[0] != '\0' && api_service_find(request->service) == NULL) {
        api_call_refuse(call, GRPC_STATUS_NOT_FOUND, "unknown service");
        return;
    }
    view = node_view_acquire(api_call_node(call));
    message.status = status_of(view, request->service);
    node_view_release(view);
    api_call_reply(call, &message.base);
}

static void list_handle(struct api_call *call)
{
    Grpc__Health__V1__HealthListResponse message = GRPC__HEALTH__V1__HEALTH_LIST_RESPONSE__INIT;
    Grpc__Health__V1__HealthCheckResponse values[API_SERVICES + 1];
    Grpc__Health__V1__HealthListEntry entries[API_SERVICES + 1];
    Grpc__Health__V1__HealthListEntry *list[API_SERVICES + 1];
    struct node_view *view;

    if (api_call_unpack(call, &grpc__health__v1__health_list_request__descriptor) == NULL) {
        return;
    }
    view = node_view_acquire(api_call_node(call));
    for (size_t i = 0; i <= API_SERVICES; i++) {
        const char *name = i == 0 ? "" : api_services[i - 1]->name;

        grpc__health__v1__health_check_response__init(&values[i]);
        grpc__health__v1__health_list_entry__init(&entries[i]);
        values[i].status = status_of(view, name);
        entries[i].key = api_arena_text(&call->arena, name);
        entries[i].value = &values[i];
        list[i] = &entries[i];
    }
    node_view_release(view);
    message.statuses = list;
    message.n_statuses = API_SERVICES + 1;
    api_call_reply(call, &message.base);
}

static const struct api_method methods[] = {
    {"/grpc.health.v1.Health/Check", check_handle, 4, NULL},
    {"/grpc.health.v1.Health/List", list_handle, 4, NULL},
};

const struct api_service api_health_service = {
    .name = "grpc.health.v1.Health",
    .methods = methods,
    .method_count = sizeof methods / sizeof methods[0],
};
