SELECT casq.append_event(kind => $1, resource_id => $2, op => $3, payload => $4,
                         scope_id => $5, size_delta => $6, item_delta => $7)
